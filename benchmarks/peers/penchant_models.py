"""Penchant's own row, on the same files as every peer.

In: a split, and a TOML where another configuration than the default is meant. Out: lists.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from choosing import AT, ndcg, timed
from exchange import PAD, Clock, Events, K, Outcome, Split, serve

from penchant.core.logs import show_logs
from penchant.core.schema import Content, Embeddings, Histories
from penchant.experiment.defaults import default_members
from penchant.experiment.fit import OURS, FittedRecommenders, HoldOut, fit
from penchant.experiment.search import search
from penchant.experiment.selection import ValidationScorer
from penchant.models.member import MemberTables
from penchant.pipelines.recommendation import RecommendationConfig, fuse


def penchant(config: RecommendationConfig) -> Callable[[Split, Clock], Outcome]:
    """Return the row of one configuration: its fusion, members and fit; data, split and content are the split's."""
    return lambda split, clock: _fit_and_rank(config, split, clock)


def _fit_and_rank(config: RecommendationConfig, split: Split, clock: Clock) -> Outcome:
    config = config.model_copy(update={"seed": split.seed, "fit": config.fit.model_copy(update={"ablation": False})})
    validation = HoldOut(_rows(split.train), _rows(split.validation), split.validation_candidates)
    known = _rows(split.known)
    content, fusion = fuse(_content(split), validation, config)
    tables = config.members or default_members(content, has_time=bool(split.facts["has_time"]))
    if config.model == "auto":
        tables = _searched(config, validation, content, split, clock)
    fitting = config.fit.model_copy(update={"refit": bool(split.facts["refit"])})
    trained = fit(tables, validation, known, content, fusion, fitting, cutoff=config.evaluation.cutoff)
    fit_seconds = clock.seconds
    lists, seconds = timed(lambda: _lists(trained, known, split.test_users, K, split.candidates))
    settings = {"members": trained.tables, "weights": dict(trained.ours.weights)}
    scored = split.validation_users()
    before = _lists(trained, validation.histories, scored, AT, split.validation_candidates, validation=True)
    return Outcome(
        lists, settings, ndcg(before, scored, split.validation, AT), fit_seconds, seconds, stopped="validation"
    )


def _searched(
    config: RecommendationConfig, validation: HoldOut, content: Content, split: Split, clock: Clock
) -> MemberTables:
    """Return what the search finds in the minutes of the leaderboard."""
    minutes = config.search.budget_minutes if clock.limit == float("inf") else clock.limit / 60
    at, users = config.evaluation.cutoff, config.fit.selection.max_users
    scorer = ValidationScorer.sample(validation.histories, validation.truth, at, users, validation.candidates)
    limited = config.search.model_copy(update={"budget_minutes": minutes, "seed": split.seed})
    return search(validation.histories, content, scorer, limited, has_time=bool(split.facts["has_time"])).tables


def _lists(
    trained: FittedRecommenders,
    histories: Histories,
    users: np.ndarray,
    k: int,
    candidates: np.ndarray | None,
    *,
    validation: bool = False,
) -> np.ndarray:
    pool = trained.before if validation else trained.pool
    ranked = pool.rank({OURS: trained.ours.weights}, histories.take(users), k, candidates=candidates)[OURS].item_index
    return np.pad(ranked, ((0, 0), (0, k - ranked.shape[1])), constant_values=PAD)


def _rows(events: Events) -> Histories:
    users = [str(user) for user in range(events.num_users)]
    weight = np.ones(len(events), np.float32)
    return Histories(users, events.offsets(), events.item.astype(np.int32), events.at, weight, events.num_items)


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
    serve({"default": penchant(_config())}, ("penchant", "numpy"))
