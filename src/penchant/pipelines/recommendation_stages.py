"""The stages of a recommendation run: which histories are read and which choices are predicted, before the test and at it.

In: train, validation and test as interactions. Out: `HoldOut`s and histories; what is known before the test never holds a row of it.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from penchant.core.schema import (
    Catalog,
    Dataset,
    Histories,
    Interactions,
    Split,
    UserContent,
    Vocabulary,
)
from penchant.data.histories import build_histories
from penchant.data.requests import rolling_requests
from penchant.data.split.interactions import BY_TIME
from penchant.data.tie_breaking import item_tie_order
from penchant.experiment.fit import HoldOut, Refit
from penchant.models.event_log import EventLog
from penchant.pipelines.recommendation_settings import RecommendationConfig


def before_test(
    catalog: Catalog, parts: Split, config: RecommendationConfig, content: UserContent | None = None
) -> tuple[HoldOut, Histories]:
    """Return the validation stage, and the events that members are fitted on at the end; the test part is not read."""
    items, users = Vocabulary(catalog.item_ids), _users(*parts.before_test)
    train = _histories(items, users, config, parts.train, content=content)
    final = _histories(items, users, config, *parts.before_test, content=content) if config.fit.refit else None
    if parts.kind == "rolling_time":
        return _rolling(
            items, config, train, parts.before_test, parts.validation, content
        ), train if final is None else final
    truth = _histories(items, users, config, parts.validation, content=content)
    train = _requested(train, truth, parts, config)
    order = item_tie_order(catalog.item_ids, config.seed)
    stage = HoldOut(train, truth, _among(items, parts.cold_validation_items), tie_order=order)
    return stage, train if final is None else final


def at_test(
    catalog: Catalog, parts: Split, config: RecommendationConfig, content: UserContent | None = None
) -> HoldOut:
    """Return the histories before the test, and the test; users without earlier events have an empty history."""
    items, users = Vocabulary(catalog.item_ids), _users(*parts.before_test, parts.test)
    before = parts.before_test if config.fit.refit else (parts.train,)
    if parts.kind == "rolling_time":
        return _rolling(items, config, None, (*parts.before_test, parts.test), parts.test, content)
    truth = _histories(items, users, config, parts.test, content=content)
    known = _requested(_histories(items, users, config, *before, content=content), truth, parts, config)
    order = item_tie_order(catalog.item_ids, config.seed)
    return HoldOut(known, truth, _among(items, parts.cold_items), tie_order=order)


def _rolling(
    items: Vocabulary,
    config: RecommendationConfig,
    learned: Histories | None,
    pieces: tuple[Interactions, ...],
    asked: Interactions,
    content: UserContent | None = None,
) -> HoldOut:
    """Return every request of one piece, each with all its user did before; members observe what all users did before it."""
    whole = config.histories.model_copy(update={"max_events": None})
    joined = Interactions(pl.concat([piece.table for piece in pieces]))
    events = build_histories(joined, items, whole, seed=config.seed, content=content)
    start, stop = _span(asked)
    histories, truth = rolling_requests(
        events, start, stop, limit=config.split.max_requests, max_events=config.histories.max_events
    )
    order = item_tie_order(items.ids, config.seed)
    return HoldOut(histories, truth, learned=learned, log=EventLog.of(events), tie_order=order)


def refits_of(
    catalog: Catalog, parts: Split, known: Histories, config: RecommendationConfig, content: UserContent | None = None
) -> list[Refit]:
    """Return the moments of the rolling test at which members are fitted: its start, where they learn from `known`, and equal steps after it.

    Without `fit.refit` they are those that learned from train alone.
    """
    items, users = Vocabulary(catalog.item_ids), _users(*parts.before_test, parts.test)
    start, stop = _span(parts.test)
    refits = [Refit(start, known)]
    for number in range(1, config.split.refits if config.fit.refit else 1):
        moment = start + number * (stop - start) // config.split.refits
        before = parts.test.where(pl.col("at").dt.epoch("us") < moment)
        refits.append(Refit(moment, _histories(items, users, config, *parts.before_test, before, content=content)))
    return refits


def _span(part: Interactions) -> tuple[int, int]:
    """Return the first moment of a part and the one after its last."""
    first, last = part.table.select(
        first=pl.col("at").dt.epoch("us").min(), last=pl.col("at").dt.epoch("us").max()
    ).row(0)
    return first, last + 1


def _requested(known: Histories, truth: Histories, parts: Split, config: RecommendationConfig) -> Histories:
    """Return the histories read for a request at the time of each user's first held-out event; at an unknown time where that is hidden."""
    if config.split.request_time == "hidden" or (config.split.request_time == "auto" and parts.kind not in BY_TIME):
        return known.requested(0)
    times = np.zeros(len(truth), np.int64)
    chose = truth.lengths() > 0
    times[chose] = truth.at[truth.offsets[:-1][chose]]
    return known.requested(times).under_circumstances_of(truth)


def _users(*pieces: Interactions) -> list[str]:
    return sorted(set().union(*(piece.table["user_id"].unique() for piece in pieces)))


def _histories(
    items: Vocabulary,
    users: list[str],
    config: RecommendationConfig,
    *pieces: Interactions,
    content: UserContent | None = None,
) -> Histories:
    joined = Interactions(pl.concat([piece.table for piece in pieces]))
    return build_histories(joined, items, config.histories, users=users, seed=config.seed, content=content)


def all_histories(dataset: Dataset, config: RecommendationConfig, content: UserContent | None = None) -> Histories:
    """Return all events as histories, so that served lists leave out what a user already has.

    A user with content of their own and no event has an empty history.
    """
    items, users = Vocabulary(dataset.catalog.item_ids), set(dataset.interactions.table["user_id"].unique())
    if content is not None:
        names = [name for name, e in content.embeddings.items() if e.of == "users"]
        known = content.users.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in names)) if names else None
        users |= set() if known is None else set(known["user_id"])
    return build_histories(
        dataset.interactions, items, config.histories, users=sorted(users), seed=config.seed, content=content
    )


def _among(items: Vocabulary, chosen: tuple[str, ...]) -> np.ndarray | None:
    """Return the mask of some items, None where there is no restriction."""
    if not chosen:
        return None
    mask = np.zeros(len(items), bool)
    mask[[items.index(item) for item in chosen if item in items]] = True
    return mask
