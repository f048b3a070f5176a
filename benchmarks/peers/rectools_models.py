"""RecTools: EASE, as shipped and mended, and Transformers over the order: SASRec, BERT4Rec, and eSASRec (LiGR blocks, sampled softmax).

In: a split. Out: lists by the library's own `recommend`. Transformers learn until validation does not get better, or until the clock ends it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning
from choosing import AT, answered, from_table, ndcg, tuned
from exchange import CannotRunError, Clock, Events, Outcome, Recommender, Requests, Settings, Split, Stage, serve
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset, Interactions
from rectools.dataset.identifiers import IdMap
from rectools.models import BERT4RecModel, EASEModel, SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers

MAX_EPOCHS = 200
"""Of a fit that is ended by validation."""
LOOK_EVERY = 2
"""Epochs between two looks at validation."""
PATIENCE = 5
"""Looks without a better one that end the training."""
SHARE_TO_CHOOSE = 0.5
"""Part of the clock that the choice of the epoch may take; the fit on all that is known needs about as long."""
REGULARISATIONS = [500.0, 50.0, 100.0, 200.0, 1000.0, 2000.0]
WHOLE_HISTORIES = 0.97
"""Users whose events all fit into eSASRec's length."""
DENSE = ("ml1m", "ml1m_all", "ml1m_llm", "globo")
"""Sets whose published dropout is .2 and length 200; sparse ones have .5 and 50 (Kang and McAuley, 2018)."""

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


def ease_as_shipped(split: Split, clock: Clock) -> Outcome:
    """As it is: 0.19.0 multiplies a history with the transposed weights, so every item is weighed by the wrong diagonal."""
    return _ease(split, clock, mend=False)


def ease_mended(split: Split, clock: Clock) -> Outcome:
    """With the weights turned, so that scores are `history @ weights` as in Steck, 2019, equation 8."""
    outcome = _ease(split, clock, mend=True)
    outcome.notes.append("weights transposed after the fit: the library ranks with their transpose")
    return outcome


def sasrec(**changes: Any) -> Callable[[Split, Clock], Outcome]:
    """Return SASRec at the settings of its paper, but with full softmax: 2 blocks, 1 head, 50 factors, Adam .001, batches of 128 users."""
    return lambda split, clock: _transformer(
        split, clock, SASRecModel, {**_published(split), "loss": "softmax", **changes}
    )


def sasrec_bce(split: Split, clock: Clock) -> Outcome:
    """SASRec with its paper's own loss: one negative, binary cross-entropy."""
    return _transformer(split, clock, SASRecModel, {**_published(split), "loss": "BCE", "n_negatives": 1})


def bert4rec(split: Split, clock: Clock) -> Outcome:
    """BERT4Rec at the settings of its paper: 2 blocks, 2 heads, 64 factors, a fifth of the items masked."""
    settings = {
        **_published(split),
        "n_heads": 2,
        "n_factors": 64,
        "dropout_rate": 0.1,
        "mask_prob": 0.2,
        "loss": "softmax",
    }
    return _transformer(split, clock, BERT4RecModel, settings)


def esasrec(split: Split, clock: Clock) -> Outcome:
    """eSASRec: LiGR blocks and sampled softmax in SASRec; width and blocks as it was tuned for sets of this size, on CPU.

    An epoch's time is in proportion to the length, padding included, so it is the shortest that holds 97 % of users whole: on Amazon Beauty
    25 where 50 is published, and half the time.

    Source: Tikhonovich et al., 2025, "eSASRec: Enhancing Transformer-based Recommendations in a Modular Fashion".
    """
    published = _published(split)
    lengths = np.bincount(split.validation.learn.user)
    whole = int(np.quantile(lengths[lengths > 0], WHOLE_HISTORIES))
    settings = {
        **published,
        "session_max_len": min(published["session_max_len"], whole),
        "n_factors": 64,
        "n_heads": 2,
        "loss": "sampled_softmax",
        "n_negatives": 256,
        "transformer_layers_type": LiGRLayers,
    }
    return _transformer(split, clock, SASRecModel, settings)


def _published(split: Split) -> Settings:
    dense = split.facts["set"] in DENSE
    return {
        "n_blocks": 2,
        "n_heads": 1,
        "n_factors": 50,
        "session_max_len": 200 if dense else 50,
        "dropout_rate": 0.2 if dense else 0.5,
        "lr": 0.001,
        "batch_size": 128,
    }


def _ease(split: Split, clock: Clock, *, mend: bool) -> Outcome:
    def fit(settings: Settings, stage: Stage) -> Recommender:
        dataset = _dataset(stage.learn)
        model = EASEModel(**settings)
        model.fit(dataset)
        if mend:
            model.weight = np.ascontiguousarray(model.weight.T)
        return _recommender(model, dataset.item_id_map)

    return tuned(split, clock, {"regularization": REGULARISATIONS}, fit)


