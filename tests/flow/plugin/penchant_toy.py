"""A package outside Penchant that offers one of everything; `test_plugins.py` installs it."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from penchant.classifiers.branches import Branch
from penchant.classifiers.classifier import Classifier
from penchant.core.config import Settings
from penchant.core.schema import Embeddings
from penchant.data.read.samples import assemble_samples
from penchant.data.read.sources import assemble
from penchant.data.read.tables import as_raw
from penchant.encoders.encoder import Encoder
from penchant.fusion.fusion import Fusion
from penchant.fusion.layers import FusionLayer
from penchant.models.member import Member
from penchant.networks.backbones import Backbone

EACH = 15
GLAD, CROSS = "aaa aa", "zzz zz"


def read_shop(config):
    """30 items of two kinds; a user touches 8 of one kind, in order of time."""
    rng = np.random.default_rng(0)
    items = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(2 * EACH)],
            "title": [("a" if n < EACH else "z") * 5 + f" {n}" for n in range(2 * EACH)],
        }
    )
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{item + EACH * (user % 2)}", "at": 1_600_000_000 + 1000 * place + user}
        for user in range(40)
        for place, item in enumerate(rng.permutation(EACH)[:8])
    ]
    return assemble(config, as_raw(pl.DataFrame(rows), "events"), as_raw(items, "items"), None, media_root=None)


def read_words(config):
    """60 labelled texts."""
    table = pl.DataFrame(
        {
            "sample_id": [f"s{n}" for n in range(60)],
            "label": ["glad", "cross"] * 30,
            "text": [f"{(GLAD, CROSS)[n % 2]} {n}" for n in range(60)],
        }
    )
    return assemble_samples(config, as_raw(table, "samples"))


def first_hit(hits, num_relevant, k):
    """1 where the first item of the list is a hit."""
    return hits[:, 0].astype(float)


class LettersConfig(Settings):
    """Which letters."""

    letters: str = "ab"
    """Counted."""


class Letters(Encoder["Letters.config_class"]):
    """Counts two letters."""

    modality, licence, cost = "text", "none needed", "light"

    config_class = LettersConfig

    def weights(self) -> Any:
        return None

    def prepare(self, raw: str) -> str:
        return raw

    def encode(self, prepared):
        return np.array([[text.count(letter) for letter in self.config.letters] for text in prepared], np.float32)


class ScaledConfig(Settings):
    """How much."""

    scale: float = 1.0
    """Factor."""


class Scaled(Fusion["Scaled.config_class"]):
    """The first channel, scaled."""

    config_class = ScaledConfig

    def __call__(self, channels):
        first = next(iter(channels.values()), None)
        if first is None:
            return None
        return Embeddings("fused", "fused", first.values * np.float32(self.config.scale), first.present, first.encoder)


class TogetherConfig(Settings):
    """How strong."""

    strength: float = 1.0
    """Factor."""


class Together(Member["Together.config_class"]):
    """How often two items were touched by one user."""

    config_class = TogetherConfig

    def __init__(self, config=None, *, name: str = "") -> None:
        super().__init__(config, name=name)
        self.counts = np.zeros((0, 0), np.float32)

    def fit(self, train, content):
        touched = train.matrix().toarray()
        self.counts = (touched.T @ touched).astype(np.float32) * np.float32(self.config.strength)
        return self

    def score(self, histories):
        return np.asarray(histories.matrix() @ self.counts, np.float32)

    def contributions(self, history):
        return np.zeros(history.num_items, np.float32), self.counts[history.item_index] * history.weight[:, None]

    def arrays(self):
        return {"counts": self.counts}

    def restore(self, arrays):
        self.counts = arrays["counts"]
        return self


class Running(Backbone):
    """Running means."""

    def __init__(self, config, *, causal: bool = True) -> None:
        super().__init__(config, causal=causal)
        self.map = nn.Linear(config.dim, config.dim)

    def forward(self, steps, lengths):
        place = torch.arange(1, steps.shape[1] + 1, device=steps.device)
        return self.map(steps.cumsum(1) / place[:, None])


class Largest(FusionLayer):
    """The largest value of each direction."""

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__(modalities, dim)
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, values, present):
        return values.masked_fill(~present[..., None], 0).amax(1) * self.scale


class FirstLetterConfig(Settings):
    """How certain."""

    certainty: float = 0.9
    """Probability of the class it names."""


class FirstLetter(Classifier["FirstLetter.config_class"]):
    """The class whose texts begin with the same letter."""

    config_class = FirstLetterConfig

    letters: dict[str, int] = {}
    num_classes = 0

    def modalities(self, batch):
        return ("text",)

    def present(self, batch):
        return np.array([bool(text) for text in batch.texts], bool)

    def fit(self, batch, train, validation, score_function, *, seed):
        self.letters = {batch.texts[row][0]: int(label) for row, label in zip(train.rows, train.labels, strict=True)}
        self.num_classes = train.num_classes
        return self

    def log_probability(self, batch):
        rest = (1 - self.config.certainty) / (self.num_classes - 1)
        found = np.full((len(batch), self.num_classes), rest)
        for row, text in enumerate(batch.texts):
            found[row, self.letters.get(text[:1], 0)] = self.config.certainty
        return np.log(found)

    def arrays(self):
        return {}

    def facts(self):
        return {"letters": self.letters, "num_classes": self.num_classes}

    def restore(self, arrays, facts):
        self.letters, self.num_classes = facts["letters"], facts["num_classes"]
        return self


class Counts(Branch):
    """Counts of a and z, as numbers a network reads."""

    def modality(self, batch):
        return "text"

    def present(self, batch):
        return np.array([bool(text) for text in batch.texts], bool)

    def prepare(self, batch):
        return [np.array([t.count("a"), t.count("z")], np.float32) if t else None for t in batch.texts]

    def ready(self, array, change, rng):
        return array

    def empty(self):
        return np.zeros(2, np.float32)

    def network(self, dim: int):
        return TwoNumbers(dim)


class TwoNumbers(nn.Module):
    """A linear map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.map = nn.Linear(2, dim)

    def forward(self, values, lengths):
        return self.map(values)
