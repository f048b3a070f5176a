"""RecTools: EASE, as shipped and mended, and SASRec with full softmax.

In: a split. Out: lists by the library's own `recommend`. SASRec learns on the training part and stops early on validation.
"""

from __future__ import annotations

import copy
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

MAX_EPOCHS = 300
PATIENCE = 10
"""Epochs without a better validation before it stops."""
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
    pytorch_lightning.seed_everything(split.seed)
    model = SASRecModel(**settings)
    train, users = _dataset(split.train), split.judged()
    best, state, best_epoch, epoch, longest = -1.0, None, 0, 0, 0.0
    stopped = "epochs"
    while epoch < MAX_EPOCHS:
        began = clock.seconds
        model.fit_partial(train, 1, 1)
        epoch += 1
        found = _recommender(model, train)(users, AT, split.validation_candidates)
        model.lightning_model.train()
        value = ndcg(found, users, split.validation, AT)
        print(f"  epoch {epoch}: validation NDCG@{AT} {value:.4f}, {clock.seconds:.0f} s", flush=True)
        if value > best:
            best, best_epoch = value, epoch
            state = copy.deepcopy(model.lightning_model.torch_model.state_dict())
        longest = max(longest, clock.seconds - began)
        if epoch - best_epoch >= PATIENCE:
            stopped = "validation"
            break
        if clock.is_up(longest):
            stopped = "clock"
            break
    model.lightning_model.torch_model.load_state_dict(state)
    fit_seconds = clock.seconds
    recommend = _recommender(model, _dataset(split.known))
    lists, recommend_seconds = timed(lambda: recommend(split.asked, K, split.candidates))
    notes = [
        f"best of {epoch} epochs was {best_epoch}",
        "learned from the training part, recommends from all that is known",
    ]
    return Outcome(lists, settings, best, fit_seconds, recommend_seconds, 0.0, epoch, stopped, notes)


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
