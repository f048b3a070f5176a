"""What int8 costs an encoder: speed side by side, cosine to its float32 vectors, and NDCG@10 of lists made from them.

In: a bundle whose catalog has plots and posters. The encoders are exported as ONNX and quantised: "dynamic" scales activations as they come, "static" by what a
sample of the catalog gave. Read are the most chosen films alone; truth is the last tenth of the events of drawn users. Out: Markdown rows.

    python benchmarks/int8_encoders.py runs/movielens --items 1500 --users 2000

`--ensemble` measures the lists of the whole bundle instead, of all items: members that read the channel are fitted with the vectors of each version, the others and the weights stay.

    python benchmarks/int8_encoders.py runs/movielens --items 4000 --users 6100 --ensemble
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from jaxtyping import Float32

from penchant.compression.held_out import Halves, hold_out
from penchant.compression.onnx_export import write_encoder
from penchant.compression.onnx_files import write_int8, write_static_int8
from penchant.core.compact_embeddings import VectorCodes
from penchant.core.schema import Content, Embeddings, Histories
from penchant.data.media import MediaLimits
from penchant.encoders import ENCODERS
from penchant.encoders.content import find_content
from penchant.encoders.encoder import Encoder
from penchant.encoders.onnx_text import MODEL, OnnxText
from penchant.experiment.refit import refitted
from penchant.metrics.intervals import paired_difference
from penchant.metrics.ranking import measure
from penchant.models.ensemble import blocked_items, top_k
from penchant.models.member import make_member
from penchant.recommender.recommender import Recommender

Vectors = Float32[np.ndarray, "items dim"]
BATCH_USERS = 500
BATCH, CALIBRATION, TIMED = 16, 128, 8
"""Contents of a batch, contents that scales are taken from, and batches that are timed."""
STATIC: dict[str, dict[str, Any]] = {
    "text": {"op_types_to_quantize": ["MatMul"], "extra_options": {"MatMulConstBOnly": True}},
    "image": {},
}
"""Of a text encoder the products with weights alone, as `quantize_dynamic` has them; of a picture encoder all that can be."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--items", type=int, default=1500)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--tokens", type=int, help="that are read of a plot, at most; left out: what the encoder reads")
    parser.add_argument("--kinds", nargs="*", default=["text", "image"])
    parser.add_argument("--ensemble", action="store_true", help="rank by the whole bundle")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    recommender = Recommender.load(given.bundle)
    events = recommender.histories if recommender.fitted is None else recommender.fitted
    print(
        "| encoder | version | MB | CPU time of float32 | cosine: mean, least | NDCG@10 | change |\n|---|---|---|---|---|---|---|"
    )
    asked: dict[str, tuple[str, str, str, dict[str, Any]]] = {
        "text": ("minilm", "plot", "plot", {} if given.tokens is None else {"max_tokens": given.tokens}),
        "image": ("efficientnet", "image", "poster", {}),
    }
    for kind in given.kinds:
        name, column, channel, options = asked[kind]
        cls = ENCODERS.load(name)
        encoder: Encoder = cls(cls.config_class(**options))
        content = find_content(recommender.catalog, (column,), kind, MediaLimits(), where=name)
        chosen = np.bincount(events.item_index, minlength=events.num_items)
        rows = [int(row) for row in np.argsort(-chosen, kind="stable") if content.keys[row] is not None][: given.items]
        prepared = [encoder.prepare(content.load(row)) for row in rows]
        with tempfile.TemporaryDirectory() as folder:
            vectors = versions(name, encoder, prepared, Path(folder), given.seed)
        coded = VectorCodes.of("int8", vectors["float32"][2], np.ones(len(rows), bool))
        vectors["float32, stored as int8 rows"] = (np.nan, 1.0, coded.decoded())
        if given.ensemble:
            gains = of_bundle(recommender, channel, vectors, np.array(rows), hold_out(events, given.users, given.seed))
        else:
            kept = events.where(np.isin(events.item_index, rows))
            gains = of_channel(name, vectors, np.array(rows), hold_out(kept, given.users, given.seed))
        show(name, vectors, gains)


