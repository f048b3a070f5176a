"""Media files made to harm a service: bombs, damaged, disguised, endless.

In: nothing. Out: bytes by name, the same at every call. A file that claims more than it holds is small here, since headers decide.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

BLOCK = 1 << 16


def pictures() -> dict[str, Callable[[], bytes]]:
    """Return pictures by name."""
    return {
        "png_49_megapixels": lambda: flat_png(7000, 7000, "RGB"),
        "png_49_megapixels_alpha": lambda: flat_png(7000, 7000, "RGBA"),
        "png_49_megapixels_16_bits": lambda: flat_png(7000, 7000, "I;16"),
        "png_49_megapixels_palette": lambda: flat_png(7000, 7000, "P"),
        "png_header_of_4_gigapixels": lambda: png_header(65_000, 65_000),
        "png_text_bomb": text_bomb,
        "png_truncated": lambda: flat_png(900, 900, "RGB")[:400],
        "webp_49_megapixels": lambda: _encoded(Image.new("RGB", (7000, 7000)), "WEBP", method=0),
        "jpeg_49_megapixels_progressive": lambda: _encoded(Image.new("RGB", (7000, 7000)), "JPEG", progressive=True),
        "tiff_49_megapixels_one_strip": lambda: _encoded(
            Image.new("RGB", (7000, 7000)), "TIFF", compression="tiff_deflate", tiffinfo={278: 7000}
        ),
        "gif_10_000_frames": lambda: many_frames(10_000),
        "polyglot_gif_and_script": lambda: b"GIF89a/*" + b"\0" * 20 + b"*/=1;alert(1)",
        "polyglot_png_and_zip": lambda: flat_png(8, 8, "RGB") + b"PK\x05\x06" + bytes(18),
        "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n",
        "one_byte": lambda: b"\0",
    }


def sounds() -> dict[str, Callable[[], bytes]]:
    """Return sounds by name."""
    return {
        "flac_655_kilohertz_600_seconds": lambda: silent_flac(655_350, 600),
        "flac_384_kilohertz_600_seconds": lambda: silent_flac(384_000, 600),
        "flac_8_channels_600_seconds": lambda: silent_flac(192_000, 600, channels=8),
        "flac_48_kilohertz_2_hours": lambda: silent_flac(48_000, 7200),
        "flac_truncated": lambda: silent_flac(48_000, 60)[:200],
        "wav_header_of_2_gigabytes": lambda: wav(np.zeros(8000, "<i2"), 16_000, claimed=2_000_000_000),
        "wav_1000_channels": lambda: wav(np.zeros(8000, "<i2"), 16_000, channels=1000),
        "wav_1_hertz": lambda: wav(np.zeros(8000, "<i2"), 1),
        "wav_0_hertz": lambda: wav(np.zeros(8000, "<i2"), 0),
        "wav_4_gigahertz": lambda: wav(np.zeros(8000, "<i2"), 0xFFFF_FFFF),
        "wav_not_numbers": lambda: wav(np.full(16_000, np.nan, "<f4"), 16_000),
        "wav_no_samples": lambda: wav(np.zeros(0, "<i2"), 16_000),
        "polyglot_wav_and_html": lambda: wav(np.zeros(8000, "<i2"), 16_000) + b"<script>alert(1)</script>",
        "playlist": lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "one_byte": lambda: b"\0",
    }


def flat_png(width: int, height: int, mode: str) -> bytes:
    """Return a valid PNG of one colour, made row by row: it takes a few kilobytes on disk and everything in memory."""
    colour, depth, size = {"RGB": (2, 8, 3), "RGBA": (6, 8, 4), "I;16": (0, 16, 2), "P": (3, 8, 1)}[mode]
    packer = zlib.compressobj(9)
    row = b"\0" + bytes(width * size)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    palette = _chunk(b"PLTE", bytes(range(3))) + _chunk(b"tRNS", b"\x80") if mode == "P" else b""
    return _PNG + _chunk(b"IHDR", head) + palette + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds no pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _PNG + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """Return a PNG with compressed remarks of 2 GB in all."""
    packer = zlib.compressobj(9)
    remark = b"".join(packer.compress(bytes(1_000_000)) for _ in range(100)) + packer.flush()
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    remarks = b"".join(_chunk(b"zTXt", b"k%d\0\0" % n + remark) for n in range(20))
    data = zlib.compress(b"".join(b"\0" + bytes(24) for _ in range(8)))
    return _PNG + _chunk(b"IHDR", head) + remarks + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def many_frames(count: int) -> bytes:
    """Return an animated GIF of small frames."""
    frame = b"\x21\xf9\x04\0\x01\0\0\0" + b"\x2c\0\0\0\0\x08\0\x08\0\0" + b"\x02\x07\x84\x8f\xa9\xcb\xed\x0f\x63\x2b\0"
    return b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0xF0, 0, 0) + b"\0\0\0\xff\xff\xff" + frame * count + b"\x3b"


def silent_flac(rate: int, seconds: int, *, channels: int = 1) -> bytes:
    """Return a valid FLAC of silence: a frame of 65,535 samples takes about 14 bytes."""
    size = 65_535
    total = rate * seconds
    info = struct.pack(">HH", size, size) + bytes(6)
    info += struct.pack(">Q", (rate << 44) | ((channels - 1) << 41) | (15 << 36) | total) + bytes(16)
    frames = [b"fLaC", b"\x80" + len(info).to_bytes(3, "big"), info]
    for number in range(-(-total // size)):
        count = min(size, total - number * size)
        head = bytes([0xFF, 0xF8, 0x70, ((channels - 1) << 4) | 0x08]) + _utf8(number) + struct.pack(">H", count - 1)
        head += bytes([_crc(head, 8, 0x07)])
        body = head + bytes(3) * channels  # each channel: one constant of 16 bits
        frames.append(body + struct.pack(">H", _crc(body, 16, 0x8005)))
    return b"".join(frames)


def wav(samples: np.ndarray, rate: int, *, channels: int = 1, claimed: int | None = None) -> bytes:
    """Return a WAV with any rate, channels and claimed number of bytes."""
    raw = samples.tobytes()
    width = samples.dtype.itemsize
    kind = 3 if samples.dtype.kind == "f" else 1
    size = len(raw) if claimed is None else claimed
    each = (rate * width * channels) & 0xFFFF_FFFF
    head = struct.pack("<HHIIHH", kind, channels, rate, each, (width * channels) & 0xFFFF, 8 * width)
    head = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", (size + 36) & 0xFFFF_FFFF) + head + raw


def endless(start: bytes = b'{"image": {"data": "') -> Iterator[bytes]:
    """Yield the body of a request that never ends."""
    yield start
    while True:
        yield b"A" * BLOCK


_PNG = b"\x89PNG\r\n\x1a\n"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def _utf8(number: int) -> bytes:
    """Return a frame's number as FLAC has it."""
    return chr(number).encode("utf-8", "surrogatepass")


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    top, mask, value = 1 << (bits - 1), (1 << bits) - 1, 0
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = ((value << 1) ^ polynomial) & mask if value & top else (value << 1) & mask
    return value
