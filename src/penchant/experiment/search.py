"""Search for members and a network under a budget of time and memory.

In: train histories, content, a judge on validation, and the budget. Out: member tables and the reasons for them.
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
from penchant.experiment.defaults import default_members
from penchant.experiment.pool import MemberPool
from penchant.experiment.selection import ValidationScorer
from penchant.fusion.late import EnsembleWeights
from penchant.models import MODELS
from penchant.models.factory import make_member

GB = 1024**3
CLOSED_SHARE = 0.3
"""Share of the budget that members fitted in closed form may take; the rest goes to networks."""
SEARCH_SHARE = 0.4
"""Share of what networks get that is spent on comparing them; the rest trains the one that won."""
MIN_EPOCHS, MAX_EPOCHS = 3, 25
HOPS = (1, 2)
"""Graph networks that are compared."""
MIN_EVENTS, MIN_LENGTH = 2_000, 4.0
"""A network is not tried on fewer events, or shorter histories: there is no order to learn."""


class SearchConfig(Settings):
    """Budget of the search."""

    budget_minutes: float = Field(10.0, gt=0)
    """Wall time for choosing and training, about; reading, encoding and measuring come on top."""
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
        tables: Members, lists to be tried on validation as everywhere.
        reasons: Why, one sentence each.
    """

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def say(self, reason: str) -> None:
        """Note a reason and show it."""
        self.reasons.append(reason)
        logger.info("  auto: %s", reason)


def search(
    train: Histories, content: Content, judge: ValidationScorer, config: SearchConfig, *, has_time: bool
) -> SearchResult:
    """Return members that fit the budget, and the network that did best on validation within it.

    Members in closed form are added in order of what they cost, each fitted once to know it. Networks follow where there is
    order to learn and time is left: Optuna draws them (TPE), each is stopped early once it lags behind the median of the others.

    Raises:
        ConfigError: Not even the cheapest member fits the time or the memory; the smallest that works is named.
    """
    found = SearchResult()
    lengths = train.lengths()
    found.say(
        message(
            "{users} users, {items} items, {events} events, {each} a user; {kinds} kinds of content; {cores} cores; "
            "{minutes} minutes, {memory} GB",
            users=f"{len(train):,}",
            items=f"{train.num_items:,}",
            events=f"{train.num_events:,}",
            each=f"{lengths.mean():.0f}",
            kinds=len({e.modality for e in content.channels.values()}),
            cores=os.cpu_count(),
            minutes=f"{config.budget_minutes:g}",
            memory=f"{_memory(config) / GB:.1f}",
        )
    )
    budget = config.budget_minutes * 60
    spent = _add_closed(found, train, content, config, budget * CLOSED_SHARE, has_time=has_time)
    _add_network(found, train, content, judge, config, budget - spent, has_time=has_time)
    return found


def _add_closed(
    found: SearchResult, train: Histories, content: Content, config: SearchConfig, seconds: float, *, has_time: bool
) -> float:
    """Add members in closed form until their share is spent; return what all fits to come will take."""
    spent = 0.0
    cheapest: float | None = None
    modalities = len({e.modality for e in content.channels.values()})
    for name, table in sorted(default_members(content, has_time=has_time).items(), key=lambda pair: _order(pair[1])):
        need = _bytes(table, train.num_items)
        if need > _memory(config):
            found.say(message("left out {name}: it would take {memory} GB", name=name, memory=f"{need / GB:.1f}"))
            continue
        began = perf_counter()
        first = {k: (v[0] if isinstance(v, list) else v) for k, v in table.items()}
        member = make_member(name, first).fit(train, content)
        once = perf_counter() - began
        grid = sum(len(v) - 1 for v in table.values() if isinstance(v, list))
        arms = 1 + modalities * (len(member.channels(content)) > 1)
        total = once * (1 + grid + 2 * arms)  # this fit, the grid, then train and all events for every arm
        cheapest = total if cheapest is None else min(cheapest, total)
        if spent + total > seconds:
            found.say(
                message(
                    "left out {name}: {total} s in all, {left} s were left for its kind",
                    name=name,
                    total=f"{total:.0f}",
                    left=f"{max(seconds - spent, 0):.0f}",
                )
            )
            continue
        spent += total
        found.tables[name] = table
    if cheapest is None:
        least = min(_bytes(t, train.num_items) for t in default_members(content, has_time=has_time).values())
        raise ConfigError(
            f"Nothing can be fitted in {_memory(config) / GB:.2g} GB.",
            where="search.budget_gb",
            fix=f"the smallest that works here is about {1.1 * least / GB:.2g}",
        )
    if not found.tables:
        smallest = cheapest / CLOSED_SHARE / 60
        raise ConfigError(
            f"Nothing can be fitted in {config.budget_minutes:g} minutes.",
            where="search.budget_minutes",
            fix=f"the smallest that works here is about {smallest * 1.2:.2g}",
        )
    found.say(
        message("{count} members in closed form, about {seconds} s", count=len(found.tables), seconds=f"{spent:.0f}")
    )
    return spent


