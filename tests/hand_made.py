"""Worlds written out by hand: histories, members that say what they are told, and members that show what they were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
import pytest

from penchant.core.config import Settings
from penchant.core.schema import Content, Embeddings, Histories
from penchant.models import MODELS
from penchant.models.member import Member


def histories(
    rows: Sequence[Sequence[int]], num_items: int, weights: Sequence[Sequence[float]] | None = None
) -> Histories:
    """Return users u0, u1, ... with these items, a day apart; every weight is 1 unless given."""
    said = [[1.0] * len(row) for row in rows] if weights is None else weights
    days = [day * 86_400_000_000 for row in rows for day in range(len(row))]
    return Histories(
        [f"u{user}" for user in range(len(rows))],
        np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64),
        np.array([item for row in rows for item in row], np.int32),
        np.array(days, np.int64),
        np.array([weight for row in said for weight in row], np.float32),
        num_items,
    )


def channel(name: str, modality: str, values: Sequence[Sequence[float]]) -> Embeddings:
    """Return embeddings that are all present; the encoder is the name."""
    return Embeddings(name, modality, np.array(values, np.float32), np.ones(len(values), bool), name)


class Told(Member[Settings]):
    """A member that gives each user the scores it was told."""

    config_class: ClassVar[type[Settings]] = Settings

    def __init__(self, scores: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        self.told = {user: np.array(row, np.float32) for user, row in scores.items()}

    def fit(self, train: Histories, content: Content) -> Self:
        return self

    def score(self, histories: Histories) -> np.ndarray:
        return np.stack([self.told[user] for user in histories.user_ids])

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        return self


class WitnessConfig(Settings):
    """Settings of a witness."""

    reads: list[str] | None = None
    """Channels it reads; None reads all."""
    lift: float = 1.0
    """What each channel it saw adds to the item of that channel."""


class Witness(Member[WitnessConfig]):
    """A member that remembers what it was given; each channel it saw lifts the items where the channel's first column is 1."""

    config_class = WitnessConfig

    def channels(self, content: Content) -> tuple[str, ...]:
        return tuple(content.channels) if self.config.reads is None else tuple(self.config.reads)

    def fit(self, train: Histories, content: Content) -> Self:
        self.saw = frozenset(content.channels)
        self.fused = None if content.fused is None else content.fused.encoder
        self.events, self.before = train.item_index.tolist(), None
        self.lifted = sum((e.values[:, 0] for e in content.channels.values()), np.zeros(train.num_items, np.float32))
        return self

    def refit(self, train: Histories, content: Content, before: Member) -> Self:
        self.fit(train, content)
        self.before = before
        return self

    def score(self, histories: Histories) -> np.ndarray:
        return np.tile(np.float32(self.config.lift) * self.lifted, (len(histories), 1)).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        return self


class ContentWitness(Witness):
    """A witness that compares content alone."""

    learns_from_behaviour: ClassVar[bool] = False


class CostlyWitness(Witness):
    """A witness that takes minutes, and can do without content."""

    is_costly: ClassVar[bool] = True
    stands_without_content: ClassVar[bool] = True


class DialConfig(Settings):
    """Settings of a dial."""

    coarse: int = 0
    """Right at 2."""
    fine: int = 0
    """Right at 1."""
    marks: list[int] = []
    """A setting that is a list itself."""


class Dial(Member[DialConfig]):
    """A member whose first item is the better the nearer its settings are to coarse 2 and fine 1; `tried` lists every fit."""

    config_class = DialConfig
    tried: ClassVar[list[tuple[int, int]]] = []

    def fit(self, train: Histories, content: Content) -> Self:
        self.tried.append((self.config.coarse, self.config.fine))
        self.items = train.num_items
        return self

    def score(self, histories: Histories) -> np.ndarray:
        scores = -np.arange(self.items, dtype=np.float32)
        off = 2 * abs(self.config.coarse - 2) + abs(self.config.fine - 1)
        scores[0] = -0.5 - off  # behind as many items as the settings are off
        return np.tile(scores, (len(histories), 1))

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        return self


@pytest.fixture
def hand_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the members of this module known by name: witness, content_witness, costly_witness, dial."""
    for name, cls in {
        "witness": Witness,
        "content_witness": ContentWitness,
        "costly_witness": CostlyWitness,
        "dial": Dial,
    }.items():
        monkeypatch.setitem(MODELS._entries, name, f"{__name__}:{cls.__name__}")
    monkeypatch.setattr(Dial, "tried", [])
