"""Select settings and weights on validation, then fit everything that is evaluated.

In: histories before and in validation, content, and tables of members. Out: `FittedRecommenders`: a pool of fitted members and, over it,
one leaderboard entry for each recommender that will be evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.logs import logger
from penchant.core.messages import message
from penchant.core.schema import Content, Histories
from penchant.experiment.ablation_plan import AblationArm, PoolMember, plan_ablation
from penchant.experiment.defaults import baseline_tables
from penchant.experiment.pool import FitCache, MemberPool, RefittedPool, popularity_of
from penchant.experiment.selection import SelectionConfig, Tried, ValidationScorer, choose_settings
from penchant.experiment.weighting import LEAST_SQUARES, WeightRule, choose_rule
from penchant.fusion import late
from penchant.fusion.fusion import Fusion
from penchant.fusion.listwise import SampledChoices
from penchant.models.ensemble import Ensemble
from penchant.models.event_log import EventLog
from penchant.models.member import Member, MemberTables, make_member

OURS = "Penchant"
WITHOUT_NETWORKS = message("Penchant without networks")
WITHOUT_BANDS = message("Penchant, the same weights for everyone")


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
        planned: Pool name to settings and channels, to fit the members again.
    """

    pool: MemberPool
    rows: tuple[LeaderboardEntry, ...]
    tables: Mapping[str, Mapping[str, Any]]
    validation: Mapping[str, float]
    seconds: Mapping[str, float]
    before: MemberPool
    weighting: WeightRule = LEAST_SQUARES
    planned: Mapping[str, PoolMember] = field(default_factory=dict)

    @property
    def ours(self) -> LeaderboardEntry:
        return self.rows[0]

    def ensemble(self, content: Content, *, at: int | None = None) -> Ensemble:
        """Return our recommender, ready to serve; of a rolling test, the one that answered requests at a moment, the last one for None."""
        pool = self.pool.at(at) if isinstance(self.pool, RefittedPool) and at is not None else self.pool
        return Ensemble.build({n: pool.members[n] for n in self.ours.weights}, self.ours.weights, content)

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
        return Ensemble.build(pool.members, self.ours.weights, content)