def _add_network(
    found: SearchResult,
    train: Histories,
    content: Content,
    judge: ValidationScorer,
    config: SearchConfig,
    seconds: float,
    *,
    has_time: bool,
) -> None:
    """Compare networks and add the best, trained for as long as the budget allows."""
    if train.num_events < MIN_EVENTS or train.lengths().mean() < MIN_LENGTH:
        return found.say(
            message(
                "no network: {events} events, {each} a user are too few",
                events=f"{train.num_events:,}",
                each=f"{train.lengths().mean():.1f}",
            )
        )
    if not has_time:
        return _add_graph_network(found, train, content, judge, seconds)
    try:
        trials = NetworkTrials(train, content, judge, config)
        epoch = trials.seconds_for_an_epoch()
    except (MissingExtraError, ModuleNotFoundError) as error:
        why = f"{str(error).splitlines()[0]} (pip install 'penchant[auto]')"
        return found.say(message("no network: {why}", why=why))
    if epoch * MIN_EPOCHS * 1.5 > seconds:
        needed = epoch * MIN_EPOCHS * 1.5 / (1 - CLOSED_SHARE) / 60
        return found.say(
            message(
                "no network: {epochs} epochs of the lightest want {minutes} minutes of budget",
                epochs=MIN_EPOCHS,
                minutes=f"{needed:.1f}",
            )
        )
    for_search = seconds * SEARCH_SHARE
    epochs = int(np.clip(for_search / (4 * epoch * 2), 0, 6))
    if epochs < 2:
        table: dict[str, Any] = {"model": "sequence", "backbone": "gru", "dim": 32, "layers": 1}
        found.say(message("a light GRU untried: comparing networks would not leave time to train one"))
        return _final(found, table, seconds, epoch)
    table, said = trials.best(for_search, epochs)
    for line in said:
        found.say(line)
    return _final(found, table, seconds - for_search, trials.epoch_seconds(table, epoch))


def _add_graph_network(
    found: SearchResult, train: Histories, content: Content, judge: ValidationScorer, seconds: float
) -> None:
    """Compare networks that need no order of events; those that are compared and those to come get equal shares of the time."""
    limit = seconds / (len(HOPS) + 2)
    some = _tenth(train)
    trial: Any = make_member("network", {"model": "graph_network", "epochs": 1}).fit(some, content)
    epoch = sum(trial.training_history.seconds) * len(train) / len(some)
    if epoch * MIN_EPOCHS > limit:
        needed = epoch * MIN_EPOCHS * (len(HOPS) + 2) / (1 - CLOSED_SHARE) / 60
        return found.say(
            message(
                "no network: the events have no order, and a graph network wants {minutes} minutes of budget",
                minutes=f"{needed:.1f}",
            )
        )
    scores = {}
    for hops in HOPS:
        table = {"model": "graph_network", "hops": hops, "minutes": limit / 60}
        member = make_member("network", table).fit(train, content)
        scores[hops] = judge(MemberPool({"network": member}), EnsembleWeights({"network": 1.0}))
    best = max(scores, key=lambda hops: scores[hops])
    found.tables["network"] = {"model": "graph_network", "hops": best, "minutes": round(limit / 60, 2)}
    told = ", ".join(f"{hops} hops {score:.4f}" for hops, score in scores.items())
    return found.say(message("a graph network, since the events have no order; validation NDCG: {told}", told=told))


def _final(found: SearchResult, table: dict[str, Any], seconds: float, epoch: float) -> None:
    """Add the chosen network with as many epochs as there is time for: once on train, a few more on everything."""
    refit = 2
    epochs = int(np.clip(seconds / epoch - refit, MIN_EPOCHS, MAX_EPOCHS))
    found.tables["network"] = {**table, "epochs": epochs, "refit_epochs": refit}
    found.say(message("network: {epochs} epochs of about {seconds} s", epochs=epochs, seconds=f"{epoch:.1f}"))


