import io

import pytest
from PIL import Image

from penchant.reporting.thumbnails import MAX_SOUND_BYTES, clip, thumbnail


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n broken"])
def test_an_unreadable_picture_is_left_out(content, tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    assert thumbnail(content) is None
    assert thumbnail(path) is None


def test_a_missing_picture_is_left_out(tmp_path):
    assert thumbnail(None) is None
    assert thumbnail(tmp_path / "none.jpg") is None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_picture_becomes_a_jpeg(mode):
    out = io.BytesIO()
    Image.new(mode, (300, 10)).save(out, "TIFF")
    address = thumbnail(out.getvalue())
    assert address is not None
    assert address.startswith("data:image/jpeg;base64,")


def test_a_picture_of_a_hundred_megapixels_is_not_opened():
    out = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(out, "PNG")
    assert thumbnail(out.getvalue()) is None


def test_only_small_sounds_of_known_kinds_are_kept(tmp_path):
    small, large, other = tmp_path / "a.mp3", tmp_path / "b.wav", tmp_path / "c.txt"
    small.write_bytes(b"x")
    large.write_bytes(b"x" * (MAX_SOUND_BYTES + 1))
    other.write_bytes(b"x")
    assert clip(small) == "data:audio/mpeg;base64,eA=="
    assert [clip(path) for path in (large, other, tmp_path / "none.mp3", None)] == [None] * 4