def versions(
    name: str, encoder: Encoder, prepared: list[Any], folder: Path, seed: int
) -> dict[str, tuple[float, float, Vectors]]:
    """Return megabytes, share of the processor time of float32, and vectors of each version."""
    write_encoder(name, name, encoder, prepared[:3], folder / "float32")
    if encoder.modality == "text":
        tokenizer = OnnxText(OnnxText.config_class(model=folder / "float32"))._loaded[0]

        def inputs(batch: Sequence[Any]) -> dict[str, np.ndarray]:
            found = tokenizer.encode_batch(list(batch))
            ids, mask = ([getattr(one, key) for one in found] for key in ("ids", "attention_mask"))
            return {"input_ids": np.array(ids, np.int64), "attention_mask": np.array(mask, np.int64)}
    else:

        def inputs(batch: Sequence[Any]) -> dict[str, np.ndarray]:
            return {"pixels": np.stack(batch).transpose(0, 3, 1, 2)}

    files = {"float32": folder / "float32" / MODEL}
    files["dynamic"] = folder / "dynamic.onnx"
    files["dynamic"].write_bytes(files["float32"].read_bytes())
    write_int8(files["dynamic"])
    drawn = np.random.default_rng(seed).permutation(len(prepared))[:CALIBRATION]
    sample = [inputs([prepared[row] for row in drawn[n : n + BATCH]]) for n in range(0, len(drawn), BATCH)]
    files["static"] = folder / "static.onnx"
    files["static"].write_bytes(files["float32"].read_bytes())
    write_static_int8(files["static"], sample, **STATIC[str(encoder.modality)])
    runs = {label: session(file) for label, file in files.items()}
    order = np.argsort([len(str(one)) for one in prepared]) if encoder.modality == "text" else np.arange(len(prepared))
    batches = [order[n : n + BATCH] for n in range(0, len(order), BATCH)]
    timed = set(np.linspace(0, len(batches) - 1, TIMED).astype(int).tolist())
    seconds, found = dict.fromkeys(runs, 0.0), {label: [] for label in runs}
    for number, batch in enumerate(batches):
        given = inputs([prepared[row] for row in batch])
        for label, run in runs.items():
            best = np.inf
            for _ in range(3 if number in timed else 1):  # other work of the machine only adds
                began = time.process_time()
                vectors = run(given)
                best = min(best, time.process_time() - began)
            seconds[label] += best if number in timed else 0.0
            found[label].append(vectors)
    back = np.argsort(order)
    return {
        label: (
            file.stat().st_size / 1e6,
            seconds[label] / seconds["float32"],
            np.concatenate(found[label])[back].astype(np.float32),
        )
        for label, file in files.items()
    }


def session(file: Path) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """Return what runs a model on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    held = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda inputs: np.asarray(held.run(None, dict(inputs))[0])


def of_channel(
    name: str, versions: Mapping[str, tuple[float, float, Vectors]], rows: np.ndarray, halves: Halves
) -> dict[str, list[np.ndarray]]:
    """Return NDCG@10 of each version, user by user: of lists by content kNN and by content regression that read nothing else."""
    num_items = halves.train.num_items
    present = np.zeros(num_items, bool)
    present[rows] = True
    gains: dict[str, list[np.ndarray]] = {}
    for label, (_, _, vectors) in versions.items():
        values = np.zeros((num_items, vectors.shape[1]), np.float32)
        values[rows] = vectors
        content = Content({name: Embeddings(name, "text", values, present, label)})
        members = [
            make_member("m", table).fit(halves.train, content)
            for table in ({"model": "content_knn", "channel": name, "half_life": 5}, {"model": "content_regression"})
        ]
        gains[label] = [ndcg_of(member.score, halves, ~present) for member in members]
    return gains


def of_bundle(
    bundle: Recommender,
    channel: str,
    versions: Mapping[str, tuple[float, float, Vectors]],
    rows: np.ndarray,
    halves: Halves,
) -> dict[str, list[np.ndarray]]:
    """Return NDCG@10 of each version, user by user: of the bundle's lists with the vectors of a channel replaced."""
    before, gains = bundle.content.channels[channel], {}
    fitted, _ = refitted(bundle, halves.train)
    reads = [name for name, member in bundle.ensemble.members.items() if channel in member.channels(bundle.content)]
    for label, (_, _, vectors) in versions.items():
        values = before.values.copy()
        values[rows] = vectors
        content = replace(
            bundle.content, channels={**bundle.content.channels, channel: replace(before, values=values)}, fused=None
        )
        own, _ = refitted(fitted, halves.train, content, kept=fitted.ensemble.members.keys() - set(reads), anew=reads)
        gains[label] = [ndcg_of(own.ensemble.score, halves, np.zeros(halves.train.num_items, bool))]
    return gains


def ndcg_of(score: Callable[[Histories], np.ndarray], halves: Halves, left_out: np.ndarray) -> np.ndarray:
    """Return the NDCG@10 of each user of both halves."""
    found = []
    for part in (halves.choice, halves.check):
        for start in range(0, len(part.histories), BATCH_USERS):
            asked, truth = (one.rows(start, start + BATCH_USERS) for one in (part.histories, part.truth))
            scores = score(asked)
            scores[blocked_items(asked) | left_out] = -np.inf
            lists = top_k(scores, 10, asked.user_ids)
            found.append(measure(lists, truth, ks=(10,), metrics=["ndcg"])["ndcg@10"].to_numpy())
    return np.concatenate(found)


def show(
    name: str, versions: Mapping[str, tuple[float, float, Vectors]], gains: Mapping[str, list[np.ndarray]]
) -> None:
    """Print a row of each version."""
    exact = versions["float32"][2]
    for label, (size, share, vectors) in versions.items():
        cosine = (exact * vectors).sum(1) / (np.linalg.norm(exact, axis=1) * np.linalg.norm(vectors, axis=1))
        said = []
        for one, before in zip(gains[label], gains["float32"], strict=True):
            change = paired_difference(one, before)
            ends = (100 * end / before.mean() for end in (change.mean, change.low, change.high))
            said.append("{:+.2f} % [{:+.2f}, {:+.2f}]".format(*ends))
        means = ", ".join(f"{one.mean():.4f}" for one in gains[label])
        megabytes = f"{len(exact) * (exact.shape[1] + 4) / 1e6 if np.isnan(size) else size:.1f}"
        print(
            f"| {name} | {label} | {megabytes} | {share:.2f} | {cosine.mean():.5f}, {cosine.min():.4f} | {means} | {'; '.join(said)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
