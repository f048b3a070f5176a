"""Classifiers: content in, a probability for each class out."""

from __future__ import annotations

from penchant.core.registry import Table

CLASSIFIERS = Table(
    "classifier",
    {
        "ngrams": "penchant.models.classifiers.ngrams:NGrams",
        "linear": "penchant.models.classifiers.linear:Linear",
        "detected": "penchant.models.classifiers.detected:Detected",
        "network": "penchant.models.classifiers.network:Network",
    },
    group="penchant.classifiers",
    extras={"torch": "networks"},
)
