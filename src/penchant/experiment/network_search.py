"""Search for the network over ordered histories that does best on validation, within a time.

In: train histories, content, a scorer on validation, and seconds. Out: the settings of a network. What would take too long is not tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import numpy as np

from penchant.core.errors import MissingExtraError
from penchant.core.executor import current_executor
from penchant.core.messages import message
from penchant.core.schema import Content, Histories
from penchant.experiment.network_costs import EpochCosts
from penchant.experiment.pool import MemberPool
from penchant.experiment.selection import ValidationScorer, table_key
from penchant.fusion.late import EnsembleWeights
from penchant.models.member import Member, make_member

FIRST_NETWORKS: tuple[dict[str, Any], ...] = (
    {"backbone": "transformer"},
    {"backbone": "gru"},
    {"backbone": "cnn"},
    {"backbone": "ligr"},
)
"""Families that are seen once before anything is inferred, at the middle of the other settings."""
LENGTHS, COVERED = (50, 100, 200), 0.95
"""Events of a history that are tried as the most a network reads, up to the first that covers this share of the users."""
MANY_ITEMS = 2_000
"""With more items, sampled losses are tried too: with fewer the full softmax costs no more."""
DRAWN_AT_MOST = 5
"""Times as many networks as are compared that may be drawn; those that would take too long are not tried."""


class NetworkSearch:
    """Networks compared so far: their scores and the measured time of each.

    Args:
        train: Histories that networks are fitted on.
        content: Channels.
        scorer: Compares networks.
        left: Seconds of the whole budget that are neither spent nor needed later.
        max_trials: Networks compared, at most.
        seed: Of the search and of each network.
        note: Keeps a reason.
    """

    def __init__(
        self,
        train: Histories,
        content: Content,
        scorer: ValidationScorer,
        left: Callable[[], float],
        *,
        max_trials: int,
        seed: int,
        note: Callable[[str], None],
    ) -> None:
        self.train, self.content, self.scorer, self.left = train, content, scorer, left
        self.max_trials, self.seed, self.note = max_trials, seed, note
        self.costs = EpochCosts(train, content)
        self.lengths = lengths_to_try(train)
        self.epoch_seconds: dict[str, float] = {}
        self.scores: dict[str, float] = {}
        self.best_compared: Member | None = None
        """The network with the highest of these scores, as it was compared."""

    def lightest_epoch(self) -> float:
        """Return the seconds of the lightest network on a tenth of the users, scaled to all; the first epoch warms up."""
        from penchant.models.sequence import batch_of  # imports torch

        some = tenth(self.train)
        light = {"model": "sequence", "backbone": "gru", "dim": 32, "layers": 1, "epochs": 2, "held_out_users": 0}
        light["batch_events"] = batch_of(self.train.num_events)
        member: Any = make_member("network", light).fit(some, self.content)
        seconds = float(member.training_history.seconds[-1])
        self.costs.learn(light, seconds, some.num_events / max(self.train.num_events, 1))
        return seconds * self.train.num_events / max(some.num_events, 1)

    def best(self, seconds: float, epochs: int, later_epochs: int) -> dict[str, Any]:
        """Return the settings of the network that does best on validation, and note what was compared.

        Args:
            seconds: For all comparisons. A network that would take longer than what is left of them, or could not be trained in full after
                them, is not tried.
            epochs: Of each comparison.
            later_epochs: Least epochs of the network found, until the end.
        """
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise MissingExtraError("optuna", "auto") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=self.seed, n_startup_trials=6),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
        )
        for first in FIRST_NETWORKS:
            study.enqueue_trial({"dim": 64, "layers": 2, "learning_rate": 2e-3, "dropout": 0.2, **first})
        too_slow = self._compare(study, epochs, seconds, later_epochs)
        if too_slow:
            self.note(message("{count} networks were not tried: they take too long", count=too_slow))
        done = [t for t in study.trials if t.state.name == "COMPLETE"]
        if not done:
            self.note(message("a GRU: no comparison was finished in time"))
            return {"model": "sequence", "backbone": "gru", "dim": 64}
        top = sorted(done, key=lambda t: -float(t.value or 0))
        self.note(
            message(
                "{count} networks compared after {epochs} epochs, {pruned} stopped early; validation NDCG: {scores}",
                count=len(done),
                epochs=epochs,
                pruned=sum(t.state.name == "PRUNED" for t in study.trials) - too_slow,
                scores=", ".join(f"{t.params['backbone']} {t.params['dim']} {t.value:.4f}" for t in top[:3]),
            )
        )
        return {"model": "sequence", **study.best_params}

    def _compare(self, study: Any, epochs: int, seconds: float, later_epochs: int) -> int:
        """Compare networks until the time is over, as many at a time as there are cores of a cluster; return how many were too slow to try.

        On nodes none is stopped early, since a node tells nothing before it is done.
        """
        executor, ends, left = current_executor(), perf_counter() + seconds, self.max_trials
        too_slow, drawn = 0, DRAWN_AT_MOST * self.max_trials
        while left > 0 and drawn > 0 and perf_counter() < ends:
            trials: list[Any] = []
            while drawn > 0 and len(trials) < min(left, 1 if executor.is_local else executor.width):
                trial, drawn = study.ask(), drawn - 1
                if self._is_too_slow(self._suggested(trial), epochs, ends - perf_counter(), later_epochs):
                    study.tell(trial, state=_pruned())
                    too_slow += 1
                else:
                    trials.append(trial)
            if executor.is_local:
                for trial in trials:
                    self._compare_here(study, trial, epochs, ends)
            else:
                self._compare_on_nodes(study, trials, epochs)
            left -= len(trials)
        return too_slow

    def _is_too_slow(self, table: Mapping[str, Any], epochs: int, seconds: float, later_epochs: int) -> bool:
        """Return whether a network is predicted not to be compared in the time that is left, or not to be trained in full after that."""
        epoch = self.costs.seconds(table)
        return epoch is not None and (epoch * epochs > seconds or epoch * (epochs + later_epochs) > self.left())

    def _compare_here(self, study: Any, trial: Any, epochs: int, ends: float) -> None:
        import optuna

        table = self._suggested(trial)
        member: Any = make_member("network", {**table, "epochs": epochs, "seed": self.seed})
        began = perf_counter()

        def report(epoch: int, value: float) -> None:
            trial.report(value, epoch)
            late = perf_counter() > ends and epoch + 1 < epochs and bool(self.scores)
            if trial.should_prune() or late:
                self.costs.learn(table, (perf_counter() - began) / (epoch + 1))
                raise optuna.TrialPruned

        member.report = report
        try:
            member.fit(self.train, self.content)
        except optuna.TrialPruned:
            study.tell(trial, state=_pruned())
            return
        score = score_alone(member, self.scorer)
        study.tell(trial, score)
        self._compared(table, member, score)

    def _compare_on_nodes(self, study: Any, trials: list[Any], epochs: int) -> None:
        shared, tables = (self.train, self.content, self.scorer), [self._suggested(trial) for trial in trials]
        networks = ({**table, "epochs": epochs, "seed": self.seed} for table in tables)
        found = current_executor().map(try_network, networks, shared, title="compare networks")
        for trial, table, (network, score) in zip(trials, tables, found, strict=True):
            study.tell(trial, score)
            self._compared(table, network, score)

    def _compared(self, table: Mapping[str, Any], network: Any, score: float) -> None:
        seconds = self.epoch_seconds[table_key(table)] = float(np.median(network.training_history.seconds))
        self.costs.learn(table, seconds)
        if score > max(self.scores.values(), default=-np.inf):
            self.best_compared = network
        self.scores[table_key(table)] = score

    def _suggested(self, trial: Any) -> dict[str, Any]:
        """Return the settings that a study suggests to try."""
        table = {
            "model": "sequence",
            "backbone": trial.suggest_categorical(
                "backbone", ["transformer", "ligr", "gru", "cnn", "lstm", "rnn", "mean"]
            ),
            "dim": trial.suggest_categorical("dim", [32, 64, 128]),
            "layers": trial.suggest_int("layers", 1, 3),
            "learning_rate": trial.suggest_float("learning_rate", 5e-4, 8e-3, log=True),
            "dropout": trial.suggest_float("dropout", 0.0, 0.5, step=0.1),
        }
        if len(self.content.channels) > 1:
            table["fusion"] = trial.suggest_categorical("fusion", ["gated", "concat", "attention"])
        if len(self.lengths) > 1:
            table["max_length"] = trial.suggest_categorical("max_length", self.lengths)
        if self.train.num_items > MANY_ITEMS:
            table["loss"] = trial.suggest_categorical("loss", ["softmax", "sampled_softmax"])
            if table["loss"] == "sampled_softmax":
                table["negative_power"] = trial.suggest_categorical("negative_power", [0.0, 0.5])
                table["in_batch"] = trial.suggest_categorical("in_batch", [0.0, 0.5])
        return table


def try_network(
    table: Mapping[str, Any], train: Histories, content: Content, scorer: ValidationScorer
) -> tuple[Member, float]:
    """Return a network that was fitted, and its NDCG, on the node where this runs."""
    network = make_member("network", table).fit(train, content)
    return network, score_alone(network, scorer)


def score_alone(network: Member, scorer: ValidationScorer) -> float:
    """Return the NDCG of a network without the other members."""
    return scorer(MemberPool({"network": network}), EnsembleWeights({"network": 1.0}))


def lengths_to_try(train: Histories) -> list[int]:
    """Return the lengths worth trying; one says that there is nothing to choose."""
    lengths = train.lengths()
    enough = [length for length in LENGTHS if np.mean(lengths <= length) >= COVERED]
    return [length for length in LENGTHS if not enough or length <= enough[0]]


def _pruned() -> Any:
    from optuna.trial import TrialState

    return TrialState.PRUNED


def tenth(train: Histories) -> Histories:
    """Return every tenth user, or more of a small set: enough to time an epoch by."""
    return train.take(np.arange(0, len(train), max(1, min(10, train.num_events // 20_000))))
