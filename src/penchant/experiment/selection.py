"""Select settings on validation.

In: tables of members in which a list means "one of these". Out: the same tables with one value each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt64
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.executor import current_executor
from penchant.core.logs import logger
from penchant.core.schema import Content, Embeddings, Histories
from penchant.core.spacing import evenly_spaced
from penchant.experiment.fit_cache import FitCache, Fitted
from penchant.experiment.pool import MemberPool
from penchant.fusion.fusion import Fusion, make_fusion
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.ranking import hit_matrix, ndcg, relevant
from penchant.models import MODELS
from penchant.models.content import ContentKNN
from penchant.models.event_log import EventLog
from penchant.models.member import Member, MemberTables, make_member
from penchant.models.shared import SharedResults

MAX_KEPT_BYTES = 1e9
"""Size of the members kept while settings are compared."""
FIRST_SHARE = 4
"""A setting is scored on every so many-th validation user first; only one that is not clearly worse there is scored on the others."""
MIN_FIRST_USERS = 100
"""Users of that first part below which all are scored at once."""
CLEARLY = 2.5
"""Standard errors of the paired difference below which a setting is clearly worse than the best so far."""


class SelectionConfig(Settings):
    """Limits of selection on validation."""

    max_events: int = 2_000_000
    """With more training events the first value of every list is used and none is tried."""
    max_users: int = 2_000
    """Validation users that a setting is scored on."""
    max_items: int = Field(4_000, ge=1)
    """Settings of members whose cost grows with the cube of the items (those with `max_items`) are compared on the items with the most events,
    this many; with the settings found they are fitted on all that their own `max_items` allows."""


@dataclass(frozen=True)
class ValidationScorer:
    """NDCG of ensemble weights on validation users.

    Attributes:
        histories: Validation users before validation.
        truth: What they chose.
        cutoff: Length of the list.
        candidates: Rank only among these.
        log: Every event of everybody, of which members observe those before each request; None lets them know what they learned from.
        fallback: Scores by which a user is ranked to whom a row gives equal scores; None leaves that to the pool.
        tie_order: Order of equal scores.
    """

    histories: Histories
    truth: Histories
    cutoff: int
    candidates: Bool[np.ndarray, " items"] | None = None
    log: EventLog | None = None
    fallback: Float32[np.ndarray, " items"] | None = None
    tie_order: UInt64[np.ndarray, " items"] | None = None

    @classmethod
    def sample(
        cls,
        histories: Histories,
        truth: Histories,
        cutoff: int,
        max_users: int,
        candidates: Bool[np.ndarray, " items"] | None,
        log: EventLog | None = None,
        fallback: Float32[np.ndarray, " items"] | None = None,
        tie_order: UInt64[np.ndarray, " items"] | None = None,
    ) -> ValidationScorer:
        """Take evenly spaced users among those with something to find."""
        users = np.flatnonzero(truth.lengths() > 0)
        users = evenly_spaced(users, max_users)
        return cls(histories.take(users), truth.take(users), cutoff, candidates, log, fallback, tie_order)

    def __call__(self, pool: MemberPool, weights: EnsembleWeights) -> float:
        """Return the mean NDCG of some ensemble weights; a user without a liked item counts as 0."""
        return self.compare(pool, {"": weights})[""]

    def compare(self, pool: MemberPool, rows: Mapping[str, EnsembleWeights]) -> dict[str, float]:
        """Return the mean NDCG of each row of weights, every member scoring once."""
        return {name: float(gains.mean()) for name, gains in self.gains(pool, rows).items()}

    def gains(self, pool: MemberPool, rows: Mapping[str, EnsembleWeights]) -> dict[str, Float64[np.ndarray, " users"]]:
        """Return the NDCG of each user under each row of weights, every member scoring once."""
        if self.log is not None:
            pool = pool.observed(self.log)
        if self.fallback is not None:
            pool = replace(pool, fallback=self.fallback)
        lists = pool.rank(rows, self.histories, self.cutoff, candidates=self.candidates, tie_order=self.tie_order)
        counts = relevant(self.truth).counts()
        return {
            name: ndcg(hit_matrix(ranked.item_index, self.truth), counts, self.cutoff) for name, ranked in lists.items()
        }

    def take(self, users: Int64[np.ndarray, " chosen"]) -> ValidationScorer:
        """Return the scorer of some of the users."""
        return replace(self, histories=self.histories.take(users), truth=self.truth.take(users))


@dataclass
class Tried:
    """What was fitted and scored for one train part, one content and one scorer.

    Attributes:
        scores: Table without its name to its NDCG.
        gains: The same table to the NDCG of each user: of the first part of the users alone where it was clearly worse there than another setting.
        fits: Fitted members.
        until: Moment of `perf_counter` from which no further setting is fitted and scored.
        untried: Members with settings that were not tried for that.
    """

    scores: dict[str, float] = field(default_factory=dict)
    gains: dict[str, Float64[np.ndarray, " users"]] = field(default_factory=dict)
    fits: FitCache = field(default_factory=lambda: FitCache(MAX_KEPT_BYTES))
    until: float = np.inf
    untried: set[str] = field(default_factory=set)


def choose_settings(
    tables: MemberTables,
    train: Histories,
    content: Content,
    scorer: ValidationScorer,
    config: SelectionConfig,
    tried: Tried | None = None,
) -> dict[str, dict[str, Any]]:
    """Return tables without lists: for each list in turn the value that does best on validation.

    One setting is tried at a time, in the order of the table, the others at their best so far. Of three numbers or more that need a fit each, the
    neighbours of the best so far are tried until neither is better. Settings that another member, or an
    earlier call with the same `tried`, was scored with are not scored again. A setting is scored on a quarter of the users first, and on the
    others unless it is clearly worse there than the best so far.

    Source of the last: Maron and Moore, Hoeffding races, NIPS 1993; we compare paired means by their standard error.
    """
    tried = Tried() if tried is None else tried
    if not current_executor().is_local:
        return _choose_on_nodes(tables, train, content, scorer, config, tried)
    chosen: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        grid, fixed = _lists(table), without_grid(table)
        if grid and train.num_events > config.max_events:
            logger.info("  %s: %s untried, there are over %d events", name, ", ".join(grid), config.max_events)
        elif grid:
            fixed = _best(name, fixed, grid, train, content, scorer, tried, config)
        chosen[name] = fixed
    return chosen


@dataclass(frozen=True)
class SettingsShard:
    """The members of one model, whose settings are compared on one node; no other model is scored with their tables.

    Attributes:
        tables: Members by name.
        scores: As of `Tried`, of this model.
        gains: As of `Tried`, of this model.
        seconds: Until no further setting is tried.
    """

    tables: MemberTables
    scores: Mapping[str, float]
    gains: Mapping[str, Float64[np.ndarray, " users"]]
    seconds: float


@dataclass(frozen=True)
class ChosenSettings:
    """What was chosen for the members of one model, and what was found on the way; fields as of `Tried`."""

    tables: dict[str, dict[str, Any]]
    scores: dict[str, float]
    gains: dict[str, Float64[np.ndarray, " users"]]
    fitted: dict[str, Fitted]
    untried: set[str]


def _choose_on_nodes(
    tables: MemberTables,
    train: Histories,
    content: Content,
    scorer: ValidationScorer,
    config: SelectionConfig,
    tried: Tried,
) -> dict[str, dict[str, Any]]:
    """Return what `choose_settings` does: the members of one model one after another, models at the same time."""
    models: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, table in tables.items():
        models.setdefault(str(table.get("model")), {})[name] = table
    own = {model: f"('model', {model!r})" for model in models}
    shards = (
        SettingsShard(
            some,
            {key: score for key, score in tried.scores.items() if own[model] in key},
            {key: gains for key, gains in tried.gains.items() if own[model] in key},
            tried.until - perf_counter(),
        )
        for model, some in models.items()
    )
    chosen: dict[str, dict[str, Any]] = {}
    shared = (train, content, scorer, config)
    for found in current_executor().map(choose_for_model, shards, shared, title="choose settings"):
        chosen |= found.tables
        tried.scores |= found.scores
        tried.gains |= found.gains
        tried.untried |= found.untried
        for name, fitted in found.fitted.items():
            tried.fits.keep(make_member(name, found.tables[name]), content, fitted)
    return {name: chosen[name] for name in tables}


_ON_THIS_NODE = SharedResults()
"""Results that several members need, of the process of a node."""


def choose_for_model(
    shard: SettingsShard, train: Histories, content: Content, scorer: ValidationScorer, config: SelectionConfig
) -> ChosenSettings:
    """Return the settings of the members of one model, on the node where this runs."""
    tried = Tried(dict(shard.scores), dict(shard.gains), FitCache(MAX_KEPT_BYTES, _ON_THIS_NODE))
    tried.until = perf_counter() + shard.seconds
    chosen = choose_settings(shard.tables, train, content, scorer, config, tried)
    kept = {name: tried.fits.found(make_member(name, table), content) for name, table in chosen.items()}
    fitted = {name: found for name, found in kept.items() if found is not None}
    return ChosenSettings(chosen, tried.scores, tried.gains, fitted, tried.untried)


def choose_fusion(
    content: Content, train: Histories, scorer: ValidationScorer, tables: Sequence[Mapping[str, Any]]
) -> Fusion:
    """Return the fusion whose nearest neighbours recommend best on validation.

    Args:
        content: Channels.
        train: What the neighbours learn from.
        scorer: Validation users.
        tables: Fusions to compare, each a kind and its settings.
    """
    fusions = [make_fusion(table, where="fusion") for table in tables]
    if len(fusions) == 1 or not content.channels:
        return fusions[0]
    shards = (fusion(content.channels) for fusion in fusions)
    scored = []
    for table, score in zip(
        tables, current_executor().map(_score_fused, shards, (train, scorer), title="choose fusion"), strict=True
    ):
        settings = ", ".join(f"{name} {value}" for name, value in table.items())
        logger.info("  fusion %s: validation NDCG %.4f", settings, score)
        scored.append(score)
    return fusions[int(np.argmax(scored))]


def _score_fused(fused: Embeddings, train: Histories, scorer: ValidationScorer) -> float:
    """Return the validation NDCG of the nearest neighbours by fused vectors."""
    member = ContentKNN(name="fused").fit(train, Content({}, fused))
    return scorer(MemberPool({"fused": member}), EnsembleWeights({"fused": 1.0}))


def _best(
    name: str,
    fixed: dict[str, Any],
    grid: dict[str, list[Any]],
    train: Histories,
    content: Content,
    scorer: ValidationScorer,
    tried: Tried,
    config: SelectionConfig,
) -> dict[str, Any]:
    def is_better(table: dict[str, Any], best: dict[str, Any]) -> bool:
        compared, than = (on_fewer_items(one, train.num_items, config.max_items) for one in (table, best))
        if table_key(compared) not in tried.scores and perf_counter() > tried.until:
            tried.untried.add(name)
            return False
        return beats(name, compared, than, train, content, scorer, tried)

    first = on_fewer_items(fixed, train.num_items, config.max_items)
    if table_key(first) not in tried.scores:
        score_of(tried.fits.fit(make_member(name, first), train, content)[0], name, first, scorer, tried)
    reading = make_member(name, fixed).reading
    for setting, values in grid.items():
        fixed = {**fixed, setting: values[0]}
        candidates = [fixed, *({**fixed, setting: value} for value in values[1:])]
        is_ordered = len(values) > 2 and all(isinstance(value, (int, float)) for value in values)
        if is_ordered and setting not in reading:
            fixed = _climb(candidates, setting, is_better)
        else:
            for candidate in candidates[1:]:
                fixed = candidate if is_better(candidate, fixed) else fixed
    reached = tried.scores[table_key(on_fewer_items(fixed, train.num_items, config.max_items))]
    logger.info("  %s: %s (validation NDCG %.4f)", name, ", ".join(f"{k} {fixed[k]}" for k in grid), reached)
    return fixed


def _climb(
    candidates: list[dict[str, Any]], setting: str, is_better: Callable[[dict[str, Any], dict[str, Any]], bool]
) -> dict[str, Any]:
    """Return the candidate than which neither neighbour is better, from the first one on, larger values first."""
    best, ordered = candidates[0], sorted(candidates, key=lambda table: table[setting])
    for step in (1, -1):
        place = ordered.index(best) + step
        while 0 <= place < len(ordered) and is_better(ordered[place], best):
            best, place = ordered[place], place + step
    return best


def beats(
    name: str,
    table: Mapping[str, Any],
    best: Mapping[str, Any],
    train: Histories,
    content: Content,
    scorer: ValidationScorer,
    tried: Tried,
) -> bool:
    """Return whether one table has a higher validation NDCG than another; a table that is clearly worse on the first part of the users is not
    scored on the others, and has no entry in `tried.scores`.
    """

    def fitted(one: Mapping[str, Any]) -> Member:
        return tried.fits.fit(make_member(name, one), train, content)[0]

    key, than, users = table_key(table), table_key(best), len(scorer.histories)
    if than not in tried.scores:
        score_of(fitted(best), name, best, scorer, tried)
    if key in tried.scores:
        return tried.scores[key] > tried.scores[than]
    first = np.arange(0, users, FIRST_SHARE)
    if len(first) < MIN_FIRST_USERS or len(tried.gains.get(than, ())) != users:
        return score_of(fitted(table), name, table, scorer, tried) > tried.scores[than]
    member = None
    if key not in tried.gains:
        member = fitted(table)
        tried.gains[key] = _gains(member, name, scorer.take(first))
    lost = tried.gains[than][first] - tried.gains[key]
    if lost.mean() > CLEARLY * lost.std() / np.sqrt(len(first)):
        return False
    gains, others = np.empty(users), np.setdiff1d(np.arange(users), first)
    gains[first] = tried.gains[key]
    gains[others] = _gains(fitted(table) if member is None else member, name, scorer.take(others))
    tried.gains[key], tried.scores[key] = gains, float(gains.mean())
    return tried.scores[key] > tried.scores[than]


def on_fewer_items(table: Mapping[str, Any], num_items: int, limit: int) -> Mapping[str, Any]:
    """Return a table whose member, or the member it holds, takes at most so many of the items where it has such a setting."""
    if num_items <= limit:
        return table
    if isinstance(table.get("of"), dict):
        return {**table, "of": on_fewer_items(table["of"], num_items, limit)}
    has_limit = "max_items" in MODELS.load(str(table["model"])).config_class.model_fields
    return {**table, "max_items": min(limit, table.get("max_items", limit))} if has_limit else table


def score_of(member: Member, name: str, table: Mapping[str, Any], scorer: ValidationScorer, tried: Tried) -> float:
    """Return the validation NDCG of a fitted member, scored once for equal tables."""
    key = table_key(table)
    if key not in tried.scores:
        tried.gains[key] = _gains(member, name, scorer)
        tried.scores[key] = float(tried.gains[key].mean())
    return tried.scores[key]


def _gains(member: Member, name: str, scorer: ValidationScorer) -> Float64[np.ndarray, " users"]:
    return scorer.gains(MemberPool({name: member}), {name: EnsembleWeights({name: 1.0})})[name]


def table_key(table: Mapping[str, Any]) -> str:
    """Return the key of a table in `Tried.scores`."""
    return repr(sorted(table.items()))


def each_value(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield tables in which every value of every list that is tried stands once."""
    plain = without_grid(table)
    yield plain
    for key, values in _lists(table).items():
        yield from ({**plain, key: value} for value in values[1:])


def without_grid(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a member's table with the first value of each list that is tried."""
    grid = _lists(table)
    return {key: value[0] if key in grid else value for key, value in table.items()}


def _lists(table: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the settings given as a list where the model wants one value; an empty list is no choice."""
    if "model" not in table:  # refused with its name when the member is made
        return {}
    fields = MODELS.load(str(table["model"])).config_class.model_fields
    lists = {key for key, field in fields.items() if "list" in str(field.annotation)}
    return {key: list(value) for key, value in table.items() if isinstance(value, list) and value and key not in lists}
