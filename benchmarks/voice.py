"""How much of a sentiment survives being spoken and written down again.

In: a trained classifier of English words with `[transcript]`, and how many sentences. Out: word error rate, and accuracy on the same
sentences as text and as speech. The sentences are tweets of the test part of configs/sentiment.toml, which it never learned from, read
aloud by espeak-ng: a machine's voice, which a speech model may find easier or harder than a human voice.

    python benchmarks/voice.py runs/sentiment 100
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from penchant.classifiers.bundle import TrainedClassifier
from penchant.core.seeds import generator
from penchant.data.clean.samples import clean_samples
from penchant.data.read.samples import read_samples
from penchant.data.split.samples import split_samples
from penchant.metrics.intervals import mean_interval, paired_difference
from penchant.pipelines.classification import ClassificationConfig

CONFIG = Path(__file__).parent.parent / "configs" / "sentiment.toml"
LEAST_WORDS = 5


def main(folder: Path, count: int) -> None:
    trained = TrainedClassifier.load(folder)
    column = trained.inputs.text_columns[0]
    texts, labels = sentences(count, column)
    with tempfile.TemporaryDirectory() as scratch:
        for number, text in enumerate(texts):
            subprocess.run(["espeak-ng", "-w", f"{scratch}/{number}.wav", text], check=True)
        written = trained.predict_table(pl.DataFrame({column: texts}), root=Path(scratch), evidence=False)
        voices = pl.DataFrame({"audio": [f"{number}.wav" for number in range(len(texts))]})
        spoken = trained.predict_table(voices, root=Path(scratch), evidence=False)
    wrong, total = np.sum([errors(words(a), words(b.transcript)) for a, b in zip(texts, spoken, strict=True)], axis=0)
    print(f"{len(texts)} sentences, {total} words, word error rate {wrong / total:.3f}")
    right = [np.array([one.label for one in said]) == labels for said in (written, spoken)]
    for name, values in zip(("as text", "as speech"), right, strict=True):
        found = mean_interval(values.astype(float))
        print(f"{name}: accuracy {found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]")
    gap = paired_difference(right[1].astype(float), right[0].astype(float))
    print(f"speech minus text: {gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] {gap.outcome}")
    same = np.mean([a.label == b.label for a, b in zip(written, spoken, strict=True)])
    print(f"the same answer to both: {same:.3f}")


def sentences(count: int, column: str) -> tuple[list[str], np.ndarray]:
    """Return test tweets of some words without addresses, names and signs that are not read aloud, drawn with seed 0."""
    config = ClassificationConfig.from_toml(CONFIG)
    samples = clean_samples(read_samples(config.data), config.clean, config.media)
    test = samples.take(split_samples(samples, config.split, config.seed).test)
    spoken = [
        " ".join(re.sub(r"https?://\S+|[@#]\w+|^RT\b|[^\w\s'.,!?-]", " ", text or "").split())
        for text in test.table[column].to_list()
    ]
    usable = np.array([len(words(text)) >= LEAST_WORDS for text in spoken])
    chosen = generator(0, "voice").permutation(np.flatnonzero(usable))[:count]
    return [spoken[row] for row in chosen], test.table["label"].to_numpy()[chosen]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def errors(truth: list[str], transcript: list[str]) -> tuple[int, int]:
    """Return substitutions, insertions and deletions, and the number of true words (Levenshtein 1966)."""
    row = np.arange(len(transcript) + 1)
    for i, word in enumerate(truth, start=1):
        before, row = row, np.empty_like(row)
        row[0] = i
        for j, other in enumerate(transcript, start=1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word != other))
    return int(row[-1]), len(truth)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