def _transformer(split: Split, clock: Clock, kind: Any, settings: Settings) -> Outcome:
    """Choose the epochs on validation, then learn from everything known for as many: one fit, since `fit_partial` starts Adam anew."""
    if split.facts["stages"] > 1:
        raise CannotRunError(f"would be fitted {split.facts['stages']} times; not run on this protocol")
    looks = _Looks(split, clock)
    dataset = _dataset(split.validation.learn)
    looks.model = _model(kind, split, settings, MAX_EPOCHS, looks)
    looks.recommend = _recommender(looks.model, dataset.item_id_map)
    looks.model.fit(dataset)
    if not looks.seen:
        raise CannotRunError(f"stopped by the clock before {LOOK_EVERY} epochs were done")
    best, tune_seconds = max(looks.seen, key=lambda epochs: looks.seen[epochs]), clock.seconds

    def fit(stage: Stage) -> Recommender:
        data = _dataset(stage.learn)
        model = _model(kind, split, settings, best)
        model.fit(data)
        return _recommender(model, data.item_id_map)

    lists, fit_seconds, recommend_seconds = answered(split, fit)
    notes = [f"best of {len(looks.seen)} looks, the last after {max(looks.seen)} epochs"]
    said = {name: getattr(value, "__name__", value) for name, value in settings.items()}
    return Outcome(
        lists, said, looks.seen[best], fit_seconds, recommend_seconds, tune_seconds, best, looks.stopped, notes
    )


def _model(kind: Any, split: Split, settings: Settings, epochs: int, *callbacks: Callback) -> Any:
    pytorch_lightning.seed_everything(split.seed)
    return kind(**settings, epochs=epochs, get_trainer_func=lambda: _trainer(epochs, callbacks))


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


class _Looks(Callback):
    """Ranks the validation requests every few epochs, as the finished model would, and ends what does not get better.

    Attributes:
        seen: Epochs to NDCG.
        stopped: "validation", "clock" or "epochs".
    """

    def __init__(self, split: Split, clock: Clock) -> None:
        self.stage, self.clock = split.validation, clock
        self.seen: dict[int, float] = {}
        self.stopped = "epochs"
        self.recommend: Recommender
        self.model: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> _Looks:
        """Stay the same: the library copies its trainer before a fit."""
        return self

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if self.clock.seconds > SHARE_TO_CHOOSE * self.clock.limit:
            self.stopped, trainer.should_stop = "clock", True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: pytorch_lightning.LightningModule) -> None:
        epochs = trainer.current_epoch + 1
        if epochs % LOOK_EVERY or (self.stopped == "clock" and self.seen):
            return
        self.model.is_fitted = True
        lists = self.recommend(self.stage.requests, AT, self.stage.candidates)
        pl_module.train()
        assert self.stage.truth is not None
        self.seen[epochs] = ndcg(lists, self.stage.truth, AT)
        print(
            f"  {epochs} epochs: validation NDCG@{AT} {self.seen[epochs]:.4f}, {self.clock.seconds:.0f} s", flush=True
        )
        scores = list(self.seen.values())
        if len(scores) - 1 - int(np.argmax(scores)) >= PATIENCE:
            self.stopped, trainer.should_stop = "validation", True


def _frame(events: Events, place: np.ndarray | None = None) -> pd.DataFrame:
    """Return the library's columns; the place in the history stands for the time, so nothing ties."""
    return pd.DataFrame(
        {
            Columns.User: events.user,
            Columns.Item: events.item,
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(events.sequence_numbers() if place is None else place, unit="s"),
        }
    )


def _dataset(events: Events) -> Dataset:
    return Dataset.construct(_frame(events))


def _recommender(model: Any, items: IdMap) -> Recommender:
    """Return the recommender that gives the library each request as a user of its own, over the items that were learned."""
    learned = np.asarray(items.external_ids)

    def recommend(requests: Requests, k: int, candidates: np.ndarray | None) -> np.ndarray:
        frame = _frame(requests.history)
        frame = frame[np.isin(frame[Columns.Item], learned)]
        users = np.unique(frame[Columns.User])
        if not len(users):
            return np.full((len(requests), k), -1, np.int32)
        # one more user, who has every item and asks nothing: the library takes the width of its table from the events
        everything = Events(np.full(len(learned), -1), learned, np.zeros(0), 0, 0)
        frame = pd.concat([frame, _frame(everything, np.arange(len(learned)))])
        asked = IdMap.from_values(frame[Columns.User].to_numpy())
        dataset = Dataset(asked, items, Interactions.from_raw(frame, asked, items))
        allowed = None if candidates is None else np.intersect1d(np.flatnonzero(candidates), learned)
        table = model.recommend(
            users,
            dataset,
            k=k,
            filter_viewed=True,
            items_to_recommend=allowed,
            on_unsupported_targets="ignore",
        )
        table = table.sort_values([Columns.User, Columns.Rank])
        return from_table(len(requests), table[Columns.User].to_numpy(), table[Columns.Item].to_numpy(), k)

    return recommend


if __name__ == "__main__":
    models = {
        "ease_as_shipped": ease_as_shipped,
        "ease_mended": ease_mended,
        "sasrec": sasrec(),
        "sasrec_bce": sasrec_bce,
        "bert4rec": bert4rec,
        "esasrec": esasrec,
    }
    serve(models, ("rectools", "torch", "numpy"))
