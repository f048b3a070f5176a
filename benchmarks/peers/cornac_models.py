"""Cornac: VBPR, and DMRL, its torch model that reads words and pictures together.

In: a split with content vectors. Out: lists by the models' own `score`. Both learn on the training part, and keep the weights
of the epoch that did best on validation.
"""

from __future__ import annotations

import contextlib
import copy
import io
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from choosing import AT, answered, by_scores, ndcg
from cornac.data import Dataset, FeatureModality, ImageModality
from cornac.models import DMRL, VBPR
from exchange import CannotRunError, Clock, Events, Outcome, Recommender, Requests, Settings, Split, Stage, serve

MAX_EPOCHS = 200
PATIENCE = 10
MAX_USERS_DMRL = 100
"""DMRL scores one user against the whole catalog through its attention; its validation uses only so many users."""
MAX_WAIT = 3
"""Lists may take so many times the minutes of the fit, or the row says that they would take longer."""


def vbpr(split: Split, clock: Clock) -> Outcome:
    """One epoch at a time from the weights so far, since it has no early stopping; Adam's moments begin anew with each."""
    vectors = _joined(split)
    data = _dataset(split.validation.learn)
    data.add_modalities(item_image=_built(ImageModality(features=vectors, ids=_ids(split.num_items)), data))
    settings = {"k": 64, "k2": 64, "batch_size": 256, "learning_rate": 0.005, "lambda_w": 0.01, "lambda_b": 0.01}
    state: dict[str, Any] = {}

    def epoch() -> Any:
        model = VBPR(**settings, n_epochs=1, init_params=state, seed=split.seed, verbose=False)
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit(data)
        state.update(
            Bi=model.beta_item,
            Gu=model.gamma_user,
            Gi=model.gamma_item,
            Tu=model.theta_user,
            E=model.emb_matrix,
            Bp=model.beta_prime,
        )
        return model

    return _stopped_early(split, clock, settings, epoch)


def dmrl(split: Split, clock: Clock) -> Outcome:
    """Its own loop, left after each epoch by an exception from the method it calls for every batch."""
    words, pictures = _of_modality(split, "text"), _of_modality(split, "image")
    data = _dataset(split.validation.learn)
    ids = _ids(split.num_items)
    text = _built(FeatureModality(features=words, ids=ids), data)
    text.features, text.preencoded, text.output_dim = torch.as_tensor(words), True, words.shape[1]
    data.add_modalities(item_text=text, item_image=_built(FeatureModality(features=pictures, ids=ids), data))
    settings = {"embedding_dim": 100, "num_neg": 4, "num_factors": 4, "learning_rate": 1e-4, "batch_size": 1024}
    torch.manual_seed(split.seed)
    model = _TimedDMRL(
        split, clock, settings, epochs=MAX_EPOCHS, bert_text_dim=words.shape[1], image_dim=pictures.shape[1]
    )
    with contextlib.suppress(_EnoughError), contextlib.redirect_stdout(io.StringIO()):
        model.fit(data)
    model.model.load_state_dict(model.state)
    fit_seconds = clock.seconds
    asked = sum(len(stage.requests) for stage in split.tests)
    wait = model.evaluation_seconds / len(model.asked) * asked
    if wait > MAX_WAIT * clock.limit:
        raise CannotRunError(f"lists of {asked:,} requests would take {wait / 60:.0f} minutes, one user at a time")
    lists, _, recommend_seconds = answered(split, lambda stage: _by_user(model, stage))
    notes = [f"best was epoch {model.best_epoch:.3g}", f"scored on {MAX_USERS_DMRL} validation users"]
    return Outcome(
        lists, settings, model.best, fit_seconds, recommend_seconds, 0.0, round(model.epoch, 3), model.stopped, notes
    )


class _EnoughError(Exception):
    """Ends the fit."""


