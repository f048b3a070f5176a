"""Compare encoding with a bare loop over the same model and batches, side by side.

In: real sets in a folder (see `benchmarks/README.md`), or generated content without one. Out: Markdown rows of items per second and ratios.

    python benchmarks/encoding.py [FOLDER] [--items 512] [--rounds 3] [--only plots,posters,clips,speech]

The bare loop loads the model, then reads, prepares and encodes one batch after another and keeps the vectors; "model alone" has
been loaded and is handed everything prepared. Ours decodes files in processes of its own; "in threads" is the same with threads of this process.
Ours also hashes the content, stores every batch durably and counts failures. Rounds take turns; the table shows medians, and of ratios the median of the
rounds. On a machine with other work, more processes get more of it: the last column has the CPU seconds that
this process, with the model, spent beside those of the bare loop.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import soundfile
from PIL import Image

from penchant.core import worker_processes
from penchant.core.schema import Catalog
from penchant.data.media import MediaLimits
from penchant.data.read.sources import DataConfig, read
from penchant.encoders.catalog import ChannelConfig, encode_catalog, make_encoder
from penchant.encoders.content import find_content
from penchant.encoders.encoder import Encoder

LIMITS = MediaLimits()
CHANNELS = {
    "plots": ("movielens_mm", "ml1m_mm", ChannelConfig(encoder="minilm", columns=["plot"])),
    "posters": ("movielens_mm", "ml1m_mm", ChannelConfig(encoder="efficientnet")),
    "clips": ("emotify", "emotify_audio", ChannelConfig(encoder="mel")),
    "speech": ("emotify", "emotify_audio", ChannelConfig(encoder="whisper")),
    "videos": (None, None, ChannelConfig(encoder="video")),
}
"""Content to the format and folder of a real set, None where it is always generated, and its channel."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--items", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(CHANNELS))
    given = parser.parse_args()
    print(
        "| content | items | ours, cold | in threads | bare loop | model alone | ours / bare | threads / bare | ours / model | cached, all | CPU |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in given.only.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            layout, folder, channel = CHANNELS[name]
            if given.folder is None or layout is None:
                whole = generate(Path(scratch), given.items)
            else:
                whole = read(DataConfig(format=layout, path=given.folder / folder)).catalog
            print(measure(name, whole, channel, given.items, given.rounds), flush=True)


def measure(name: str, whole: Catalog, channel: ChannelConfig, num_items: int, rounds: int) -> str:
    encoder = make_encoder(name, channel)
    content = find_content(whole, channel.columns, encoder.modality, LIMITS, where=name)
    rows = first_of_each(content.keys)[:num_items]
    catalog = Catalog(
        whole.table[rows], None, whole.text_columns, whole.media_columns, whole.attribute_columns, whole.media_root
    )
    encoder.load()
    batches = arrange(catalog, channel, encoder)
    prepared = [[encoder.prepare(load()) for load in batch] for batch in batches]
    times: dict[str, list[float]] = {"ours": [], "threads": [], "bare": [], "model": [], "cached": []}
    cpu: dict[str, list[float]] = {kind: [] for kind in times}
    for turn in range(rounds):
        arms = list(times)[:-1]
        for kind in arms[turn % 4 :] + arms[: turn % 4]:
            with tempfile.TemporaryDirectory() as cache:
                run = lambda place=Path(cache): encode_catalog(catalog, {name: channel}, cache=place, limits=LIMITS)  # noqa: E731
                began = cpu_seconds()
                if kind == "bare":
                    times[kind].append(timed(lambda: bare(make_encoder(name, channel), batches)))
                elif kind == "model":
                    times[kind].append(timed(lambda: [encoder.encode(batch) for batch in prepared]))
                else:
                    worker_processes.APART_FROM = 16 if kind == "ours" else 10**9
                    times[kind].append(timed(run))
                cpu[kind].append(cpu_seconds() - began)
                if kind == "ours":
                    times["cached"].append(timed(run))
    middle = {kind: statistics.median(seconds) for kind, seconds in times.items()}
    speed = [f"{len(rows) / middle[kind]:.1f} /s" for kind in ("ours", "threads", "bare", "model")]

    def ratio(over: str, under: str) -> str:
        each = [a / b for a, b in zip(times[over], times[under], strict=True)]
        return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"

    ratios = [ratio("bare", "ours"), ratio("bare", "threads"), ratio("model", "ours")]
    work = f"{statistics.median(cpu['ours']):.1f} and {statistics.median(cpu['bare']):.1f} s"
    return f"| {name} | {len(rows)} | {' | '.join(speed + ratios)} | {middle['cached']:.2f} s | {work} |"


def cpu_seconds() -> float:
    """Return the CPU seconds of this process; those of decoding in other processes are not in it."""
    return time.process_time()


def bare(encoder: Encoder, batches: list[list[Callable[[], object]]]) -> np.ndarray:
    encoder.load()
    return np.concatenate([encoder.encode([encoder.prepare(load()) for load in batch]) for batch in batches])


def arrange(catalog: Catalog, channel: ChannelConfig, encoder: Encoder) -> list[list[Callable[[], object]]]:
    """Return the batches that encoding would make, each item a function that reads it."""
    content = find_content(catalog, channel.columns, encoder.modality, LIMITS, where="benchmark")
    order = sorted(range(len(catalog)), key=lambda row: (-content.sizes[row], content.keys[row]))
    loaders = [lambda row=row: content.load(row) for row in order]
    return [loaders[start : start + encoder.batch_size] for start in range(0, len(loaders), encoder.batch_size)]


def first_of_each(keys: list[str | None]) -> list[int]:
    """Return rows with content, each content once: ours would not encode it twice."""
    return sorted({key: row for row, key in reversed(list(enumerate(keys))) if key is not None}.values())


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def generate(root: Path, count: int) -> Catalog:
    """Write texts, pictures and sounds of the sizes that shops and clips have."""
    rng = np.random.default_rng(0)
    words = np.array(["sea", "war", "love", "machine", "city", "night", "river", "story", "engine", "silent"])
    texts = [" ".join(rng.choice(words, rng.integers(20, 200))) + f" {n}" for n in range(count)]
    times = np.arange(10 * 16_000) / 16_000
    for number in range(count):
        coarse = rng.integers(0, 255, (9, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((300, 450), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        picture.save(out, "JPEG")
        (root / f"{number}.jpg").write_bytes(out.getvalue())
        sound = 0.2 * np.sin(2 * np.pi * rng.uniform(100, 2000) * times) + 0.02 * rng.standard_normal(len(times))
        soundfile.write(root / f"{number}.wav", sound, 16_000)
        write_video(root / f"{number}.mp4", rng)
    table = pl.DataFrame(
        {
            "item_id": [str(n) for n in range(count)],
            "plot": texts,
            "image": [f"{n}.jpg" for n in range(count)],
            "audio": [f"{n}.wav" for n in range(count)],
            "video": [f"{n}.mp4" for n in range(count)],
        }
    )
    return Catalog(table, None, ("plot",), {"image": "image", "audio": "audio", "video": "video"}, (), root)


def write_video(path: Path, rng: np.random.Generator) -> None:
    """Write four seconds of moving colours, 320 x 240 at 12 frames a second."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        large = np.asarray(Image.fromarray(rng.integers(0, 255, (8, 12, 3), dtype=np.uint8)).resize((480, 240)))
        for step in range(48):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(large[:, 3 * step : 3 * step + 320]), format="rgb24"
            )
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
