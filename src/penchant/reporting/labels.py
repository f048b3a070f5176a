"""Names of metrics, counts, steps and arms in the report.

In: an internal name ("macro_f1"). Out: its label in the reader's language. A name that is not listed is the name of a user's own component and stays as it is.
"""

from __future__ import annotations

from penchant.core.messages import Message, Translator, message
from penchant.metrics.ablation import DOES_NOT_PAY, PAYS
from penchant.metrics.intervals import BETTER, SAME, WORSE

LIST_METRICS = {"ndcg": "NDCG", "mrr": "MRR", "map": "MAP", "recall": "Recall", "precision": "Precision"}
"""Metrics of ranked lists, which keep their English names in Chinese."""

METRICS = {
    "support": message("samples"),
    "accuracy": message("Accuracy"),
    "precision": message("Precision"),
    "recall": message("Recall"),
    "f1": message("F1"),
    "auc": message("AUC"),
    "average_precision": message("Average precision"),
    "calibration_error": message("Calibration error"),
    "threshold": message("Threshold"),
    "catalog_coverage": message("Catalog shown"),
    "novelty": message("Novelty (bits)"),
    "diversity": message("Diversity"),
    "gini": message("Inequality (Gini)"),
    "macro_f1": message("Macro F1"),
    "weighted_f1": message("Weighted F1"),
    "macro_precision": message("Macro precision"),
    "macro_recall": message("Macro recall"),
    "hit_rate": message("Hit rate"),
}

SIZES = {
    "users": message("users"),
    "items": message("items"),
    "interactions": message("interactions"),
    "train": message("training events"),
    "validation": message("validation events"),
    "test": message("test events"),
    "test_users": message("test users"),
    "requests": message("test requests"),
    "samples": message("samples"),
    "train_samples": message("training samples"),
    "validation_samples": message("validation samples"),
    "test_samples": message("test samples"),
    "members": message("members"),
}

STAGES = (
    message("read"),
    message("clean"),
    message("split"),
    message("encode"),
    message("encode users"),
    message("fuse"),
    message("fit"),
    message("evaluate"),
    message("ship"),
    message("explain"),
    message("look inside"),
    message("ensemble"),
)

ARMS = {
    "all": message("everything"),
    "behaviour": message("behaviour only"),
    "only": message("{channel} only"),
    "without": message("all but {channel}"),
    "some": message("{uses}"),
}

PAYOFFS: dict[str, Message] = {
    PAYS: message("{channel}: pays; without it, {metric} is lower by {gain}."),
    DOES_NOT_PAY: message("{channel}: does not pay; without it, {metric} is higher by {gain}."),
    SAME: message("{channel}: not distinguishable from noise; having it changes {metric} by {gain}."),
}

FUSIONS: dict[str, Message] = {
    BETTER: message("Fusion helps: it is better than every modality alone."),
    WORSE: message("Fusion hurts: one modality alone is better. Use that one."),
    SAME: message("Fusion does not help measurably: it is not distinguishable from at least one modality alone."),
}

CHOSEN_ON = {
    "validation": message("The best baseline ({name}) was chosen on validation, not on the test shown here."),
    "test": message(
        "Without validation scores, the best baseline ({name}) was chosen on the test shown here, which favours it."
    ),
}

PLAIN: tuple[Message, ...] = (
    message("attribute"),  # as a channel is named
    # roles of rows
    message("ours"),
    message("baseline"),
    message("member"),
    message("ablation"),
    message("alone"),
    message("simple"),
    message("fused"),
    # actions of a finding
    message("kept"),
    message("repaired"),
    message("dropped"),
    message("masked"),
)
"""Internal names that are their own English label, listed so that the catalogs have them."""


def metric_label(translate: Translator, name: str) -> str:
    """Return "NDCG@20" for "ndcg@20", "Macro F1" for "macro_f1"."""
    name, at, k = name.partition("@")
    known = LIST_METRICS.get(name) if at or name not in METRICS else None
    return (known or translate(METRICS.get(name, name))) + at + k


def size_label(translate: Translator, name: str) -> str:
    """Return the label of a count of the data."""
    return translate(SIZES[name]) if name in SIZES else name


def stage_label(translate: Translator, name: str) -> str:
    """Return the label of a step of a run."""
    return translate(name) if name in STAGES else name
