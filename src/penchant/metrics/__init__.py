"""Metrics with intervals from ranked lists and truth; never from a model."""

from __future__ import annotations

from typing import Any

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


def __getattr__(name: str) -> Any:
    """Import a metric by the name of its function: `from penchant.metrics import ndcg`."""
    return METRICS.attribute(name)


def __dir__() -> list[str]:
    return [*globals(), *METRICS.attributes()]
