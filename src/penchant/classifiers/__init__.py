"""Classifiers: content in, a probability for each class out."""

from __future__ import annotations

from penchant.core.registry import Table

CLASSIFIERS = Table(
    "classifier",
    {
        "ngrams": "penchant.classifiers.ngrams:NGrams",
        "linear": "penchant.classifiers.linear:Linear",
        "detected": "penchant.classifiers.detected:Detected",
        "network": "penchant.classifiers.network:Network",
    },
    group="penchant.classifiers",
    base="penchant.classifiers.classifier:Classifier",
    extras={"torch": "networks"},
)
BRANCHES = Table(
    "branch",
    {
        "text": "penchant.classifiers.raw:Words",
        "image": "penchant.classifiers.images:Picture",
        "audio": "penchant.classifiers.raw:Sound",
        "mesh": "penchant.classifiers.raw:Points",
        "signal": "penchant.classifiers.raw:Readings",
    },
    group="penchant.branches",
    base="penchant.classifiers.branches:Branch",
    extras={"torch": "networks"},
)
"""What reads raw content of one modality in a network."""