class NetworkTrials:
    """Trials of networks on validation."""

    def __init__(self, train: Histories, content: Content, judge: ValidationScorer, config: SearchConfig) -> None:
        self.train, self.content, self.judge, self.config = train, content, judge, config
        self.measured: dict[str, float] = {}

    def seconds_for_an_epoch(self) -> float:
        """Time the lightest network on a tenth of the users, scaled to all of them; the first epoch warms up."""
        from penchant.models.sequence import batch_of  # brings torch with it

        some = _tenth(self.train)
        light = {"model": "sequence", "backbone": "gru", "dim": 32, "layers": 1, "epochs": 2, "held_out_users": 0}
        light["batch_events"] = batch_of(self.train.num_events)
        member = make_member("network", light)
        member.fit(some, self.content)
        course: Any = vars(member)["training_history"]
        return float(course.seconds[-1]) * self.train.num_events / max(some.num_events, 1)

    def best(self, seconds: float, epochs: int) -> tuple[dict[str, Any], list[str]]:
        """Return the settings of the best network, and what was compared."""
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise MissingExtraError("optuna", "auto") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=self.config.seed, n_startup_trials=6),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
        )
        for backbone in ("transformer", "gru", "cnn"):  # each family is seen once before anything is inferred
            study.enqueue_trial({"backbone": backbone, "dim": 64, "layers": 2, "learning_rate": 2e-3, "dropout": 0.2})

        def objective(trial: optuna.Trial) -> float:
            return self._try(trial, epochs)

        study.optimize(objective, n_trials=self.config.max_trials, timeout=seconds)
        done = [t for t in study.trials if t.state.name == "COMPLETE"]
        pruned = sum(t.state.name == "PRUNED" for t in study.trials)
        if not done:
            table = {"model": "sequence", "backbone": "gru", "dim": 64}
            return table, [message("a GRU: no comparison was finished in time")]
        top = sorted(done, key=lambda t: -float(t.value or 0))
        told = ", ".join(f"{t.params['backbone']} {t.params['dim']} {t.value:.4f}" for t in top[:3])
        said: list[str] = [
            message(
                "{count} networks compared after {epochs} epochs, {pruned} stopped early; validation NDCG: {scores}",
                count=len(done),
                epochs=epochs,
                pruned=pruned,
                scores=told,
            )
        ]
        return {"model": "sequence", **study.best_params}, said

    def _try(self, trial: Any, epochs: int) -> float:
        import optuna

        table = {
            "model": "sequence",
            "backbone": trial.suggest_categorical("backbone", ["transformer", "gru", "cnn", "lstm", "rnn", "mean"]),
            "dim": trial.suggest_categorical("dim", [32, 64, 128]),
            "layers": trial.suggest_int("layers", 1, 3),
            "learning_rate": trial.suggest_float("learning_rate", 5e-4, 8e-3, log=True),
            "dropout": trial.suggest_float("dropout", 0.0, 0.5, step=0.1),
        }
        if len(self.content.channels) > 1:
            table["fusion"] = trial.suggest_categorical("fusion", ["gated", "concat", "attention"])
        member: Any = make_member("network", {**table, "epochs": epochs, "seed": self.config.seed})

        def report(epoch: int, value: float) -> None:
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        member.report = report
        member.fit(self.train, self.content)
        self.measured[repr(sorted(table.items()))] = float(np.median(member.training_history.seconds))
        return self.judge(MemberPool({"network": member}), EnsembleWeights({"network": 1.0}))

    def epoch_seconds(self, table: Mapping[str, Any], light: float) -> float:
        """Return the measured time of one epoch of a network that was tried."""
        return self.measured.get(repr(sorted(table.items())), 2 * light)


def _tenth(train: Histories) -> Histories:
    """Return every tenth user, or more of a small set: enough to time an epoch by."""
    return train.take(np.arange(0, len(train), max(1, min(10, train.num_events // 20_000))))


def _order(table: Mapping[str, Any]) -> int:
    """Cheap members first."""
    cheap = ["popularity", "item_knn", "rp3beta", "transitions", "content_knn", "ease", "content_regression"]
    model = str(table["model"])
    return cheap.index(model) if model in cheap else len(cheap)


def _bytes(table: Mapping[str, Any], num_items: int) -> float:
    """Return about how much a member takes while it is fitted: dense ones a few squares of the items they use."""
    limit = getattr(MODELS.load(str(table["model"])).config_class(), "max_items", None)
    return 3 * 4.0 * min(num_items, limit) ** 2 if limit else 4 * 4.0 * num_items * 1024


def _memory(config: SearchConfig) -> float:
    if config.budget_gb is not None:
        return config.budget_gb * GB
    try:
        return 0.6 * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 2.0 * GB
