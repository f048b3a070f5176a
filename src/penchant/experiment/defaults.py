"""Members and baselines used if the settings name none.

In: the channels there are, and whether events have times. Out: tables of members; a list of values is tried on validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penchant.core.messages import message
from penchant.core.schema import CONTEXT, Content
from penchant.explanation.profile_channel import CHANNEL
from penchant.models.channels import FUSED, is_grouped
from penchant.models.member import MemberTables

BASELINES: MemberTables = {
    "Popularity": {"model": "popularity"},
    "ItemKNN": {"model": "item_knn", "neighbours": [100, 300], "shrinkage": [10, 0, 100]},
    "EASE": {"model": "ease", "regularisation": [200, 50, 500, 1000]},
    message("Recent popularity"): {"model": "recent_popularity", "half_life_days": [7, 1, 2, 30, 365, 0.2, 0.05, 0.01]},
}
"""In every report, whatever members the settings name; tuned on validation like everything else."""
SHARPNESS = [4, 1, 12]
"""Powers of the cosine that are tried: with 12, near twins alone count."""


def baseline_tables(
    content: Content, *, has_time: bool, among_new: bool = False, without_history: bool = False
) -> MemberTables:
    """Return the baselines of a report.

    Args:
        content: Channels; where there are some, the nearest in content are a baseline.
        has_time: Whether events have times; what was popular lately is then a baseline.
        among_new: Lists rank new items alone: the baselines are those that tell new items apart, and a random order.
        without_history: Lists are of users without events: those that read nothing else would all be the list of popular items.
    """
    tables: dict[str, Mapping[str, Any]] = {}
    if not among_new:
        tables |= {n: table for n, table in BASELINES.items() if has_time or table["model"] != "recent_popularity"}
    if without_history:
        return {n: table for n, table in tables.items() if table["model"] in ("popularity", "recent_popularity")}
    compared = [n for n, e in content.channels.items() if e.modality != "attribute"] or list(content.channels)
    if len(content.channels) > 1 and content.fused is not None:
        compared.append(FUSED)
    if compared:
        kind = {"model": "content_knn", "neighbours": 100}
        tables[message("Content kNN")] = {**kind, "channel": compared, "sharpness": SHARPNESS}
    if among_new:
        if compared:
            ridge = {"model": "content_regression", "smoothing": 0, "regularisation": [10, 1, 100]}
            tables[message("Content ridge")] = ridge
        tables[message("Random order")] = {"model": "random_order"}
    return tables


ASPECTS = "aspects"
"""Channel of user content that the default members read as aspects, where the settings name it."""
MAX_ORDERED_ITEMS = 6_000
"""Items of the regressions on order; each costs seven times the fit of EASE on as many items."""
RETURNS: dict[str, Any] = {
    "model": "session_regression",
    "min_gap_hours": 1,
    "past": 100,
    "past_half_life": 60,
    "future_half_life": 5,
    "half_life": 60,
    "regularisation": 1000,
    "max_items": MAX_ORDERED_ITEMS,
}
"""What people choose when they come back after an hour: fitted on long pasts, since the session before says little about the next."""
EASE_LIFTED: list[dict[str, Any]] = [
    {"model": "ease", "regularisation": 500},
    {"model": "ease", "regularisation": 500, "half_life": 3},
    {"model": "ease", "regularisation": 2000},
    {"model": "ease", "regularisation": 2000, "half_life": 3},
]
"""The members that the popularity of the moment multiplies: where it tells most, the others do better with a larger penalty."""
LIFT: dict[str, Any] = {"half_life_days": [7, 2, 30, 0.5, 0.05], "offset": [0.1, 1]}
"""How the popularity of the moment lifts; scoring alone reads it."""
MORE_LIFT: dict[str, list[float]] = {"total_offset": [5, 20], "power": [1, 0.5]}
"""The same, tried with few events."""

FEW_EVENTS = 300_000
"""Training events up to which settings are tried that need a fit each."""


def default_members(content: Content, *, has_time: bool, num_events: int = 0) -> dict[str, dict[str, Any]]:
    """Return the members used where the settings name none: everything that improves the ensemble and fits in seconds.

    Lists are tried on validation.

    Args:
        content: Channels.
        has_time: Whether events have times.
        num_events: Training events; with few of them more settings are tried.
    """
    few = num_events <= FEW_EVENTS
    lift = {**LIFT, **{setting: values if few else values[0] for setting, values in MORE_LIFT.items()}}
    fade: list[float] = [0, 3, 10] if has_time else [0]
    members: dict[str, dict[str, Any]] = {
        "popularity": {"model": "popularity", "half_life_days": [0, 30] if has_time else 0},
        "item_knn": {"model": "item_knn", "half_life": fade, **_few(few, target_exponent=[0.5, 0.3, 0.7])},
        "rp3beta": {"model": "rp3beta", "half_life": fade, "beta": [0.4, 0.6]},
        "ease": {"model": "ease", "regularisation": [200, 50, 500, 1000]},
        "graph": {
            "model": "graph_filter",
            "hops": [1, 2, 3],
            "shift": [0, 0.25, 0.5],
            "half_life": fade,
            **_few(few, ideal_weight=[0, 0.3, 1]),
        },
    }
    if has_time:
        members["ease_recent"] = {"model": "ease", "regularisation": [200, 500], "half_life": [3, 10]}
        members["transitions"] = {
            "model": "transitions",
            "half_life": [3, 1],
            **_few(few, backward=[0, 0.6], window=[20, 6, 3]),
        }
        members["sessions"] = {
            "model": "session_regression",
            "regularisation": [300, 30] if few else 300,
            "max_items": MAX_ORDERED_ITEMS,
        }
        members["returns"] = RETURNS
        members["recent"] = {"model": "recent_popularity", "half_life_days": [7, 2, 30, 0.5, 0.05, 0.01]}
        members["rising"] = {"model": "trend", "days": [3, 7]}
        members["arrivals"] = {"model": "new_arrivals", "days": [30, 7]}
        members["ease_now"] = {"model": "lifted", "of": EASE_LIFTED if few else EASE_LIFTED[:2], **lift}
    for channel, embeddings in content.channels.items():
        if embeddings.modality == "attribute" and is_grouped(embeddings):
            members[f"same_{channel}"] = {
                "model": "content_knn",
                "channel": channel,
                "neighbours": 50,
                "sharpness": 12,
                "source_exponent": [0.5, 0, 1],
                "half_life": fade,
            }
        elif embeddings.modality != "attribute":
            members[f"like_{channel}"] = {
                "model": "content_knn",
                "channel": channel,
                "neighbours": [100, 20],
                "half_life": fade,
                "sharpness": SHARPNESS,
            }
    if content.channels:
        if has_time and content.fused is not None:
            alike = {"model": "content_knn", "channel": FUSED, "half_life": 3}
            members["like_now"] = {"model": "lifted", "of": alike, **lift}
        members["content"] = {"model": "content_regression", "regularisation": [10, 1, 100], "smoothing": [2000, 200]}
    fade_own: list[float] = [0, 2, 5] if has_time else [0]
    if CHANNEL in content.user_channels:
        members[CHANNEL] = {
            "model": "user_content_regression",
            "channels": [CHANNEL],
            "learns": ["halves", "later"],
            "regularisation": [100, 10, 1000],
        }
    for channel, encoder in content.user_channels.items():
        same = [name for name, e in content.channels.items() if e.encoder == encoder]
        if same:
            members[f"own_{channel}"] = {
                "model": "user_content_knn",
                "channel": channel,
                "item_channel": same[0],
                "sharpness": [1, 4],
                "half_life": [0] if channel == CHANNEL else fade_own,
            }
    if CONTEXT in content.user_channels.values():
        members["context"] = {"model": "context_popularity", "pseudo_events": [200, 20, 2000]}
    if ASPECTS in content.user_channels:
        members[ASPECTS] = {"model": "aspects", "channel": ASPECTS, "half_life": fade_own}
    shown = [name for name, encoder in content.user_channels.items() if encoder != CONTEXT and name != CHANNEL]
    if shown:
        members["user_content"] = {
            "model": "user_content_regression",
            **({"channels": sorted(shown)} if CHANNEL in content.user_channels else {}),
            "learns": ["halves", "later"] if has_time else "halves",
            "half_life": fade_own,
            "regularisation": [100, 10, 1000],
        }
    return members


def _few(few: bool, **grid: list[float]) -> dict[str, list[float]]:
    return grid if few else {}
