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
    extras={"torch": "networks"},
)
