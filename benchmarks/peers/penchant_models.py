"""Penchant's own rows, on the same files as every peer.

In: a split, and a TOML where another configuration than the default is meant. Out: lists.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from choosing import AT, ndcg, timed
from exchange import PAD, Clock, Events, K, Log, Outcome, Requests, Split, Stage, serve

from penchant.core.logs import show_logs
from penchant.core.schema import Content, Embeddings, Histories
from penchant.experiment.defaults import default_members
from penchant.experiment.fit import OURS, FittedRecommenders, HoldOut, Refit, fit
from penchant.experiment.pool import MemberPool
from penchant.experiment.search import search
from penchant.models.event_log import EventLog
from penchant.models.member import MemberTables
from penchant.pipelines.recommendation import RecommendationConfig, fuse

IDS_ONLY: dict[str, Any] = {
    "model": "sequence",
    "backbone": "transformer",
    "channels": [],
    "max_length": 100,
    "dropout": 0.1,
}
"""SASRec as a member of ours: a causal Transformer over ids alone, full softmax."""

Row = Callable[[RecommendationConfig], Callable[[Split, Clock], Outcome]]


def penchant(kind: str) -> Row:
    """Return a row of ours.

    Args:
        kind: "default" takes the members of the configuration, else the default ones; "with_network" adds a network over ids to them;
            "network" takes that network alone.
    """
    return lambda config: lambda split, clock: _fit_and_rank(kind, config, split, clock)


def _fit_and_rank(kind: str, config: RecommendationConfig, split: Split, clock: Clock) -> Outcome:
    changes = {"ablation": False, "refit": bool(split.facts["refit"])}
    config = config.model_copy(update={"seed": split.seed, "fit": config.fit.model_copy(update=changes)})
    validation, first = _hold_out(split.all_validation, split), _learned(split.tests[0])
    content, fusion = fuse(_content(split), validation, config)
    tables = _tables(kind, config, validation, content, split, clock)
    trained = fit(tables, validation, first, content, fusion, config.fit, cutoff=config.evaluation.cutoff)
    if split.facts["protocol"] == "rolling_time":
        refits = [Refit(int(stage.requests.at.min()), _learned(stage)) for stage in split.tests]
        trained = trained.rolled(refits, _log(split.tests[-1].log, split), content, fusion)
    fit_seconds = clock.seconds
    lists, seconds = timed(
        lambda: np.concatenate(
            [_lists(trained, trained.pool, stage.requests, K, stage.candidates) for stage in split.tests]
        )
    )
    settings = {"members": trained.tables, "weights": dict(trained.ours.weights)}
    scored = split.validation
    before = trained.before if validation.log is None else trained.before.observed(validation.log)
    found = _lists(trained, before, scored.requests, AT, scored.candidates)
    assert scored.truth is not None
    return Outcome(lists, settings, ndcg(found, scored.truth, AT), fit_seconds, seconds, stopped="validation")


def _tables(
    kind: str, config: RecommendationConfig, validation: HoldOut, content: Content, split: Split, clock: Clock
) -> MemberTables:
    if kind == "network":
        return {"network": IDS_ONLY}
    if config.model == "auto":
        return _searched(config, validation, content, split, clock)
    has_time, count = bool(split.facts["has_time"]), validation.train.num_events
    tables: Mapping[str, Any] = config.members or default_members(content, has_time=has_time, num_events=count)
    return {**tables, "network": IDS_ONLY} if kind == "with_network" else tables


def _searched(
    config: RecommendationConfig, validation: HoldOut, content: Content, split: Split, clock: Clock
) -> MemberTables:
    """Return what the search finds in the minutes of the leaderboard."""
    minutes = config.search.budget_minutes if clock.limit == float("inf") else clock.limit / 60
    scorer = validation.scorer(config.evaluation.cutoff, config.fit.selection.max_users)
    limited = config.search.model_copy(update={"budget_minutes": minutes, "seed": split.seed})
    return search(validation.train, content, scorer, limited, has_time=bool(split.facts["has_time"])).tables


def _lists(
    trained: FittedRecommenders, pool: MemberPool, requests: Requests, k: int, candidates: np.ndarray | None
) -> np.ndarray:
    """Return (requests, k) item rows."""
    ranked = pool.rank({OURS: trained.ours.weights}, _asked(requests), k, candidates=candidates)[OURS].item_index
    return np.pad(ranked, ((0, 0), (0, k - ranked.shape[1])), constant_values=PAD)


def _hold_out(stage: Stage, split: Split) -> HoldOut:
    assert stage.truth is not None
    if split.facts["protocol"] == "rolling_time":
        truth = _histories(stage.truth)
        return HoldOut(_asked(stage.requests), truth, stage.candidates, _learned(stage), _log(stage.log, split))
    # one request for each user: the histories are what is learned, those of users without a choice included
    users = stage.learn.num_users
    truth, at = (
        replace(stage.truth, user=stage.requests.user[stage.truth.user], num_users=users),
        np.zeros(users, np.int64),
    )
    at[stage.requests.user] = stage.requests.at
    return HoldOut(_learned(stage).requested(at), _histories(truth), stage.candidates)


def _learned(stage: Stage) -> Histories:
    return _histories(stage.learn)


def _asked(requests: Requests) -> Histories:
    return _histories(requests.history).requested(requests.at)


def _histories(events: Events) -> Histories:
    users = [str(user) for user in range(events.num_users)]
    weight = np.ones(len(events), np.float32)
    return Histories(users, events.offsets(), events.item.astype(np.int32), events.at, weight, events.num_items)


def _log(log: Log, split: Split) -> EventLog:
    return EventLog(log.item.astype(np.int32), log.at, split.num_items)


def _content(split: Split) -> Content:
    said = split.channels()
    vectors = split.content() if said else {}
    return Content(
        {
            name: Embeddings(name, said[name]["modality"], values, present, said[name]["encoder"])
            for name, (values, present) in vectors.items()
        }
    )


def _config() -> RecommendationConfig:
    """Take `--config PATH` off the command line."""
    if "--config" not in sys.argv:
        return RecommendationConfig()
    place = sys.argv.index("--config")
    path = Path(sys.argv[place + 1])
    del sys.argv[place : place + 2]
    return RecommendationConfig.from_toml(path)


if __name__ == "__main__":
    show_logs()
    given = _config()
    rows = {kind: penchant(kind)(given) for kind in ("default", "with_network", "network")}
    serve(rows, ("penchant", "numpy"))
