"""Select settings and weights on validation, then fit everything that is evaluated.

In: histories before and in validation, content, and tables of members. Out: `FittedRecommenders`: a pool of fitted members and, over it,
one leaderboard entry for each recommender that will be evaluated.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int64, UInt64
from pydantic import Field

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.errors import ConfigError
from penchant.core.logs import logger
from penchant.core.messages import Message, message
from penchant.core.schema import Content, Histories, HistoryReader
from penchant.experiment.ablation_plan import AblationArm, PoolMember, plan_ablation
from penchant.experiment.defaults import baseline_tables
from penchant.experiment.fit_cache import FitCache, FitJob
from penchant.experiment.new_items import NEW_ITEMS, learn_lift
from penchant.experiment.pool import MemberPool, RefittedPool, popularity_of, weighed_users
from penchant.experiment.selection import (
    SelectionConfig,
    Tried,
    ValidationScorer,
    choose_settings,
    on_fewer_items,
    table_key,
    without_grid,
)
from penchant.experiment.weighting import LEAST_SQUARES, Moments, WeightRule, choose_rule, rules_with_bands
from penchant.fusion import late
from penchant.fusion.fusion import Fusion
from penchant.fusion.listwise import SampledChoices
from penchant.models.ensemble import Ensemble
from penchant.models.event_log import EventLog
from penchant.models.interest_change import InterestChange
from penchant.models.member import Member, MemberTables, make_member
from penchant.models.new_items import NewItems

OURS = "Penchant"
WITHOUT_NETWORKS = message("Penchant without networks")
WITHOUT_BANDS = message("Penchant, the same weights for everyone")
MIN_LIFT_SHARE = 0.025
"""Share of the weights below which a member takes no part in learning the lift of new items: it hardly moves a list, and costs a fit."""


class FitConfig(Settings):
    """Fit settings."""

    selection: SelectionConfig = SelectionConfig()
    """Limits of what is tried on validation."""
    ensemble: late.EnsembleConfig = late.EnsembleConfig()
    """How the members' weights are found."""
    refit: bool = True
    """Fit again on train and validation together once everything is chosen; published splits usually do not."""
    ship: Literal["everything", "as_measured"] = "everything"
    """After the measurement, fit the members of the bundle again on every event, the test included, with the settings and weights found; or
    ship the members that were measured, as a paper would."""
    lift_new_items: bool = True
    """Learn on validation how much an item that is added after the fit is given beside its members' scores, by hiding a tenth of the items;
    costs one more fit of the members in use, where one of them reads content."""
    change_probability: float = Field(0.001, ge=0, le=0.5)
    """Probability that a user's interest changes suddenly before any one event: what was done before a change that is noticed counts less, unless that ranks validation worse. 0 never."""
    ablation: bool = True
    """Fit the ablation arms, which show which modality pays."""
    ablate_networks: bool = False
    """Fit networks again for every arm too: minutes each. Otherwise the arms are compared without networks."""


