"""Decision-level fusion: the weighted sum of standardised scores.

In: scores of several members for the same users. Out: z-scores on one scale, and non-negative weights fitted on validation, for
all users or for each band of history length or of the time since the user's last event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.schema import LATEST, Histories

BandKind = Literal["length", "gap"]
"""What decides the band of a request: the number of events in the history, or the time since the last of them."""
FIRST_DAY = 86_400_000_000
"""Microseconds; the time of an event below is its place in an order."""
MIN_STD = 1e-9
MIN_BAND_USERS = 100
"""Validation users below which a band's weights are not fitted."""
FOLDS = 4
"""Parts of the validation users, each left out once, in all of which bands must gain."""

CACHED_CELLS = 1 << 18
"""Scores that are worked on at once, so that the steps between find them in the processor's cache: 1 MB."""
MAX_RIDGES = 6
"""Times that the ridge is multiplied by 10 where the sums are not positive definite."""


class EnsembleConfig(Settings):
    """Settings of the ensemble weights."""

    objective: Literal["auto", "least_squares", "listwise"] = "auto"
    """How weights are fitted: least squares of "chosen next", the likelihood of each choice among sampled items, or "auto": least squares unless
    the likelihood, or the few members of a forward selection, rank left-out halves of the validation users better."""
    max_users: int = 3000
    """Validation users to fit on, evenly spaced; a dozen weights need no more."""
    ridge: float = 1e-6
    """Pull toward zero, as a share of the members' mean square; decides between members with equal scores."""
    min_share: float = 0.005
    """Members whose share of all weights would be smaller are left out and cost nothing."""
    bands: int = Field(5, ge=1)
    """Bands that get weights of their own, where every left-out part of validation gains by it: bands of history length, or of the time between the
    user's last event and the request, whichever ranks left-out validation users better; 1 never tries."""


@dataclass(frozen=True)
class EnsembleWeights(Mapping[str, float]):
    """One weight >= 0 for each member; with bands, another one for each band of history length, or of the gap before the request.

    As a mapping it holds the overall weights.

    Attributes:
        overall: Member to weight.
        starts: Ascending lengths, or gaps in microseconds, at which the second and each later band begins.
        bands: Member to weight, shortest histories or gaps first; empty where all have the same.
        by: What the bands are of. The first band of gaps has the overall weights, for requests whose gap is not known, and the second starts at 0.
    """

    overall: Mapping[str, float]
    starts: tuple[int, ...] = ()
    bands: tuple[Mapping[str, float], ...] = ()
    by: BandKind = "length"

    def __getitem__(self, member: str) -> float:
        return self.overall[member]

    def __iter__(self) -> Iterator[str]:
        return iter(self.overall)

    def __len__(self) -> int:
        return len(self.overall)

    def nonzero(self) -> EnsembleWeights:
        """Return the weights without the members whose weight is 0 everywhere."""
        kept = [m for m in self.overall if any(one.get(m, 0.0) > 0 for one in (self.overall, *self.bands))]
        overall, *bands = ({m: float(one.get(m, 0.0)) for m in kept} for one in (self.overall, *self.bands))
        return replace(self, overall=overall, bands=tuple(bands))

    def only(self, members: Sequence[str]) -> EnsembleWeights:
        """Return the weights of some members."""
        overall, *bands = ({m: one[m] for m in members if m in one} for one in (self.overall, *self.bands))
        return replace(self, overall=overall, bands=tuple(bands))

    def with_member(self, member: str, weight: float) -> EnsembleWeights:
        """Return the weights with one more member, whose weight is the same for everyone."""
        overall, *bands = ({**one, member: weight} for one in (self.overall, *self.bands))
        return replace(self, overall=overall, bands=tuple(bands))

    def band_values(self, histories: Histories) -> Int64[np.ndarray, " users"]:
        """Return what decides the band of each user: the length of the history, or the gap (`gaps`)."""
        return banded_by(self.by, histories)

    def of(self, member: str, values: Int64[np.ndarray, " users"]) -> Float32[np.ndarray, " users"]:
        """Return the member's weight for users with histories of these lengths, or with these gaps (`band_values`)."""
        if not self.bands:
            return np.full(len(values), self.overall[member], np.float32)
        by_band = np.array([band.get(member, 0.0) for band in self.bands], np.float32)
        return by_band[band_of(values, self.starts)]


