"""Recommendation models, the members of an ensemble: histories in, scores out."""

from __future__ import annotations

from typing import Any

from penchant.core.registry import Table

MODELS = Table(
    "model",
    {
        "context_popularity": "penchant.models.context:ContextPopularity",
        "content_prior": "penchant.models.content_prior:ContentPrior",
        "popularity": "penchant.models.popularity:Popularity",
        "random_order": "penchant.models.popularity:RandomOrder",
        "recent_popularity": "penchant.models.recency:RecentPopularity",
        "trend": "penchant.models.recency:Trend",
        "new_arrivals": "penchant.models.recency:NewArrivals",
        "new_items": "penchant.models.new_items:NewItems",
        "lifted": "penchant.models.lifted:Lifted",
        "compressed": "penchant.models.compressed:Compressed",
        "distilled": "penchant.models.distilled:Distilled",
        "item_knn": "penchant.models.neighbours:ItemKNN",
        "rp3beta": "penchant.models.neighbours:RP3beta",
        "ease": "penchant.models.linear:EASE",
        "graph_filter": "penchant.models.graph:GraphFilter",
        "content_knn": "penchant.models.content:ContentKNN",
        "content_regression": "penchant.models.content:ContentRegression",
        "aspects": "penchant.models.aspects:Aspects",
        "user_content_knn": "penchant.models.user_content:UserContentKNN",
        "user_content_regression": "penchant.models.user_content:UserContentRegression",
        "session_regression": "penchant.models.sessions:SessionRegression",
        "transitions": "penchant.models.transitions:Transitions",
        "graph_network": "penchant.models.graph_network:GraphNetwork",
        "sequence": "penchant.models.sequence:Sequence",
        "language_model": "penchant.models.llm:LanguageModel",
    },
    group="penchant.models",
    base="penchant.models.member:Member",
    extras={"torch": "networks"},
)


def __getattr__(name: str) -> Any:
    """Import a model by the name of its class: `from penchant.models import EASE`."""
    return MODELS.attribute(name)


def __dir__() -> list[str]:
    return [*globals(), *MODELS.attributes()]
