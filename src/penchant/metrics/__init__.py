"""Metrics with intervals from ranked lists and truth; never from a model."""

from __future__ import annotations

from penchant.core.registry import Table

METRICS = Table(
    "metric",
    {
        "recall": "penchant.metrics.ranking:recall",
        "precision": "penchant.metrics.ranking:precision",
        "hit_rate": "penchant.metrics.ranking:hit_rate",
        "ndcg": "penchant.metrics.ranking:ndcg",
        "mrr": "penchant.metrics.ranking:reciprocal_rank",
        "map": "penchant.metrics.ranking:average_precision",
    },
    group="penchant.metrics",
    arguments=("hits", "num_relevant", "k"),
)
"""A metric is a function of (hits, num_relevant, k) that gives one number for each user; the report has the mean of every one."""
