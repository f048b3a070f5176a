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
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel, SASRecModel

EPOCHS = (10, 20, 40, 80)
"""Lengths of training compared on validation where there is no clock."""
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

    Without a limit the epochs are chosen on validation: the training part first, then everything for as many epochs.
    """
    probe = clock.seconds
    _sasrec_model(split, settings, 1).fit(_dataset(split.train))
    epoch_seconds = clock.seconds - probe
    before, notes = -1.0, [f"an epoch takes {epoch_seconds:.0f} s"]
    if clock.limit == float("inf"):
        epochs, before = _epochs_by_validation(split, settings)
        stopped = "validation"
    else:
        epochs, stopped = max(1, int(clock.limit / epoch_seconds)), "clock"
    began = clock.seconds
    dataset = _dataset(split.known)
    model = _sasrec_model(split, settings, epochs)
    model.fit(dataset)
    fit_seconds = clock.seconds - began
    lists, recommend_seconds = timed(lambda: _recommender(model, dataset)(split.asked, K, split.candidates))
    return Outcome(lists, settings, before, fit_seconds, recommend_seconds, 0.0, epochs, stopped, notes)


def _sasrec_model(split: Split, settings: Settings, epochs: int) -> SASRecModel:
    pytorch_lightning.seed_everything(split.seed)
    return SASRecModel(**settings, epochs=epochs)


def _epochs_by_validation(split: Split, settings: Settings) -> tuple[int, float]:
    """Return the best of a few lengths of training, each from the start, and its NDCG on validation."""
    users, dataset, seen = split.judged(), _dataset(split.train), {}
    for epochs in EPOCHS:
        model = _sasrec_model(split, settings, epochs)
        model.fit(dataset)
        found = _recommender(model, dataset)(users, AT, split.validation_candidates)
        seen[epochs] = ndcg(found, users, split.validation, AT)
        print(f"  {epochs} epochs: validation NDCG@{AT} {seen[epochs]:.4f}", flush=True)
        if seen[epochs] < max(seen.values()):
            break
    best = max(seen, key=lambda epochs: seen[epochs])
    return best, seen[best]


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
