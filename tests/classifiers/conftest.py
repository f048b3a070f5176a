"""Samples of one modality, split, for tests of classifiers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelled_media import write_samples
from penchant.classifiers.classifier import ContentBatch, TrainingSet
from penchant.classifiers.network import NetworkClassifier
from penchant.core.schema import Embeddings, Samples, SampleSplit
from penchant.data.read.samples import SamplesConfig, read_samples
from penchant.data.split.samples import SampleSplitConfig, split_samples
from penchant.experiment.fit_classifiers import make_score_function

Made = tuple[Samples, ContentBatch, SampleSplit]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Made]:
    """Return a function that writes and reads samples of some modalities."""

    def made(*modalities: str, count: int = 60) -> Made:
        write_samples(tmp_path, count, modalities=modalities)
        text = ["text"] if "text" in modalities else []
        media = {m: m for m in modalities if m != "text"}
        samples = read_samples(SamplesConfig(path=tmp_path / "samples.csv", text=text, media=media))
        return samples, ContentBatch(samples.catalog(), {}), split_samples(samples, SampleSplitConfig(), 0)

    return made


def training_set(samples: Samples, rows: np.ndarray) -> TrainingSet:
    ones = np.ones(len(rows))
    return TrainingSet(rows, samples.labels()[rows], len(samples.classes), ones, ones)


def channel(samples: Samples, *, name: str = "vector", lacking: float = 0.0) -> Embeddings:
    """Return vectors of which one number knows the label; some rows may be missing."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((len(samples), 5)).astype(np.float32)
    values[:, 0] += 4 * samples.labels() - 2
    present = rng.random(len(samples)) >= lacking
    return Embeddings(name, "text", np.where(present[:, None], values, 0), present, "test")


def learn(net: NetworkClassifier, made: Made) -> float:
    """Fit a network, and return its accuracy on the test part."""
    samples, batch, parts = made
    score_function, accuracy = make_score_function("cross_entropy"), make_score_function("accuracy")
    net.fit(batch, training_set(samples, parts.train), training_set(samples, parts.validation), score_function, seed=0)
    tested = training_set(samples, parts.test)
    return accuracy(tested.labels, net.log_probability(batch.take(parts.test)))