@dataclass(frozen=True)
class LeaderboardEntry:
    """One recommender over the member pool.

    Attributes:
        name: Name in reports.
        role: "ours", "baseline", "member" or "ablation".
        weights: Pool name to weight, for all users or by length of the history.
        uses: Modalities, and "behaviour"; empty for baselines and single members. Of two entries that use the same, the
            ablation compares with the later one: ours without networks.
    """

    name: str
    role: str
    weights: late.EnsembleWeights
    uses: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FittedRecommenders:
    """The fitted members and the entries over them.

    Attributes:
        pool: Fitted members, those of baselines and arms included.
        rows: The entries over it; the first is ours.
        tables: The settings chosen for each member.
        validation: Baseline to its NDCG on validation.
        seconds: Pool name to the time of its last fit.
        before: The same members fitted on train alone, for what is learned on validation (thresholds).
        weighting: How the ensemble weights were fitted.
        change: Lets events before a sudden change of interest count less in our entry, its arms and its variants; None lets them count as they do.
        notes: What was decided about members beyond the floor.
        planned: Pool name to settings and channels, to fit the members again.
        left_out: Members that were not fitted: lists rank new items alone, and these members score them all alike.
    """

    pool: MemberPool
    rows: tuple[LeaderboardEntry, ...]
    tables: Mapping[str, Mapping[str, Any]]
    validation: Mapping[str, float]
    seconds: Mapping[str, float]
    before: MemberPool
    weighting: WeightRule = LEAST_SQUARES
    notes: tuple[str, ...] = ()
    planned: Mapping[str, PoolMember] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    change: InterestChange | None = None

    @property
    def ours(self) -> LeaderboardEntry:
        return self.rows[0]

    def ensemble(self, content: Content, *, at: int | None = None) -> Ensemble:
        """Return our recommender, ready to serve; of a rolling test, the one that answered requests at a moment, the last one for None."""
        pool = self.pool.at(at) if isinstance(self.pool, RefittedPool) and at is not None else self.pool
        return Ensemble.build({n: pool.members[n] for n in self.ours.weights}, self.ours.weights, content, self.change)

    def ours_alone(self) -> FittedRecommenders:
        """Return our entry and the members it weighs, without what only the measurement needed: other members, and those of before the test.

        In a large catalog these are gigabytes, which the last fit would be held beside.
        """
        pool = MemberPool({name: self.pool.members[name] for name in self.ours.weights}, fallback=self.pool.fallback)
        return replace(self, pool=pool, before=pool, rows=(self.ours,))

    def rolled(
        self, refits: Sequence[Refit], log: EventLog, content: Content, fusion: Fusion, cache: Path | None = None
    ) -> FittedRecommenders:
        """Return the same recommenders fitted anew at every moment of a rolling test; settings and weights stay.

        Args:
            refits: Moments in order. The members at hand answer from the first on; at the others they learn again.
            log: Every event of everybody, of which members observe those before each request.
            content: Channels and their fusion.
            fusion: How the channels were fused.
            cache: Folder of the networks' checkpoints; None keeps none.
        """
        pools, seconds = {refits[0].start: self.pool.observed(log)}, dict(self.seconds)
        planned = {name: self.planned[name] for name in self.pool.members}
        for refit in refits[1:]:
            pool, spent = _fit_pool(planned, refit.train, content, fusion, cache, self.before)
            pools[refit.start] = pool.observed(log)
            seconds = {name: seconds[name] + spent[name] for name in seconds}
        return replace(self, pool=RefittedPool.of(pools), seconds=seconds)

    def refitted(self, histories: Histories, content: Content, fusion: Fusion, cache: Path | None = None) -> Ensemble:
        """Return our recommender with its members fitted again on other events; settings and weights stay.

        Args:
            histories: What to learn from, usually every event there is.
            content: Channels and their fusion.
            fusion: How the channels were fused.
            cache: Folder of the networks' checkpoints; None keeps none.
        """
        planned = {name: PoolMember(self.tables[name]) for name in self.ours.weights}
        pool, _ = _fit_pool(planned, histories, content, fusion, cache, self.pool)
        return Ensemble.build(pool.members, self.ours.weights, content, self.change)


@dataclass(frozen=True)
class HoldOut:
    """Histories and truth of one moment: validation or test.

    Attributes:
        histories: Events of every user before it; in a rolling split one row for each request, so that a user may have several.
        truth: What the users chose next.
        candidates: Rank only among these items; None for all.
        learned: What members are fitted on; None where that is `histories`.
        log: Every event of everybody, of which members observe those before each request; None lets them know what they learned from.
        tie_order: Of equal scores the item with the smaller number is listed first; None: see `top_k`.
    """

    histories: Histories
    truth: Histories
    candidates: Bool[np.ndarray, " items"] | None = None
    learned: Histories | None = None
    log: EventLog | None = None
    tie_order: UInt64[np.ndarray, " items"] | None = None

    @property
    def train(self) -> Histories:
        """What members are fitted on."""
        return self.histories if self.learned is None else self.learned

    def deriving(self, readers: Mapping[str, HistoryReader]) -> HoldOut:
        """Return the same with channels that are computed from the histories."""
        learned = None if self.learned is None else replace(self.learned, derived=readers)
        return replace(self, histories=replace(self.histories, derived=readers), learned=learned)

    def liked(self) -> HoldOut:
        """Return the rows with a true item."""
        return self.take(
            np.flatnonzero(np.bincount(self.truth.user_index(), self.truth.weight > 0, len(self.truth)) > 0)
        )

    def answered(self) -> HoldOut:
        """Return the rows with an event of the truth, also where all of them are dislikes."""
        return self.take(np.flatnonzero(self.truth.lengths() > 0))

    def take(self, rows: Int64[np.ndarray, " chosen"]) -> HoldOut:
        """Return chosen rows in the given order."""
        return replace(self, histories=self.histories.take(rows), truth=self.truth.take(rows))

    def scorer(self, cutoff: int, max_users: int) -> ValidationScorer:
        """Return the scorer of evenly spaced users."""
        fallback = popularity_of(self.train)
        return ValidationScorer.sample(
            self.histories, self.truth, cutoff, max_users, self.candidates, self.log, fallback, self.tie_order
        )


