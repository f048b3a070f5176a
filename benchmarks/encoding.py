"""Compare encoding with a bare loop over the same model and batches, side by side.

In: real sets in a folder (see `benchmarks/README.md`), or generated content without one. Out: Markdown rows of items per second and ratios.

    python benchmarks/encoding.py [FOLDER] [--items 512] [--rounds 3] [--only plots,posters,clips,speech]

The bare loop loads the model, then reads, prepares and encodes one batch after another and keeps the vectors; "model alone" has
been loaded and is handed everything prepared.
Ours also hashes the content, stores every batch durably and counts failures. Rounds take turns; the table shows medians.
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
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--items", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(CHANNELS))
    given = parser.parse_args()
    print("| content | items | ours, cold | bare loop | model alone | ours / bare | ours / model | cached, all |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        made = None if given.folder else generate(Path(scratch), given.items)
        for name in given.only.split(","):
            layout, folder, channel = CHANNELS[name]
            whole = made or read(DataConfig(format=layout, path=given.folder / folder)).catalog
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
    times: dict[str, list[float]] = {"ours": [], "bare": [], "model": [], "cached": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            run = lambda place=Path(cache): encode_catalog(catalog, {name: channel}, cache=place, limits=LIMITS)  # noqa: E731
            times["ours"].append(timed(run))
            times["cached"].append(timed(run))
        times["bare"].append(timed(lambda: bare(make_encoder(name, channel), batches)))
        times["model"].append(timed(lambda: [encoder.encode(batch) for batch in prepared]))
    ours, plain, model, cached = (statistics.median(times[kind]) for kind in ("ours", "bare", "model", "cached"))
    speed = [f"{len(rows) / seconds:.1f} /s" for seconds in (ours, plain, model)]
    return f"| {name} | {len(rows)} | {' | '.join(speed)} | {plain / ours:.2f} | {model / ours:.2f} | {cached:.2f} s |"


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
    table = pl.DataFrame(
        {
            "item_id": [str(n) for n in range(count)],
            "plot": texts,
            "image": [f"{n}.jpg" for n in range(count)],
            "audio": [f"{n}.wav" for n in range(count)],
        }
    )
    return Catalog(table, None, ("plot",), {"image": "image", "audio": "audio"}, (), root)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