def gaps(histories: Histories) -> Int64[np.ndarray, " users"]:
    """Return the microseconds between each user's last event and the request; -1 where one of the times is not known, or no event."""
    asked = np.zeros(len(histories), np.int64) if histories.requested_at is None else histories.requested_at
    last = last_times(histories)
    is_known = (asked > 0) & (asked != LATEST) & (last > 0)
    return np.where(is_known, np.maximum(asked - last, 0), -1)


def last_times(histories: Histories) -> Int64[np.ndarray, " users"]:
    """Return the time of each user's last event; 0 where there is no event, or a place in an order instead of a time."""
    last = np.zeros(len(histories), np.int64)
    has_event = histories.lengths() > 0
    last[has_event] = histories.at[histories.offsets[1:][has_event] - 1]
    return np.where(last > FIRST_DAY, last, 0)


def banded_by(kind: BandKind, histories: Histories) -> Int64[np.ndarray, " users"]:
    """Return the length of each history, or the gap before each request."""
    return histories.lengths() if kind == "length" else gaps(histories)


def band_of(values: Int64[np.ndarray, " users"], starts: Sequence[int]) -> Int64[np.ndarray, " users"]:
    """Return the number of each user's band."""
    return np.searchsorted(np.asarray(starts, np.int64), values, side="right")


def gap_starts(values: Int64[np.ndarray, " users"], bands: int) -> tuple[int, ...]:
    """Return where bands of gaps begin: 0 after the band of unknown gaps, then as `band_starts`; nothing where these are too few."""
    starts = band_starts(values[values >= 0], bands)
    return (0, *starts) if starts else ()


def band_starts(lengths: Int64[np.ndarray, " users"], bands: int) -> tuple[int, ...]:
    """Return where bands begin that hold about equally many users, fewer of them where there are few users or few lengths."""
    number = min(bands, len(lengths) // MIN_BAND_USERS)
    if number < 2:
        return ()
    starts = np.unique(np.quantile(lengths, np.arange(1, number) / number, method="nearest").astype(np.int64))
    starts = starts[starts > lengths.min()]
    counts = np.bincount(band_of(lengths, starts.tolist()), minlength=len(starts) + 1)
    return tuple(starts.tolist()) if counts.min() >= MIN_BAND_USERS // 2 else ()


@dataclass(frozen=True)
class StandardisedScores:
    """Scores on one scale, with the shift and scale: `values = (scores - mean) / std`."""

    values: Float32[np.ndarray, "users items"]
    mean: Float32[np.ndarray, "users 1"]
    std: Float32[np.ndarray, "users 1"]


@dataclass
class Moments:
    """Sufficient statistics of the weights, summed over users; the size does not depend on their number.

    Attributes:
        gram: (members, members) sum of products of members' z-scores over open items.
        target: (members,) sum of z-scores of the chosen items, each user's chosen items counting 1 / sqrt(their number).
    """

    gram: Float64[np.ndarray, "members members"]
    target: Float64[np.ndarray, " members"]

    @classmethod
    def zero(cls, num_members: int) -> Moments:
        """Return the moments of no user."""
        return cls(np.zeros((num_members, num_members)), np.zeros(num_members))

    def add(
        self,
        values: Float32[np.ndarray, "members users items"],
        chosen: Bool[np.ndarray, "users items"],
        blocked: Bool[np.ndarray, "users items"],
    ) -> None:
        """Add a batch of users; items in `blocked` do not count, `values` there are overwritten with 0."""
        values[:, blocked] = 0
        flat = values.reshape(len(values), -1)
        target = (chosen & ~blocked).astype(np.float32)
        target /= np.sqrt(np.maximum(target.sum(1, keepdims=True), 1))
        self.gram += flat @ flat.T
        self.target += flat @ target.ravel()

    def only(self, members: list[int]) -> Moments:
        """Return the moments of some members."""
        return Moments(self.gram[np.ix_(members, members)], self.target[members])

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.gram + other.gram, self.target + other.target)

    def explained(self, weights: Float64[np.ndarray, " members"]) -> float:
        """Return how much of "chosen next" these weights explain at their best scale; the scale does not change a ranking."""
        return float(max(weights @ self.target, 0.0) ** 2 / max(weights @ self.gram @ weights, 1e-12))