@dataclass(frozen=True)
class Refit:
    """One fit within a rolling test.

    Attributes:
        start: Its moment, microseconds since 1970; requests from here on are answered by it.
        train: All events before it.
    """

    start: int
    train: Histories


def fit(
    tables: MemberTables,
    validation: HoldOut,
    final: Histories,
    content: Content,
    fusion: Fusion,
    config: FitConfig,
    *,
    cutoff: int,
    cache: Path | None = None,
    tried: Tried | None = None,
    floor: Collection[str] | None = None,
) -> FittedRecommenders:
    """Choose settings and weights on validation, then fit on all that came before the test.

    Args:
        tables: Members of the ensemble; lists are tried on validation.
        validation: Train histories, and what came next.
        final: Train and validation histories together.
        content: Channels and their fusion.
        fusion: How the channels were fused, to fuse what an arm has left.
        config: Settings.
        cutoff: Length of the lists that matter.
        cache: Folder of the networks' checkpoints, from which an interrupted run resumes; None keeps none.
        tried: What a search fitted on the same train part and content, and scored on the same users; None starts anew.
        floor: Members that make the ensemble alone unless the others improve it on left-out halves of the validation users; None is all.
    """
    train = validation.train
    scorer = validation.scorer(cutoff, config.selection.max_users)
    tried = Tried() if tried is None else tried
    among_new = validation.candidates is not None and not train.matrix()[:, validation.candidates].nnz
    tables, left_out = tell_new_apart(tables, content) if among_new else (tables, ())
    asked = validation.liked().histories
    compared = baseline_tables(
        content,
        has_time=bool(train.at.any()),
        among_new=among_new,
        without_history=len(asked) > 0 and asked.num_events == 0,
    )
    baselines = choose_settings(compared, train, content, scorer, config.selection, tried)
    chosen = choose_settings(tables, train, content, scorer, config.selection, tried)
    arms, planned = plan_ablation(chosen, content, networks=config.ablate_networks)
    if not config.ablation:
        arms, planned = arms[:1], {name: PoolMember(chosen[name]) for name in arms[0].members}
    planned |= {name: PoolMember(table) for name, table in baselines.items()}
    pool, seconds = _fit_pool(planned, train, content, fusion, cache, fits=tried.fits)
    scored = {name: tried.scores[key] for name, table in baselines.items() if (key := table_key(table)) in tried.scores}
    del tried  # gigabytes, in a large catalog
    if validation.log is not None:
        pool = pool.observed(validation.log)
    missing = [name for name in baselines if name not in scored]
    rows, scores, rule, notes = _weigh(arms, pool, validation, config, scorer, missing, floor)
    scores = {name: (scored | scores)[name] for name in (*baselines, OURS)}
    if config.lift_new_items and not among_new:
        rows[0] = _with_lift(rows[0], chosen, pool, validation, content, fusion, config.selection, cutoff)
        planned |= {name: PoolMember(chosen[name]) for name in rows[0].weights}
        seconds |= dict.fromkeys(set(rows[0].weights) - set(seconds), 0.0)
    rows += [LeaderboardEntry(name, "baseline", late.EnsembleWeights({name: 1.0})) for name in baselines]
    alone = [name for name in rows[0].weights if pool.members[name].standardised]
    rows += [LeaderboardEntry(name, "member", late.EnsembleWeights({name: 1.0})) for name in alone]
    before = pool
    if config.refit:
        used = {name for row in rows for name in row.weights}
        pool, seconds = _fit_pool({name: planned[name] for name in used}, final, content, fusion, cache, before)
    else:
        pool = replace(pool, seconds={})  # what a user costs is timed on the test alone
    return FittedRecommenders(pool, tuple(rows), chosen, scores, seconds, before, rule, notes, planned, left_out)


