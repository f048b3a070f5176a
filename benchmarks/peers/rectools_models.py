"""RecTools: EASE, as shipped and mended, and SASRec with full softmax.

In: a split. Out: lists by the library's own `recommend`. SASRec learns for as long as the clock allows.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning
from choosing import AT, from_table, ndcg, timed, tuned
from exchange import Clock, Events, K, Outcome, Recommender, Settings, Split, serve
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel, SASRecModel

MAX_EPOCHS = 200
"""Of a fit that has no clock and is ended by validation."""
LOOK_EVERY = 2
"""Epochs between two looks at validation."""
PATIENCE = 3
"""Looks without a better one that end the training."""
REGULARISATIONS = [500.0, 50.0, 100.0, 200.0, 1000.0, 2000.0]

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


def ease_as_shipped(split: Split, clock: Clock) -> Outcome:
    """As it is: 0.19.0 multiplies a history with the transposed weights, so every item is weighed by the wrong diagonal."""
    return tuned(
        split, clock, {"regularization": REGULARISATIONS}, lambda s, events: _fitted_ease(s, events, mend=False)
    )


def ease_mended(split: Split, clock: Clock) -> Outcome:
    """With the weights turned, so that scores are `history @ weights` as in Steck, 2019, equation 8."""
    outcome = tuned(
        split, clock, {"regularization": REGULARISATIONS}, lambda s, events: _fitted_ease(s, events, mend=True)
    )
    outcome.notes.append("weights transposed after the fit: the library ranks with their transpose")
    return outcome


def sasrec(width: int, length: int) -> Callable[[Split, Clock], Outcome]:
    """Return SASRec of one size; all else as the library ships it (2 blocks, 4 heads, dropout .2, Adam .001, batch 128)."""
    settings = {"n_factors": width, "session_max_len": length, "loss": "softmax"}
    return lambda split, clock: _sasrec(split, clock, settings)


def _fitted_ease(settings: Settings, events: Events, *, mend: bool) -> Recommender:
    dataset = _dataset(events)
    model = EASEModel(**settings)
    model.fit(dataset)
    if mend:
        model.weight = np.ascontiguousarray(model.weight.T)
    return _recommender(model, dataset)


def _sasrec(split: Split, clock: Clock, settings: Settings) -> Outcome:
    """Fit for as many epochs as there is time for, on everything known: one fit, since `fit_partial` starts Adam anew.

    Without a limit the epochs are chosen on validation: the training part first, until validation stops getting better, then
    everything for as many epochs.
    """
    before, notes = -1.0, []
    if clock.limit == float("inf"):
        epochs, before = _epochs_by_validation(split, settings)
        stopped = "validation"
    else:
        _sasrec_model(split, settings, 1).fit(_dataset(split.train))
        notes.append(f"an epoch takes {clock.seconds:.0f} s")
        epochs, stopped = max(1, int(clock.limit / clock.seconds)), "clock"
    tune_seconds = clock.seconds
    dataset = _dataset(split.known)
    model = _sasrec_model(split, settings, epochs)
    model.fit(dataset)
    fit_seconds = clock.seconds - tune_seconds
    lists, recommend_seconds = timed(lambda: _recommender(model, dataset)(split.test_users, K, split.candidates))
    return Outcome(lists, settings, before, fit_seconds, recommend_seconds, tune_seconds, epochs, stopped, notes)


def _sasrec_model(split: Split, settings: Settings, epochs: int, *callbacks: Callback) -> SASRecModel:
    pytorch_lightning.seed_everything(split.seed)
    return SASRecModel(**settings, epochs=epochs, get_trainer_func=lambda: _trainer(epochs, callbacks))


def _trainer(epochs: int, callbacks: tuple[Callback, ...]) -> Trainer:
    """Return what the library would make, with callbacks."""
    return Trainer(
        max_epochs=epochs,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
        devices=1,
    )


def _epochs_by_validation(split: Split, settings: Settings) -> tuple[int, float]:
    """Return the epoch of one long training that did best on validation, and its NDCG there."""
    dataset, looks = _dataset(split.train), _Looks(split)
    model = _sasrec_model(split, settings, MAX_EPOCHS, looks)
    looks.recommend = _recommender(model, dataset)
    looks.model = model
    model.fit(dataset)
    best = max(looks.seen, key=lambda epochs: looks.seen[epochs])
    return best, looks.seen[best]


class _Looks(Callback):
    """Ranks the validation users every few epochs, as the finished model would, and ends what no longer gets better.

    Attributes:
        seen: Epochs to NDCG.
    """

    def __init__(self, split: Split) -> None:
        self.split, self.users = split, split.validation_users()
        self.seen: dict[int, float] = {}
        self.recommend: Recommender
        self.model: SASRecModel

    def __deepcopy__(self, memo: dict[int, Any]) -> _Looks:
        """Stay the same: the library copies its trainer before a fit."""
        return self

    def on_train_epoch_end(self, trainer: Trainer, pl_module: pytorch_lightning.LightningModule) -> None:
        epochs = trainer.current_epoch + 1
        if epochs % LOOK_EVERY:
            return
        self.model.is_fitted = True
        lists = self.recommend(self.users, AT, self.split.validation_candidates)
        pl_module.train()
        self.seen[epochs] = ndcg(lists, self.users, self.split.validation, AT)
        print(f"  {epochs} epochs: validation NDCG@{AT} {self.seen[epochs]:.4f}", flush=True)
        scores = list(self.seen.values())
        trainer.should_stop = len(scores) - 1 - int(np.argmax(scores)) >= PATIENCE


def _dataset(events: Events) -> Dataset:
    """Return the library's table; the place in the history stands for the time, so nothing ties."""
    frame = pd.DataFrame(
        {
            Columns.User: events.user,
            Columns.Item: events.item,
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(events.sequence_numbers(), unit="s"),
        }
    )
    return Dataset.construct(frame)


def _recommender(model: Any, dataset: Dataset) -> Recommender:
    def recommend(users: np.ndarray, k: int, candidates: np.ndarray | None) -> np.ndarray:
        allowed = None if candidates is None else np.flatnonzero(candidates)
        table = model.recommend(
            users,
            dataset,
            k=k,
            filter_viewed=True,
            items_to_recommend=allowed,
            on_unsupported_targets="ignore",
        )
        table = table.sort_values([Columns.User, Columns.Rank])
        return from_table(users, table[Columns.User].to_numpy(), table[Columns.Item].to_numpy(), k)

    return recommend


if __name__ == "__main__":
    models = {
        "ease_as_shipped": ease_as_shipped,
        "ease_mended": ease_mended,
        "sasrec_64": sasrec(64, 100),
        "sasrec_128": sasrec(128, 100),
        "sasrec_256": sasrec(256, 200),
    }
    serve(models, ("rectools", "torch", "numpy"))
