"""The contract of a recommender: histories in, scores out.

In: `Histories` and `Content` to learn from. Out: a score for every item, for any history, seen in training or not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Generic, Self, cast

import numpy as np
from jaxtyping import Float32

from penchant.core.config import Settings, SettingsT_co
from penchant.core.schema import Content, Histories


class Member(ABC, Generic[SettingsT_co]):
    """One recommender of the stack.

    A member never sees a user id, so a person it has never met is scored from what they did. A member that reads content
    scores items nobody has touched. `arrays` and `restore` are its whole state: no pickle.

    Args:
        config: Its settings.
        name: What reports call it; one kind may stand in a stack more than once.
    """

    Config: ClassVar[type[Settings]]
    additive: ClassVar[bool] = True
    """Whether a score is exactly a prior plus one term per past event."""
    learns_from_behaviour: ClassVar[bool] = True
    """Whether fitting looks at who touched what; False for members that compare content alone."""
    stands_without_content: ClassVar[bool] = False
    """Whether it can be fitted without any of the content it could read."""
    is_costly: ClassVar[bool] = False
    """Whether fitting takes minutes: such a member is not fitted anew for every arm of an ablation unless asked."""
    checkpoint: Path | None = None
    """Folder where a fit that is stopped keeps what it has, to go on from there; None keeps nothing."""
    report: Callable[[int, float], None] | None = None
    """Told each epoch and its held-out score by members that learn in epochs; may raise to end the fit."""

    def __init__(self, config: SettingsT_co | None = None, *, name: str = "") -> None:
        self.config: SettingsT_co = cast(SettingsT_co, self.Config()) if config is None else config
        self.name = name or type(self).__name__.lower()

    def channels(self, content: Content) -> tuple[str, ...]:
        """Return the content channels it would read; () means it learns from behaviour alone."""
        return ()

    @abstractmethod
    def fit(self, train: Histories, content: Content) -> Self:
        """Learn from every event of `train`, and from content aligned with the same item rows."""

    def refit(self, train: Histories, content: Content, before: Member) -> Self:
        """Learn from more events of the same catalog, given the same member fitted on fewer; by default from nothing."""
        return self.fit(train, content)

    @abstractmethod
    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        """Return a score for every item; only the order within one user has a meaning."""

    def contributions(
        self, history: Histories
    ) -> tuple[Float32[np.ndarray, " items"], Float32[np.ndarray, "events items"]]:
        """Split one user's scores into a prior and one row for each past event; they sum to `score`.

        Args:
            history: Exactly one user.
        """
        raise NotImplementedError(f"{type(self).__name__} is not additive")

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything learned, by name, for safetensors."""

    @abstractmethod
    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        """Take back what `arrays` gave; scores are then equal bit for bit."""