def _with_lift(
    ours: LeaderboardEntry,
    chosen: dict[str, dict[str, Any]],
    pool: MemberPool,
    validation: HoldOut,
    content: Content,
    fusion: Fusion,
    limits: SelectionConfig,
    cutoff: int,
) -> LeaderboardEntry:
    """Return our entry with the lift of items that are added later; `chosen` and `pool` get its member.

    Networks and members of small weight take no part in learning it, and in large catalogs members take as few items as in selection. Where no
    member that takes part reads content, or the tables have a lift already, nothing changes.
    """
    least = MIN_LIFT_SHARE * sum(ours.weights.values())
    quick = [name for name, weight in ours.weights.items() if weight >= least and not pool.members[name].is_costly]
    reads = any(pool.members[name].channels(content) for name in quick)
    if not reads or any(isinstance(member, NewItems) for member in pool.members.values()):
        return ours
    train = validation.train
    planned = {name: PoolMember(on_fewer_items(chosen[name], train.num_items, limits.max_items)) for name in quick}
    lift = learn_lift(
        ours.weights.only(quick),
        lambda seen: _fit_pool(planned, seen, content, fusion, None, pool)[0],
        train,
        validation.histories,
        validation.truth,
        cutoff,
    )
    if not lift:
        return ours
    chosen[NEW_ITEMS] = {"model": "new_items", "of": "added"}
    pool.members = {**pool.members, NEW_ITEMS: make_member(NEW_ITEMS, chosen[NEW_ITEMS]).fit(train, content)}
    return replace(ours, weights=ours.weights.with_member(NEW_ITEMS, lift))


def tell_new_apart(tables: MemberTables, content: Content) -> tuple[MemberTables, tuple[str, ...]]:
    """Return the members that read content in any of their settings to try, and the names of the others: these score all new items alike.

    Raises:
        ConfigError: No member reads content.
    """
    kept = {name: table for name, table in tables.items() if _reads_content(name, table, content)}
    if not kept:
        raise ConfigError(
            "No member reads content, and lists of new items can be ranked by content alone.",
            where="members",
            fix="add a member that reads content, such as content_regression, and items with text, pictures or attributes",
        )
    return kept, tuple(name for name in tables if name not in kept)


def _reads_content(name: str, table: Mapping[str, Any], content: Content) -> bool:
    first = without_grid(table)
    tried = [{**first, key: value} for key, values in table.items() if first[key] is not values for value in values]
    return any(make_member(name, one).channels(content) for one in (first, *tried))


def _fit_pool(
    planned: Mapping[str, PoolMember],
    histories: Histories,
    content: Content,
    fusion: Fusion,
    cache: Path | None,
    before: MemberPool | None = None,
    fits: FitCache | None = None,
) -> tuple[MemberPool, dict[str, float]]:
    """Fit every member, or refit it from the same member of the pool `before`; what `fits` holds is not fitted again."""
    members: dict[str, Member] = {}
    seconds: dict[str, float] = {}
    fits = FitCache() if fits is None else fits
    jobs = []
    for name, planned_member in planned.items():
        allowed = content
        if planned_member.channels is not None:
            allowed = content.only(planned_member.channels)
            allowed = replace(allowed, fused=fusion(allowed.channels))
        member = make_member(name, planned_member.table)
        if member.is_costly and cache is not None:
            member.checkpoint = cache.absolute() / _key(planned_member, histories, allowed, before is not None)
            member.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        jobs.append(FitJob(member, allowed, None if before is None else before.members[name]))
    for name, fitted in zip(planned, fits.fit_all(jobs, histories), strict=True):
        members[name], seconds[name] = fitted
        logger.info("  fitted %s: %.1f s", name, seconds[name])
    return MemberPool(members, fallback=popularity_of(histories)), seconds


def _key(member: PoolMember, histories: Histories, content: Content, again: bool) -> str:
    """Return the folder name of a network's checkpoints, valid for these events, this content and these settings only."""
    events = [getattr(histories, part).tobytes() for part in ("offsets", "item_index", "at", "weight")]
    encoders = {name: e.encoder for name, e in content.channels.items()}
    return fingerprint(dict(member.table), encoders, histories.num_items, again, *events)


