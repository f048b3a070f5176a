"""What a report shows of the inside of its models: curves of training, maps of items, heat over content, what a network read of a history.

In: measurements, as plain numbers. Out: the parts of `ReportData` that hold them, and the settings that limit their cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from penchant.core.config import Settings
from penchant.reporting.heat import Heat

MOST_GROUPS = 8
"""Groups of a map that have a colour of their own, the largest ones; more could not be told apart."""
OTHERS = -1
"""The number of the points of all other groups."""


class ReportConfig(Settings):
    """What a report shows of the inside of its models."""

    heat: int = Field(2, ge=0)
    """Examples with heat over their picture, words and sound; 0 leaves it out. The report of a labelled task then shows as many samples."""
    heat_seconds: float = Field(20.0, ge=0)
    """Time that the heat of a report may take; what would take longer, by the measured time of encoding, is left out."""
    points: int = Field(600, ge=0)
    """Items on each map of embeddings, evenly spaced over the catalog; 0 leaves the maps out."""
    projection: Literal["pca", "tsne"] = "pca"
    """How embeddings become places on a map: pca is a matter of milliseconds, tsne takes seconds and keeps neighbours together."""
    histories: int = Field(1, ge=0)
    """Examples that show what a network over histories read of them; 0 leaves it out."""


@dataclass(frozen=True)
class TrainingCurve:
    """The training of one network.

    Attributes:
        name: The member or classifier.
        losses: Mean loss of each epoch.
        scores: Held-out score of each epoch; empty where nothing was held out.
        best: Epoch whose weights were kept, from 0.
    """

    name: str
    losses: tuple[float, ...]
    scores: tuple[float, ...]
    best: int


@dataclass(frozen=True)
class EmbeddingMap:
    """The items, or samples, of one channel in two dimensions.

    Attributes:
        channel: Its name.
        method: pca or tsne.
        points: (shown, 2) places between 0 and 1.
        groups: Number of the group of each point in `names`, `OTHERS` for none of them.
        names: Topics, or classes.
        alike: Share of the ten nearest in the whole space that belong to the same group, over points of a group.
        alike_here: The same on the map: how much of it the map keeps.
        chance: The same for random neighbours.
    """

    channel: str
    method: str
    points: Float64[np.ndarray, "shown 2"]
    groups: tuple[int, ...]
    names: tuple[str, ...]
    alike: float
    alike_here: float
    chance: float

    @property
    def has_others(self) -> bool:
        """Whether some points belong to no group with a colour."""
        return OTHERS in self.groups


@dataclass(frozen=True)
class ShownHeat:
    """The heat over one content of one item or sample.

    Attributes:
        title: Of the item; untrusted text. Of a sample the answer that is explained.
        heat: It.
    """

    title: str
    heat: Heat


@dataclass(frozen=True)
class ReadHistory:
    """What a network over histories read of the latest events of one user.

    Attributes:
        member: The network.
        item: Title of the item that is explained.
        events: Titles of the events, oldest first; untrusted text.
        columns: Names of the columns: attention of each block, or how far the state moved; then the parts of a token.
        values: (events, columns) numbers.
        num_inner: How many of the columns are states of the network, at least 0; the others are parts of the item's log-probability.
    """

    member: str
    item: str
    events: tuple[str, ...]
    columns: tuple[str, ...]
    values: Float64[np.ndarray, "events columns"]
    num_inner: int

    def strength(self, event: int, column: int) -> float:
        """Return a number as a share of the largest of its column, or of a part of the largest of all parts: -1 to 1."""
        own = self.values[:, [column]] if column < self.num_inner else self.values[:, self.num_inner :]
        return float(self.values[event, column] / max(np.abs(own).max(initial=0), 1e-12))
