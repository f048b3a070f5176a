"""Search for members and a network under a budget of time and memory.

In: train histories, content, a scorer on validation, and the budget. Out: member tables and the reasons for them.
The test is never seen here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.errors import ConfigError, MissingExtraError
from penchant.core.logs import logger
from penchant.core.messages import message
from penchant.core.schema import Content, Histories
from penchant.experiment.defaults import baseline_tables, default_members
from penchant.experiment.expected_gain import USEFUL, expected_gain
from penchant.experiment.fit import FitConfig
from penchant.experiment.network_search import NetworkSearch, score_alone, tenth
from penchant.experiment.selection import Tried, ValidationScorer, choose_settings, score_of, table_key, without_grid
from penchant.models import MODELS
from penchant.models.member import Member, make_member

GB = 1024**3
GRID_SHARE = 0.5
"""Share of the time left after one fit of every member that settings may take to be tried."""
WEAK_NETWORK = 0.5
"""A network whose best comparison has less than this share of the NDCG of the best member is not trained."""
RESERVE = 0.1
"""Share of the budget kept for ensemble weights and for fits that take longer than the first one."""
SEARCH_SHARE = 0.4
"""Share of what networks get spent on comparing them; the rest trains the best one."""
MIN_EPOCHS, MAX_EPOCHS = 3, 25
NETWORK = "network"
"""Name of the network among the members."""
HOPS = (1, 2)
"""Graph networks that are compared."""
MIN_EVENTS, MIN_LENGTH = 2_000, 4.0
"""A network is not tried on fewer events, or shorter histories: there is no order to learn."""


class SearchConfig(Settings):
    """Budget of the search."""

    budget_minutes: float = Field(10.0, gt=0)
    """Wall time for choosing and training, baselines, ablation arms and the last fits included; reading, encoding and measuring come on top."""
    budget_gb: float | None = Field(None, gt=0)
    """Memory a member may take while it is fitted; None takes 60 % of what is free."""
    max_trials: int = Field(20, ge=1)
    """Networks compared, at most."""
    seed: int = 0
    """Of the search."""


@dataclass
class SearchResult:
    """The members found, with the reasons.

    Attributes:
        tables: Members; what lists there are was tried as far as the time went.
        reasons: Why, one sentence each.
        tried: What was fitted and scored, so that it is not again.
        floor: Members without the network, which has to improve on them; None where nothing was searched.
    """

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    tried: Tried = field(default_factory=Tried)
    floor: tuple[str, ...] | None = None

    def note(self, reason: str) -> None:
        """Keep a reason and log it."""
        self.reasons.append(reason)
        logger.info("  auto: %s", reason)


def search(
    train: Histories,
    content: Content,
    scorer: ValidationScorer,
    config: SearchConfig,
    fitting: FitConfig | None = None,
    *,
    has_time: bool,
) -> SearchResult:
    """Return members that fit the budget, and the network that did best on validation within it.

    The default members come first, those that tell most for their time before the others, each fitted once to know its time; then their
    settings. Networks follow where there is order to learn and time is left: Optuna draws them (TPE), each is stopped early once it lags behind
    the median of the others. The best of them is trained in full unless left-out validation users say that the other members suffice. `fit`
    compares the ensemble with and without the network on left-out halves of validation.

    Args:
        train: Histories that members are fitted on.
        content: Channels.
        scorer: Compares members and networks.
        config: The budget.
        fitting: What will be fitted later, whose time is part of the budget.
        has_time: Whether the order of events is known.

    Raises:
        ConfigError: Not even the cheapest member fits the time or the memory; the smallest that works is named.
    """
    one = MemberSearch(train, content, scorer, config, fitting, has_time=has_time)
    one.result.note(
        message(
            "{users} users, {items} items, {events} events, {each} a user; {kinds} kinds of content; {cores} cores; "
            "{minutes} minutes, {memory} GB",
            users=f"{len(train):,}",
            items=f"{train.num_items:,}",
            events=f"{train.num_events:,}",
            each=f"{train.lengths().mean():.0f}",
            kinds=len({e.modality for e in content.channels.values()}),
            cores=os.cpu_count(),
            minutes=f"{config.budget_minutes:g}",
            memory=f"{one.memory / GB:.1f}",
        )
    )
    one.add_defaults()
    one.choose_settings()
    one.result.floor = tuple(one.result.tables)
    one.add_network(one.left())
    return one.result


class MemberSearch:
    """One search: what is searched on, the members found so far, and the measured time of each network.

    Args:
        train: Histories that members are fitted on.
        content: Channels.
        scorer: Compares networks.
        config: The budget, which begins now.
        fitting: What will be fitted later.
        has_time: Whether the order of events is known.
    """

    def __init__(
        self,
        train: Histories,
        content: Content,
        scorer: ValidationScorer,
        config: SearchConfig,
        fitting: FitConfig | None = None,
        *,
        has_time: bool,
    ) -> None:
        self.train, self.content, self.scorer, self.config, self.has_time = train, content, scorer, config, has_time
        self.fitting = FitConfig() if fitting is None else fitting
        self.memory = config.budget_gb * GB if config.budget_gb is not None else free_memory()
        self.result = SearchResult()
        self._began = perf_counter()
        self._later = 0.0
        """Seconds of the fits that follow the search: on all events before the test, on every event, of the arms, of the lift of new items, and of
        baselines."""
        self.networks = NetworkSearch(
            train, content, scorer, self.left, max_trials=config.max_trials, seed=config.seed, note=self.result.note
        )

    def _used(self) -> float:
        """Return the seconds spent so far and those needed later, as a share of the budget without the reserve."""
        return (perf_counter() - self._began + self._later) / (1 - RESERVE)

    def left(self) -> float:
        """Return the seconds of the budget that are neither spent nor needed later."""
        budget = self.config.budget_minutes * 60
        return budget * (1 - RESERVE) - (perf_counter() - self._began) - self._later

    def add_defaults(self) -> None:
        """Fit the default members once, in the order of what they tell for their time, and leave out those that do not fit the budget."""
        result, tried = self.result, self.result.tried
        defaults = default_members(self.content, has_time=self.has_time, num_events=self.train.num_events)
        cheapest: float | None = None
        for name, table in sorted(defaults.items(), key=lambda pair: _order(pair[1])):
            first = without_grid(table)
            need = _bytes(first, self.train.num_items)
            if need > self.memory:
                result.note(message("left out {name}: it would take {memory} GB", name=name, memory=f"{need / GB:.1f}"))
                continue
            before = perf_counter()
            member, _ = tried.fits.fit(make_member(name, first), self.train, self.content)
            score = score_of(member, name, first, self.scorer, tried)
            once = perf_counter() - before  # next to nothing where a member before it learned the same
            later = once * self._later_fits(member)
            cheapest = once + later if cheapest is None else min(cheapest, once + later)
            if self.left() < later:
                result.note(
                    message(
                        "left out {name}: its later fits take {later} s, {left} s were left",
                        name=name,
                        later=f"{later:.0f}",
                        left=f"{max(self.left(), 0):.0f}",
                    )
                )
                continue
            self._later += later
            result.tables[name] = table
            logger.info("  %s: NDCG %.4f, %.1f s", name, score, once)
        if cheapest is None:
            least = min(_bytes(without_grid(table), self.train.num_items) for table in defaults.values())
            raise ConfigError(
                f"Nothing can be fitted in {self.memory / GB:.2g} GB.",
                where="search.budget_gb",
                fix=f"the smallest that works here is about {1.1 * least / GB:.2g}",
            )
        if not result.tables:
            raise ConfigError(
                f"Nothing can be fitted in {self.config.budget_minutes:g} minutes.",
                where="search.budget_minutes",
                fix=f"the smallest that works here is about {cheapest / 60 * 1.5:.2g}",
            )
        count = len(result.tables)
        result.note(
            message(
                "{count} of {total} default members, {seconds} s, and {later} s for their later fits",
                count=count,
                total=len(defaults),
                seconds=f"{perf_counter() - self._began:.0f}",
                later=f"{self._later:.0f}",
            )
        )

    def _later_fits(self, member: Member) -> int:
        """Return how often a member is fitted after the search, ablation arms included."""
        arms = 0
        if self.fitting.ablation:
            read = {
                self.content.channels[c].modality for c in member.channels(self.content) if c in self.content.channels
            }
            arms = len(read) if len(read) > 1 else 0
        rounds = 1 + arms if self.fitting.refit else 0
        lift = self.fitting.lift_new_items and bool(self.content.channels)
        return arms + rounds + (self.fitting.ship == "everything") + lift

    def choose_settings(self) -> None:
        """Try the settings of the members, and of the baselines, until half of the time that is left is spent."""
        tried, baselines = self.result.tried, baseline_tables(self.content, has_time=self.has_time)
        for name, table in baselines.items() if self.fitting.refit else ():
            member = make_member(name, without_grid(table))
            self._later += tried.fits.fit(member, self.train, self.content)[1]
        tried.until = perf_counter() + max(self.left(), 0) * GRID_SHARE
        tables = {**baselines, **self.result.tables}
        chosen = choose_settings(tables, self.train, self.content, self.scorer, self.fitting.selection, tried)
        self.result.tables = {name: chosen[name] for name in self.result.tables}
        if tried.untried:
            untried = ", ".join(sorted(tried.untried))
            self.result.note(message("no time to try every setting of {names}", names=untried))

    def add_network(self, seconds: float) -> None:
        """Compare networks and add the best, trained for as long as the budget allows."""
        result, events, each = self.result, self.train.num_events, self.train.lengths().mean()
        best = max(self.result.tried.scores.values(), default=0.0)
        if events < MIN_EVENTS or each < MIN_LENGTH:
            return result.note(
                message(
                    "no network: {events} events, {each} a user are too few", events=f"{events:,}", each=f"{each:.1f}"
                )
            )
        if not self.has_time:
            return self._add_graph_network(seconds)
        try:
            epoch = self.networks.lightest_epoch()
        except (MissingExtraError, ModuleNotFoundError) as error:
            why = f"{str(error).splitlines()[0]} (pip install 'penchant[auto]')"
            return result.note(message("no network: {why}", why=why))
        if epoch * MIN_EPOCHS * 1.5 > seconds:
            needed = (self._used() + epoch * MIN_EPOCHS * 1.5) / 60
            return result.note(
                message(
                    "no network: {epochs} epochs of the lightest need {minutes} minutes of budget",
                    epochs=MIN_EPOCHS,
                    minutes=f"{needed:.1f}",
                )
            )
        # as many epochs as there is time for: once on train, a few more on all before the test, and on every event
        refit = 2
        again = refit * (self.fitting.refit + (self.fitting.ship == "everything"))
        for_search = seconds * SEARCH_SHARE
        epochs = int(np.clip(for_search / (4 * epoch * 2), 0, 6))
        if epochs < 2:
            table: dict[str, Any] = {"model": "sequence", "backbone": "gru", "dim": 32, "layers": 1}
            result.note(message("a light GRU untried: comparing networks would not leave time to train one"))
        else:
            table = self.networks.best(for_search, epochs, MIN_EPOCHS + again)
            if self._is_not_worth_training(table, best, epochs):
                return None
            seconds = self.left()
            epoch = self.networks.epoch_seconds.get(table_key(table), 2 * epoch)
        epochs = int(min(seconds / epoch - again, MAX_EPOCHS))
        if epochs < MIN_EPOCHS:
            return result.note(
                message(
                    "no network: {epochs} epochs of about {seconds} s each do not fit what is left",
                    epochs=MIN_EPOCHS + again,
                    seconds=f"{epoch:.1f}",
                )
            )
        result.tables[NETWORK] = {**table, "epochs": epochs, "refit_epochs": refit}
        result.note(message("network: {epochs} epochs of about {seconds} s", epochs=epochs, seconds=f"{epoch:.1f}"))

    def _is_not_worth_training(self, table: Mapping[str, Any], best: float, epochs: int) -> bool:
        """Return whether the best network compared is far below the best member, or adds too little to the members, and note it."""
        reached = self.networks.scores.get(table_key(table), 0.0)
        if reached >= WEAK_NETWORK * best:
            return self._members_suffice()
        self.result.note(
            message(
                "no network: the best of those compared has NDCG {network} after {epochs} epochs, a member {best}",
                network=f"{reached:.4f}",
                epochs=epochs,
                best=f"{best:.4f}",
            )
        )
        return True

    def _members_suffice(self) -> bool:
        """Return whether the best network compared adds too little to the other members to be trained in full, and note it."""
        if self.networks.best_compared is None or not self.result.tables:
            return False
        fits, tables = self.result.tried.fits, self.result.tables
        members = {
            name: fits.fit(make_member(name, without_grid(table)), self.train, self.content)[0]
            for name, table in tables.items()
        }
        found = expected_gain({**members, NETWORK: self.networks.best_compared}, NETWORK, self.scorer)
        if found is None or not found.suffices:
            return False
        self.result.note(
            message(
                "no network: the other members suffice; the best network of those compared adds {gain} [{low}, {high}] to their NDCG of {reached} on "
                "left-out validation users, and {most} at most after a full training, less than {share} of it",
                gain=f"{found.gain.mean:+.4f}",
                low=f"{found.gain.low:.4f}",
                high=f"{found.gain.high:.4f}",
                reached=f"{found.reached:.4f}",
                most=f"{found.most:.4f}",
                share=f"{USEFUL:.0%}",
            )
        )
        return True

    def _add_graph_network(self, seconds: float) -> None:
        """Compare networks that need no order of events; those compared and the fits to come get equal shares of the time."""
        limit = seconds / (len(HOPS) + 3)
        some = tenth(self.train)
        trial: Any = make_member("network", {"model": "graph_network", "epochs": 1}).fit(some, self.content)
        epoch = sum(trial.training_history.seconds) * len(self.train) / len(some)
        if epoch * MIN_EPOCHS > limit:
            needed = (self._used() + epoch * MIN_EPOCHS * (len(HOPS) + 3)) / 60
            return self.result.note(
                message(
                    "no network: the events have no order, and a graph network needs {minutes} minutes of budget",
                    minutes=f"{needed:.1f}",
                )
            )
        scores = {}
        for hops in HOPS:
            table = {"model": "graph_network", "hops": hops, "minutes": limit / 60}
            scores[hops] = score_alone(make_member("network", table).fit(self.train, self.content), self.scorer)
        best = max(scores, key=lambda hops: scores[hops])
        self.result.tables[NETWORK] = {"model": "graph_network", "hops": best, "minutes": round(limit / 60, 2)}
        listed = ", ".join(f"{hops} hops {score:.4f}" for hops, score in scores.items())
        return self.result.note(
            message("a graph network, since the events have no order; validation NDCG: {scores}", scores=listed)
        )


def _order(table: Mapping[str, Any]) -> int:
    """Members that tell most for their time first: those that cost next to nothing, then the strongest."""
    models = [
        "popularity",
        "recent_popularity",
        "new_arrivals",
        "transitions",
        "item_knn",
        "content_knn",
        "ease",
        "lifted",
    ]
    models += ["graph_filter", "session_regression", "content_regression", "rp3beta"]
    model = str(table["model"])
    return models.index(model) if model in models else len(models)


def _bytes(table: Mapping[str, Any], num_items: int) -> float:
    """Return about how much a member takes while it is fitted: dense ones a few squares of the items they use."""
    table = table.get("of", table)  # a member that is lifted
    config = MODELS.load(str(table["model"])).config_class()
    limit = getattr(config, "max_items", None) or getattr(config, "max_dense_items", None)
    return 3 * 4.0 * min(num_items, limit) ** 2 if limit else 4 * 4.0 * num_items * 1024


def free_memory() -> float:
    """Return 60 % of what is free; 2 GB where the system does not tell."""
    try:
        return 0.6 * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 2.0 * GB