class _TimedDMRL(DMRL):
    """DMRL that checks the time with every batch and validation with every epoch."""

    def __init__(self, split: Split, clock: Clock, settings: Settings, **more: Any) -> None:
        super().__init__(**settings, **more)
        self.split, self.clock = split, clock
        stage = split.validation
        rows = np.unique(np.linspace(0, len(stage.requests) - 1, MAX_USERS_DMRL).astype(np.int64))
        assert stage.truth is not None
        self.asked, self.chosen = stage.requests.take(rows), stage.truth.take(rows)
        self.per_epoch = -(-len(stage.learn) // self.batch_size)
        self.batches, self.best, self.best_epoch, self.stopped, self.state = 0, -1.0, 0.0, "epochs", {}
        self.evaluation_seconds = 0.0

    @property
    def epoch(self) -> float:
        return self.batches / self.per_epoch

    def initialize_and_build_modalities(self, trainset: Any) -> None:
        """Take the vectors as they are; the library's own method imports torchvision for encoders that are not needed."""
        self.item_text, self.item_image = trainset.item_text, trainset.item_image

    def get_modality_embeddings(self, batch: Any) -> Any:
        is_up = self.clock.is_up(self.evaluation_seconds)
        if self.batches and (is_up or self.batches % self.per_epoch == 0):
            self._evaluate()
            if is_up or self.epoch - self.best_epoch >= PATIENCE:
                self.stopped = "clock" if is_up else "validation"
                raise _EnoughError
        self.batches += 1
        return super().get_modality_embeddings(batch)

    def _evaluate(self) -> None:
        began = time.perf_counter()
        negatives = self.model.num_neg
        lists = _by_user(self, self.split.validation)(self.asked, AT, self.split.validation.candidates)
        self.model.num_neg = negatives  # `score` sets it to 0
        self.model.train()
        value = ndcg(lists, self.chosen, AT)
        self.evaluation_seconds = time.perf_counter() - began
        if value > self.best:
            self.best, self.best_epoch, self.state = value, self.epoch, copy.deepcopy(self.model.state_dict())


def _stopped_early(
    split: Split,
    clock: Clock,
    settings: Settings,
    epoch: Callable[[], Any],
) -> Outcome:
    stage = split.validation
    assert stage.truth is not None
    best, best_epoch, kept, longest, stopped = -1.0, 0, None, 0.0, "epochs"
    for number in range(1, MAX_EPOCHS + 1):
        began = clock.seconds
        model = epoch()
        value = ndcg(_by_user(model, stage)(stage.requests, AT, stage.candidates), stage.truth, AT)
        print(f"  epoch {number}: validation NDCG@{AT} {value:.4f}, {clock.seconds:.0f} s", flush=True)
        if value > best:
            best, best_epoch, kept = value, number, model
        longest = max(longest, clock.seconds - began)
        if number - best_epoch >= PATIENCE or clock.is_up(longest):
            stopped = "validation" if number - best_epoch >= PATIENCE else "clock"
            break
    fit_seconds = clock.seconds
    lists, _, seconds = answered(split, lambda stage: _by_user(kept, stage))
    notes = [f"best was epoch {best_epoch}", "learned from what precedes validation, leaves out all that is known"]
    return Outcome(lists, settings, best, fit_seconds, seconds, 0.0, number, stopped, notes)


def _by_user(model: Any, stage: Stage) -> Recommender:
    def score(asked: Requests) -> np.ndarray:
        return np.stack([model.score(int(user)) for user in asked.user])

    return by_scores(score, stage)


def _dataset(events: Events) -> Any:
    """Return the library's table; every user and item keeps our number, those without an event too."""
    users, items = (OrderedDict((row, row) for row in range(n)) for n in (events.num_users, events.num_items))
    pairs = np.unique(np.stack([events.user, events.item]), axis=1)
    rows = [(int(user), int(item), 1.0) for user, item in pairs.T]
    return Dataset.build(rows, global_uid_map=users, global_iid_map=items, seed=0)


def _built(modality: Any, data: Any) -> Any:
    return modality.build(id_map=data.iid_map)


def _ids(count: int) -> list[int]:
    return list(range(count))


def _joined(split: Split) -> np.ndarray:
    """Return all channels side by side, each of unit length, missing rows 0."""
    return np.hstack([_unit(values, present) for values, present in split.content().values()])


def _of_modality(split: Split, modality: str) -> np.ndarray:
    """Return the channels of one modality side by side.

    Raises:
        CannotRunError: There is none.
    """
    vectors, said = split.content(), split.channels()
    chosen = [_unit(*vectors[name]) for name, channel in said.items() if channel["modality"] == modality]
    if not chosen:
        raise CannotRunError(f"needs {modality} vectors, this split has none")
    return np.hstack(chosen)


def _unit(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    values = np.where(present[:, None], values, 0.0)
    return (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)).astype(np.float32)


if __name__ == "__main__":
    serve({"vbpr": vbpr, "dmrl": dmrl}, ("cornac", "torch", "numpy"))