@dataclass(frozen=True)
class BandedMoments:
    """Moments of each band of history length, or of gaps, and each fold of users.

    Attributes:
        starts: Lengths, or gaps in microseconds, at which the second and each later band begins.
        cells: (bands) of (folds) moments.
        by: What the bands are of.
    """

    starts: tuple[int, ...]
    cells: tuple[tuple[Moments, ...], ...]
    by: BandKind = "length"

    @classmethod
    def zero(cls, num_members: int, starts: tuple[int, ...], by: BandKind = "length") -> Self:
        """Return the moments of no user."""
        cells = [tuple(Moments.zero(num_members) for _ in range(FOLDS)) for _ in range(len(starts) + 1)]
        return cls(starts, tuple(cells), by)

    def only(self, members: list[int]) -> BandedMoments:
        """Return the moments of some members."""
        return replace(self, cells=tuple(tuple(one.only(members) for one in band) for band in self.cells))

    def folds(self, *numbers: int) -> BandedMoments:
        """Return the moments of some folds."""
        return replace(self, cells=tuple(tuple(band[number] for number in numbers) for band in self.cells))

    def add(
        self,
        values: Float32[np.ndarray, "members users items"],
        chosen: Bool[np.ndarray, "users items"],
        blocked: Bool[np.ndarray, "users items"],
        band: Int64[np.ndarray, " users"],
        fold: Int64[np.ndarray, " users"],
    ) -> None:
        """Add a batch of users, each to the cell of its band and fold."""
        cell = band * FOLDS + fold
        for number in np.unique(cell):
            inside = np.flatnonzero(cell == number)
            self.cells[number // FOLDS][number % FOLDS].add(values[:, inside], chosen[inside], blocked[inside])

    def include(self, other: BandedMoments) -> None:
        """Add the moments of other users, cell by cell."""
        for own, others in zip(self.cells, other.cells, strict=True):
            for cell, one in zip(own, others, strict=True):
                cell.gram += one.gram
                cell.target += one.target

    def weights_of(
        self, band: int, config: EnsembleConfig, *, without: int | None = None
    ) -> Float64[np.ndarray, " members"]:
        """Return the weights fitted on one band, of all its folds but one; for unknown gaps those of all bands."""
        is_unknown = self.by == "gap" and band == 0
        return fit_weights(self.total(without=without) if is_unknown else self.band(band, without=without), config)

    def band(self, band: int, *, without: int | None = None) -> Moments:
        """Return the moments of one band, of all its folds but one."""
        kept = [one for fold, one in enumerate(self.cells[band]) if fold != without]
        return sum(kept[1:], kept[0])

    def total(self, *, without: int | None = None) -> Moments:
        """Return the moments of all bands, of all folds but one."""
        bands = [self.band(band, without=without) for band in range(len(self.cells))]
        return sum(bands[1:], bands[0])


def standardise(scores: Float32[np.ndarray, "users items"]) -> StandardisedScores:
    """Return per-user z-scores over all items; a member whose scores are all equal gives zeros.

    A shift and a scale per user keep a sum of contributions a sum of contributions.
    """
    users, items = scores.shape
    values = np.empty(scores.shape, np.float32)
    mean, std = np.empty((users, 1), np.float32), np.empty((users, 1), np.float32)
    size = max(1, CACHED_CELLS // max(items, 1))
    for start in range(0, users, size):
        rows = slice(start, start + size)
        mean[rows] = scores[rows].mean(1, keepdims=True, dtype=np.float64)
        centred = np.subtract(scores[rows], mean[rows], out=values[rows])
        std[rows] = np.sqrt(np.square(centred).mean(1, keepdims=True))
        flat = std[rows] <= MIN_STD * np.maximum(np.abs(mean[rows]), 1)
        std[rows][flat] = np.inf
        centred /= std[rows]
    return StandardisedScores(values, mean, std)


def fit_weights(moments: Moments, config: EnsembleConfig) -> Float64[np.ndarray, " members"]:
    """Return one weight >= 0 for each member, summing to 1.

    Non-negative least squares of "chosen next" on the members' z-scores. `listwise.fit_listwise` is the alternative; which one is better
    depends on the data (see ARCHITECTURE.md).

    Args:
        moments: Of validation users; never of test users.
        config: Limits.
    """
    from scipy.optimize import nnls  # slow to import, and no service needs it

    gram = moments.gram / max(float(np.trace(moments.gram)) / len(moments.gram), 1e-12)
    target = moments.target / max(float(np.abs(moments.target).max()), 1e-12)
    root = _root(gram, config.ridge + 1e-9)
    weights = shares(nnls(root.T, np.linalg.solve(root, target))[0])
    small = weights < config.min_share
    if small.any() and not small.all():
        kept = np.flatnonzero(~small)
        again = nnls(root.T[:, kept], np.linalg.solve(root, target))[0]
        weights = np.zeros(len(gram))
        weights[kept] = shares(again)
    return weights


def forward_order(moments: Moments, config: EnsembleConfig, limit: int) -> list[int]:
    """Return one to `limit` members, each the one that, added to those before, explains most; it ends where none explains more.

    Args:
        moments: Of validation users; never of test users.
        config: Limits.
        limit: Members at most.
    """
    order: list[int] = []
    reached = 0.0
    while len(order) < min(limit, len(moments.gram)):
        gains = {}
        for member in set(range(len(moments.gram))) - set(order):
            part = moments.only([*order, member])
            gains[member] = part.explained(fit_weights(part, config))
        best = max(sorted(gains), key=lambda member: gains[member])
        if gains[best] <= reached and order:
            break
        order, reached = [*order, best], gains[best]
    return order


def fit_bands(moments: BandedMoments, config: EnsembleConfig) -> list[Float64[np.ndarray, " members"]]:
    """Return the weights of each band, each fitted on its own users.

    Args:
        moments: Of validation users; never of test users.
        config: Limits.
    """
    return [moments.weights_of(band, config) for band in range(len(moments.cells))]


def bands_pay(moments: BandedMoments, config: EnsembleConfig) -> bool:
    """Return whether users who were left out are explained better by their band's weights than by overall weights, in every fold."""
    if not moments.starts:
        return False
    for fold in range(FOLDS):
        overall = fit_weights(moments.total(without=fold), config)
        gain = 0.0
        for band, cells in enumerate(moments.cells):
            own = moments.weights_of(band, config, without=fold)
            gain += cells[fold].explained(own) - cells[fold].explained(overall)
        if gain <= 0:
            return False
    return True


def _root(gram: Float64[np.ndarray, "members members"], ridge: float) -> Float64[np.ndarray, "members members"]:
    """Return the Cholesky factor; sums in float32 of members with nearly equal scores may need a larger ridge to be positive definite."""
    for _ in range(MAX_RIDGES):
        try:
            return np.linalg.cholesky(gram + ridge * np.eye(len(gram)))
        except np.linalg.LinAlgError:
            ridge *= 10
    return np.linalg.cholesky(gram + ridge * np.eye(len(gram)))


def shares(weights: Float64[np.ndarray, " members"]) -> Float64[np.ndarray, " members"]:
    """Scale to a sum of 1; equal weights where no member helps."""
    total = weights.sum()
    return weights / total if total > 0 else np.full(len(weights), 1 / len(weights))