def _weigh(
    arms: list[AblationArm],
    pool: MemberPool,
    validation: HoldOut,
    config: FitConfig,
    scorer: ValidationScorer,
    baselines: Collection[str] = (),
    floor: Collection[str] | None = None,
) -> tuple[list[LeaderboardEntry], dict[str, float], WeightRule, tuple[str, ...]]:
    """Return the entry of every arm, all weights fitted by the same rule; the validation NDCG of baselines and ours; the rule; and notes about
    the floor.
    """
    names = sorted({name for arm in arms for name in arm.members})
    settings, known, truth = config.ensemble, validation.histories, validation.truth
    base = arms[0].members if floor is None else tuple(name for name in arms[0].members if name in floor)
    has_others = bool(base) and base != arms[0].members
    choices = SampledChoices(len(names)) if settings.objective != "least_squares" or has_others else None
    starts = late.gap_starts(late.gaps(known.take(weighed_users(truth, settings))), settings.bands)
    gaps = late.BandedMoments.zero(len(names), starts, "gap") if starts else None
    moments = pool.moments(names, known, truth, settings, candidates=validation.candidates, choices=choices, gaps=gaps)

    def of(members: tuple[str, ...]) -> tuple[Moments, SampledChoices | None]:
        places = [names.index(name) for name in members]
        own: dict[late.BandKind, late.BandedMoments] = {"length": moments.only(places)}
        if gaps is not None:
            own["gap"] = gaps.only(places)
        return own, None if choices is None else choices.only(places)

    def chosen_for(members: tuple[str, ...]) -> tuple[WeightRule, float | None]:
        return choose_rule(members, *of(members), pool, known, truth, scorer, settings, measures=has_others)

    members, notes = arms[0].members, list[str]()
    rule, reached = chosen_for(members)
    if has_others:
        base_rule, least = chosen_for(base)
        notes.append(_floor_note(set(members) - set(base), reached, least))
        if reached is None or least is None or reached <= least:
            members, rule = base, base_rule
            arms = [replace(arms[0], members=base), *(arm for arm in arms[1:] if arm.uses != arms[0].uses)]
    ours, chose = of(members)
    tried = {rule: rule.fit(members, ours, chose, settings)}
    if rule == LEAST_SQUARES and (
        reached is None or settings.objective != "auto"
    ):  # bands were not compared on left-out users
        tried |= {banded: banded.fit(members, ours, chose, settings) for banded in rules_with_bands(ours, settings)}
    elif rule.bands:
        tried[LEAST_SQUARES] = LEAST_SQUARES.fit(members, ours, chose, settings)
    # where cold items are the truth, squared error and NDCG can disagree
    entries = {str(place): one for place, one in enumerate(tried.values())}
    entries |= {name: late.EnsembleWeights({name: 1.0}) for name in baselines}
    found = scorer.compare(pool, entries)
    scored = {one: found[str(place)] for place, one in enumerate(tried)}
    rule = max(scored, key=lambda one: scored[one])
    rows: list[LeaderboardEntry] = []
    for arm in arms:
        weights = rule.fit(arm.members, *of(arm.members), settings)
        name, role = (", ".join(sorted(arm.uses)), "ablation") if rows else (OURS, "ours")
        if rows and arm.uses == rows[0].uses:
            name, role = WITHOUT_NETWORKS, "member"
        rows.append(LeaderboardEntry(name, role, weights, arm.uses))
    logger.info("  %s", rule.describe())
    largest_first = sorted(rows[0].weights.items(), key=lambda pair: -pair[1])
    logger.info("  weights: %s", ", ".join(f"{name} {weight:.2f}" for name, weight in largest_first))
    if rule.bands:
        logger.info(
            "  bands of %s from %s on have weights of their own",
            rule.bands,
            ", ".join(map(str, rows[0].weights.starts)),
        )
        rows.append(LeaderboardEntry(WITHOUT_BANDS, "member", tried[LEAST_SQUARES]))
    return rows, {**{name: found[name] for name in baselines}, OURS: scored[rule]}, rule, tuple(notes)


def _floor_note(others: Collection[str], reached: float | None, least: float | None) -> Message:
    """Return the sentence about members beyond the floor."""
    names = ", ".join(sorted(others))
    if reached is None or least is None:
        return message("left out {names}: too few validation users to compare it with the other members", names=names)
    if reached <= least:
        return message(
            "left out {names}: NDCG of left-out validation users {reached} with it, {least} without",
            names=names,
            reached=f"{reached:.4f}",
            least=f"{least:.4f}",
        )
    return message(
        "kept {names}: NDCG of left-out validation users {reached} with it, {least} without",
        names=names,
        reached=f"{reached:.4f}",
        least=f"{least:.4f}",
    )
