"""Ranked lists and truth in, numbers with intervals out; no model is ever seen here."""

from __future__ import annotations

from penchant.core.registry import Table

METRICS = Table(
    "metric",
    {
        "recall": "penchant.evaluation.ranking:recall",
        "precision": "penchant.evaluation.ranking:precision",
        "hit_rate": "penchant.evaluation.ranking:hit_rate",
        "ndcg": "penchant.evaluation.ranking:ndcg",
        "mrr": "penchant.evaluation.ranking:reciprocal_rank",
        "map": "penchant.evaluation.ranking:average_precision",
    },
    group="penchant.metrics",
)
"""A metric is a function of (hits, num_relevant, k) that gives one number for each user; its mean over users is reported."""
