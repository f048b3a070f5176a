"""Classifiers: content in, a probability for each class out."""

from __future__ import annotations

from penchant.core.registry import Table

CLASSIFIERS = Table(
    "classifier",
    {
        "ngrams": "penchant.classifiers.ngrams:NGramClassifier",
        "linear": "penchant.classifiers.linear:LinearClassifier",
        "detected": "penchant.classifiers.detected:DetectorClassifier",
        "network": "penchant.classifiers.network:NetworkClassifier",
        "contrast": "penchant.classifiers.contrast:ContrastClassifier",
    },
    group="penchant.classifiers",
    base="penchant.classifiers.classifier:Classifier",
    extras={"torch": "networks"},
)
BRANCHES = Table(
    "branch",
    {
        "text": "penchant.classifiers.raw:WordContent",
        "image": "penchant.classifiers.images:ImageContent",
        "audio": "penchant.classifiers.raw:AudioContent",
        "mesh": "penchant.classifiers.raw:PointCloudContent",
        "signal": "penchant.classifiers.raw:SignalContent",
    },
    group="penchant.branches",
    base="penchant.classifiers.branches:Branch",
    extras={"torch": "networks"},
)
"""What reads raw content of one modality in a network."""