@dataclass(frozen=True)
class HoldOut:
    """Histories and truth of one moment: validation or test.

    Attributes:
        histories: Events of every user before it; in a rolling split one row for each request, so that a user may have several.
        truth: What the users chose next.
        candidates: Rank only among these items; None for all.
        learned: What members are fitted on; None where that is `histories`.
        log: Every event of everybody, of which members observe those before each request; None lets them know what they learned from.
    """

    histories: Histories
    truth: Histories
    candidates: Bool[np.ndarray, " items"] | None = None
    learned: Histories | None = None
    log: EventLog | None = None

    @property
    def train(self) -> Histories:
        """What members are fitted on."""
        return self.histories if self.learned is None else self.learned

    def liked(self) -> HoldOut:
        """Return the rows with a true item."""
        rows = np.flatnonzero(np.bincount(self.truth.user_index(), self.truth.weight > 0, len(self.truth)) > 0)
        return replace(self, histories=self.histories.take(rows), truth=self.truth.take(rows))

    def scorer(self, cutoff: int, max_users: int) -> ValidationScorer:
        """Return the scorer of evenly spaced users."""
        fallback = popularity_of(self.train)
        return ValidationScorer.sample(
            self.histories, self.truth, cutoff, max_users, self.candidates, self.log, fallback
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
    """
    train = validation.train
    scorer = validation.scorer(cutoff, config.selection.max_users)
    tried = Tried()
    baselines = choose_settings(
        baseline_tables(has_time=bool(train.at.any())), train, content, scorer, config.selection, tried
    )
    chosen = choose_settings(tables, train, content, scorer, config.selection, tried)
    del tried  # gigabytes, in a large catalog
    arms, planned = plan_ablation(chosen, content, networks=config.ablate_networks)
    if not config.ablation:
        arms, planned = arms[:1], {name: PoolMember(chosen[name]) for name in arms[0].members}
    planned |= {name: PoolMember(table) for name, table in baselines.items()}
    pool, seconds = _fit_pool(planned, train, content, fusion, cache)
    if validation.log is not None:
        pool = pool.observed(validation.log)
    rows, ours, rule = _weigh(arms, pool, validation, config, scorer)
    rows += [LeaderboardEntry(name, "baseline", late.EnsembleWeights({name: 1.0})) for name in baselines]
    rows += [LeaderboardEntry(name, "member", late.EnsembleWeights({name: 1.0})) for name in rows[0].weights]
    scores = {name: scorer(pool, late.EnsembleWeights({name: 1.0})) for name in baselines}
    scores[OURS] = ours
    before = pool
    if config.refit:
        used = {name for row in rows for name in row.weights}
        pool, seconds = _fit_pool({name: planned[name] for name in used}, final, content, fusion, cache, before)
    return FittedRecommenders(pool, tuple(rows), chosen, scores, seconds, before, rule, planned)


def _fit_pool(
    planned: Mapping[str, PoolMember],
    histories: Histories,
    content: Content,
    fusion: Fusion,
    cache: Path | None,
    before: MemberPool | None = None,
) -> tuple[MemberPool, dict[str, float]]:
    """Fit every member, or refit it from the same member of the pool `before`."""
    members: dict[str, Member] = {}
    seconds: dict[str, float] = {}
    fits = FitCache()
    for name, planned_member in planned.items():
        allowed = content
        if planned_member.channels is not None:
            allowed = content.only(planned_member.channels)
            allowed = Content(allowed.channels, fusion(allowed.channels))
        member = make_member(name, planned_member.table)
        if member.is_costly and cache is not None:
            member.checkpoint = cache / _key(planned_member, histories, allowed, before is not None)

        earlier = None if before is None else before.members[name]
        members[name], seconds[name] = fits.fit(member, histories, allowed, earlier)
        logger.info("  fitted %s: %.1f s", name, seconds[name])
    return MemberPool(members, fallback=popularity_of(histories)), seconds


def _key(member: PoolMember, histories: Histories, content: Content, again: bool) -> str:
    """Return the folder name of a network's checkpoints, valid for these events, this content and these settings only."""
    events = [getattr(histories, part).tobytes() for part in ("offsets", "item_index", "at", "weight")]
    encoders = {name: e.encoder for name, e in content.channels.items()}
    return fingerprint(dict(member.table), encoders, histories.num_items, again, *events)


def _weigh(
    arms: list[AblationArm], pool: MemberPool, validation: HoldOut, config: FitConfig, scorer: ValidationScorer
) -> tuple[list[LeaderboardEntry], float, WeightRule]:
    """Return the entry of every arm, all weights fitted by the same rule; the validation NDCG of ours; and the rule."""
    names = sorted({name for arm in arms for name in arm.members})
    settings, known, truth = config.ensemble, validation.histories, validation.truth
    choices = None if settings.objective == "least_squares" else SampledChoices(len(names))
    moments = pool.moments(names, known, truth, settings, candidates=validation.candidates, choices=choices)

    def of(members: tuple[str, ...]) -> tuple[late.BandedMoments, SampledChoices | None]:
        places = [names.index(name) for name in members]
        return moments.only(places), None if choices is None else choices.only(places)

    members, (ours, chose) = arms[0].members, of(arms[0].members)
    rule = choose_rule(members, ours, chose, pool, known, truth, scorer, settings)
    tried = {rule: rule.fit(members, ours, chose, settings)}
    if rule == LEAST_SQUARES and late.bands_pay(ours, settings):
        banded = WeightRule(has_bands=True)
        tried[banded] = banded.fit(members, ours, chose, settings)
    # where cold items are the truth, squared error and NDCG can disagree
    scored = dict(
        zip(
            tried,
            scorer.compare(pool, {str(place): one for place, one in enumerate(tried.values())}).values(),
            strict=True,
        )
    )
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
    if rule.has_bands:
        starts = ", ".join(map(str, ours.starts))
        logger.info("  histories from %s events on have weights of their own", starts)
        rows.append(LeaderboardEntry(WITHOUT_BANDS, "member", tried[LEAST_SQUARES]))
    return rows, scored[rule], rule
