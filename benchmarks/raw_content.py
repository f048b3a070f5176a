"""The specification's own network on raw words, pixels and sound against the same network on frozen features.

In: the folder that `benchmarks/classic.py` wrote. Out: accuracy of each on the test, and the paired difference.

    python benchmarks/classic.py runs/classic-data
    python benchmarks/raw_content.py runs/classic-data --seeds 0 1 2

Both have the same fusion, width, epochs and stopping on validation; only what their branches read differs. The interval draws seeds and samples.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from penchant.classifiers.classifier import ContentBatch, make_classifier
from penchant.data.media import MediaLimits
from penchant.data.read.samples import SamplesConfig, read_samples
from penchant.data.split.samples import SampleSplitConfig, split_samples
from penchant.encoders.catalog import ChannelConfig, encode_catalog
from penchant.experiment.fit_classifiers import make_score_function
from penchant.experiment.imbalance import unweighted
from penchant.metrics.intervals import hierarchical

LAST = {"causal": True, "pooling": "last"}
RAW = {
    "words": {"modality": "text", "net": "lstm", "size": LAST},
    "picture": {"modality": "image", "net": "picture_cnn"},
    "sound": {"modality": "audio", "net": "lstm", "size": LAST},
}
FROZEN = {"words": {"channel": "words"}, "picture": {"channel": "picture"}, "sound": {"channel": "sound"}}
CHANNELS = {
    "words": ChannelConfig(encoder="minilm"),
    "picture": ChannelConfig(encoder="efficientnet", options={"side": 112}),
    "sound": ChannelConfig(encoder="mel"),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache/vectors"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    samples = read_samples(SamplesConfig(path=asked.folder / "samples.csv"))
    limits = MediaLimits()
    embeddings, _ = encode_catalog(samples.catalog(), CHANNELS, cache=asked.cache, limits=limits)
    batch = ContentBatch(samples.catalog(), embeddings, limits)
    labels, score = samples.labels(), make_score_function("cross_entropy")
    parts = split_samples(samples, SampleSplitConfig(), 0)
    right: dict[str, list[np.ndarray]] = {"frozen": [], "raw": []}
    for seed in asked.seeds:
        for name, branches in (("frozen", FROZEN), ("raw", RAW)):
            began = process_time()
            table: dict[str, Any] = {"model": "network", "fusion": "concat", "dim": 64, "branches": branches}
            one = make_classifier("network", {**table, "trainer": {"epochs": asked.epochs, "patience": 5}})
            sets = [unweighted(rows, labels[rows], len(samples.classes)) for rows in (parts.train, parts.validation)]
            one.fit(batch, *sets, score, seed=seed)
            said = one.log_probability(batch.take(parts.test)).argmax(1)
            right[name].append((said == labels[parts.test]).astype(float))
            print(
                f"seed {seed} {name}: accuracy {right[name][-1].mean():.3f}, {process_time() - began:.0f} s", flush=True
            )
        found = hierarchical(np.stack(right["raw"]) - np.stack(right["frozen"]))
        low, high = np.nanpercentile(found.draws, [2.5, 97.5])
        print(f"raw against frozen, {len(right['raw'])} seeds: {found.mean:+.3f} [{low:+.3f}, {high:+.3f}]", flush=True)


if __name__ == "__main__":
    main()
