"""Members and baselines used if the settings name none.

In: the channels there are, and whether events have times. Out: tables of members; a list of values is tried on validation.
"""

from __future__ import annotations

from typing import Any

from penchant.core.schema import Content
from penchant.models.member import MemberTables

BASELINES: MemberTables = {
    "Popularity": {"model": "popularity"},
    "ItemKNN": {"model": "item_knn", "neighbours": [100, 300], "shrinkage": [10, 0, 100]},
    "EASE": {"model": "ease", "regularisation": [200, 50, 500, 1000]},
}
"""In every report, whatever members the settings name; tuned on validation like everything else."""


def default_members(content: Content, *, has_time: bool) -> dict[str, dict[str, Any]]:
    """Return the members used where the settings name none: everything that improves the ensemble and fits in seconds.

    Lists are tried on validation.
    """
    fade: list[float] = [0, 3, 10] if has_time else [0]
    members: dict[str, dict[str, Any]] = {
        "popularity": {"model": "popularity", "half_life_days": [0, 30] if has_time else 0},
        "item_knn": {"model": "item_knn", "half_life": fade},
        "rp3beta": {"model": "rp3beta", "half_life": fade, "beta": [0.4, 0.6]},
        "ease": {"model": "ease", "regularisation": [200, 50, 500, 1000]},
        "graph": {"model": "graph_filter", "hops": [1, 2, 3], "shift": [0, 0.25, 0.5], "half_life": fade},
    }
    if has_time:
        members["ease_recent"] = {"model": "ease", "regularisation": [200, 500], "half_life": [3, 10]}
        members["transitions"] = {"model": "transitions", "half_life": [3, 1]}
        members["sessions"] = {"model": "session_regression", "regularisation": [300, 30]}
    for channel, embeddings in content.channels.items():
        if embeddings.modality != "attribute":
            members[f"like_{channel}"] = {
                "model": "content_knn",
                "channel": channel,
                "neighbours": [100, 20],
                "half_life": fade,
            }
    if content.channels:
        members["content"] = {"model": "content_regression", "regularisation": [10, 1, 100], "smoothing": [2000, 200]}
    return members
