"""Words and patches that attend to each other against one token a modality, on tweets and memes.

In: the folder of shared data. Out: accuracy and macro F1 (tweets) or AUC (memes) of each row on the test, and the paired difference to the first row.

    python benchmarks/token_fusion.py ../shared/data --sets tweets memes --seeds 0 1 2

Every row reads the same states of MiniLM and EfficientNet-Lite0 (112 pixels) with the same width, epochs and stopping on validation. Each seed draws the
split of the memes (five folds, everybody judged once), the initial weights and the order of batches anew; the tweets have one split of the settings' seed. The
interval draws seeds and samples. The test chooses nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.metrics import f1_score, roc_auc_score

from penchant.classifiers.classifier import ContentBatch, make_classifier
from penchant.core.schema import Samples
from penchant.core.seeds import generator
from penchant.data.media import MediaLimits
from penchant.data.read.samples import SamplesConfig, read_samples
from penchant.data.split.samples import SampleSplitConfig, split_samples
from penchant.experiment.fit_classifiers import make_score_function
from penchant.experiment.imbalance import unweighted

SETS = {"tweets": ("mm_sentiment", "mm_sentiment"), "memes": ("memes", "meme_moderation")}
WORDS = {"modality": "text", "max_length": 48}
PATCHES = {"modality": "image", "side": 112}
FIRST = "one token a modality, gated"
ROWS: dict[str, dict[str, Any]] = {
    FIRST: {"fusion": "gated"},
    "one token a modality, attention": {"fusion": "attention"},
    "words x patches, cross-attention": {"fusion": "cross_attention"},
    "gated, with InfoNCE between text and picture": {"fusion": "gated", "align": 0.1},
    "gated, last blocks trained (LoRA)": {"fusion": "gated", "blocks": 1},
    "text alone": {"fusion": "gated", "only": "words"},
}
FOLDS = 5


def table(row: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Return the settings of a row's network."""
    row = dict(row)
    blocks, only = row.pop("blocks", 0), row.pop("only", None)
    branches = {"words": {**WORDS, "blocks": blocks}, "patches": {**PATCHES, "blocks": blocks}}
    if only is not None:
        branches = {only: branches[only]}
    trainer = {"epochs": epochs, "patience": 3, "learning_rate": 1e-3}
    return {"model": "network", "branches": branches, "trainer": trainer, "head_epochs": epochs, **row}


def parts_of(name: str, samples: Samples, seed: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return train, validation and test of each fold."""
    if name == "tweets":
        parts = split_samples(samples, SampleSplitConfig(), 0)
        return [(parts.train, parts.validation, parts.test)]
    order = generator(seed, "benchmark.folds").permutation(len(samples))
    folds = np.array_split(order, FOLDS)
    return [
        (np.concatenate([folds[(k + j) % FOLDS] for j in range(2, FOLDS)]), folds[(k + 1) % FOLDS], folds[k])
        for k in range(FOLDS)
    ]


def answers(
    name: str, samples: Samples, batch: ContentBatch, row: dict[str, Any], seed: int, epochs: int
) -> np.ndarray:
    """Return the probabilities of every test sample, standing at its row; NaN elsewhere."""
    labels, score = samples.labels(), make_score_function("cross_entropy")
    found = np.full((len(samples), len(samples.classes)), np.nan)
    for train, validation, test in parts_of(name, samples, seed):
        one = make_classifier("network", table(row, epochs))
        sets = [unweighted(rows, labels[rows], len(samples.classes)) for rows in (train, validation)]
        one.fit(batch, *sets, score, seed=seed)
        found[test] = np.exp(one.log_probability(batch.take(test)))
        if name == "memes":  # probabilities of two fits have two scales: ranks within the fold are compared
            found[test] = rankdata(found[test], axis=0) / len(test)
    return found


def measured(name: str, labels: np.ndarray, found: np.ndarray, positive: int) -> dict[str, float]:
    """Return the metrics of probabilities."""
    if name == "memes":
        return {"auc": float(roc_auc_score(labels == positive, found[:, positive]))}
    said = found.argmax(1)
    return {"accuracy": float((said == labels).mean()), "macro_f1": float(f1_score(labels, said, average="macro"))}


def difference(name: str, labels: np.ndarray, own: list[np.ndarray], first: list[np.ndarray], positive: int) -> dict:
    """Return each metric's mean difference with its 95 % interval over 1,000 draws of seeds and samples."""
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(np.isfinite(one[:, 0])) for one in own]

    def gap(seed: int, chosen: np.ndarray) -> dict[str, float]:
        a, b = (measured(name, labels[chosen], found[seed][chosen], positive) for found in (own, first))
        return {metric: a[metric] - b[metric] for metric in a}

    means = [gap(seed, rows[seed]) for seed in range(len(own))]
    draws = []
    for _ in range(1000):
        drawn = rng.choice(rows[0], len(rows[0]))
        seeds = rng.integers(len(own), size=max(1, len(own) - 1))
        draws.append([gap(int(seed), drawn) for seed in seeds])
    found = {}
    for metric in means[0]:
        over = [np.mean([one[metric] for one in draw]) for draw in draws]
        found[metric] = (np.mean([m[metric] for m in means]), *np.percentile(over, [2.5, 97.5]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--only", nargs="+", help="rows whose name holds one of these words, beside the first")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.sets:
        kind, folder = SETS[name]
        samples = read_samples(SamplesConfig(format=kind, path=asked.folder / folder))
        batch = ContentBatch(samples.catalog(), {}, MediaLimits())
        labels, positive = samples.labels(), samples.classes.index("offensive") if name == "memes" else 0
        kept: dict[str, list[np.ndarray]] = {}
        for row, options in ROWS.items():
            if asked.only and row != FIRST and not any(word in row for word in asked.only):
                continue
            began = process_time()
            kept[row] = [answers(name, samples, batch, options, seed, asked.epochs) for seed in asked.seeds]
            seconds = (process_time() - began) / len(asked.seeds)
            tested = [np.flatnonzero(np.isfinite(one[:, 0])) for one in kept[row]]
            reached = [
                measured(name, labels[rows], one[rows], positive) for rows, one in zip(tested, kept[row], strict=True)
            ]
            means = {metric: f"{np.mean([one[metric] for one in reached]):.3f}" for metric in reached[0]}
            gain = {} if row == FIRST else difference(name, labels, kept[row], kept[FIRST], positive)
            said = {m: f"{a:+.3f} [{low:+.3f}, {high:+.3f}]" for m, (a, low, high) in gain.items()}
            print(f"{name} | {row} | {json.dumps(means)} | {json.dumps(said)} | {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
