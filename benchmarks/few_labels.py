"""Few labels: a sentence model moved by contrast against frozen vectors and n-grams: `python benchmarks/few_labels.py FOLDER`.

In: the folder of Davidson's tweets. Out: for 8, 32 and 128 labels a class, macro F1 on 2,000 other tweets for each row, and the paired gain
over frozen vectors with logistic regression; 95 % intervals over draws of the labels (Student's t). A quarter of the labels is validation.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from scipy import stats
from sklearn.metrics import f1_score

from penchant.classifiers.classifier import ContentBatch, make_classifier
from penchant.core.schema import Samples
from penchant.data.media import MediaLimits
from penchant.data.read.samples import SamplesConfig, read_samples
from penchant.encoders.catalog import ChannelConfig, encode_catalog
from penchant.experiment.fit_classifiers import make_score_function
from penchant.experiment.imbalance import unweighted

ROWS = {
    "word and character TF-IDF": {"model": "ngrams", "chars": [2, 5], "min_texts": 1},
    "frozen MiniLM": {"model": "linear", "channels": ["meaning"]},
    "contrast, every weight": {"model": "contrast"},
    "contrast, LoRA": {"model": "contrast", "rank": 8},
}
FROZEN = "frozen MiniLM"
TEST = 2_000


def draw(labels: np.ndarray, each: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of train, validation and test: `each` labels of each class, a quarter of them validation."""
    rng = np.random.default_rng(seed)
    train, validation = [], []
    for k in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == k))[:each]
        validation += rows[: each // 4].tolist()
        train += rows[each // 4 :].tolist()
    used = np.array(train + validation)
    test = rng.permutation(np.setdiff1d(np.arange(len(labels)), used))[:TEST]
    return np.array(train), np.array(validation), test


def measure(samples: Samples, batch: ContentBatch, each: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return macro F1 and seconds of each row for one draw of labels."""
    labels, score = samples.labels(), make_score_function("cross_entropy")
    train, validation, test = draw(labels, each, seed)
    found = {}
    for name, table in ROWS.items():
        began = perf_counter()
        number = len(samples.classes)
        one = make_classifier(name, table)
        one.fit(
            batch,
            unweighted(train, labels[train], number),
            unweighted(validation, labels[validation], number),
            score,
            seed=seed,
        )
        both = np.concatenate([train, validation])
        one.refit(batch, unweighted(both, labels[both], number))
        seconds = perf_counter() - began
        answers = one.log_probability(batch.take(test)).argmax(1)
        found[name] = float(f1_score(labels[test], answers, average="macro")), seconds
    return found


def main(folder: Path, sizes: list[int], draws: int, cache: Path) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    samples = read_samples(SamplesConfig(format="davidson", path=folder))
    rng = np.random.default_rng(0)
    samples = samples.take(np.sort(rng.permutation(len(samples))[:6_000]))
    limits = MediaLimits()
    channels = {"meaning": ChannelConfig(encoder="minilm", columns=list(samples.text_columns))}
    embeddings, _ = encode_catalog(samples.catalog(), channels, cache=cache, limits=limits)
    batch = ContentBatch(samples.catalog(), embeddings, limits)
    for each in sizes:
        runs = [measure(samples, batch, each, seed) for seed in range(draws)]
        for name in ROWS:
            values = np.array([run[name][0] for run in runs])
            gain = values - [run[FROZEN][0] for run in runs]
            reach = stats.t.ppf(0.975, draws - 1) * gain.std(ddof=1) / np.sqrt(draws)
            seconds = np.mean([run[name][1] for run in runs])
            print(
                f"{each} a class, {name}: macro F1 {values.mean():.3f} (deviation {values.std(ddof=1):.3f}), against frozen "
                f"{gain.mean():+.3f} [{gain.mean() - reach:+.3f}, {gain.mean() + reach:+.3f}], {seconds:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache/vectors"))
    one = parser.parse_args()
    main(one.folder, one.sizes, one.draws, one.cache)
