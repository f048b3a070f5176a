"""Members that read content: nearest neighbours and kernel regression.

In: histories and embeddings. Out: members that score items without events.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from pydantic import Field
from scipy import linalg, sparse

from penchant.core.artifacts import fingerprint
from penchant.core.schema import Content, Embeddings, Histories
from penchant.models.channels import FUSED, centred_unit, named, neighbour_graph, pick, read
from penchant.models.compact import CompactConfig, CompactRows
from penchant.models.item_scores import FactorScorer, ItemScorer, MakeNearest, SparseScorer
from penchant.models.item_to_item import (
    ItemToItem,
    ItemToItemConfig,
    liked,
    plain,
    power,
    recent,
    scores_of,
)
from penchant.models.linear import co_occurrence_sums, co_occurrences, most_touched
from penchant.models.member import Contributions, ContributionsTo, Member
from penchant.models.products import keep_largest
from penchant.models.shared import computed_once
from penchant.models.user_sums import UserSums

SMOOTHED_COLUMNS = 64
"""Columns of content that are smoothed at once."""
SMOOTHING_TOLERANCE, SMOOTHING_ITERATIONS = 1e-4, 200
"""Residual, as a share of the right side, at which a column is solved, and the iterations after which it is left as it is."""


class ContentKNNConfig(ItemToItemConfig):
    """ContentKNN's settings."""

    channel: str = FUSED
    """Which channel to compare in; "fused" is the feature-level fusion of all."""
    neighbours: int = Field(100, ge=0)
    """Nearest items that each item of the history raises; 0 keeps every pair (memory 4 bytes x items^2)."""
    per_candidate: bool = False
    """Choose the nearest for each scored item instead, so that every item has neighbours."""
    sharpness: float = Field(1.0, gt=0)
    """Similarities are raised to this power; above 1 near twins count more."""
    source_exponent: float = Field(0.0, ge=0)
    """An item of the history is divided by (1 + the sum of its similarities) to this power: with 1, one with many twins raises them no more
    in all than one with few."""
    whiten_dim: int = Field(0, ge=0)
    """Compare in this many main directions, each given the same spread; 0 compares as encoded."""


class ContentKNN(ItemToItem[ContentKNNConfig]):
    """Similarity to the items of the history in one channel.

    Each item of the history raises its `neighbours` nearest. An item without this content gets the mean score of those that
    have some. Similarity is the cosine after the channel's mean is taken off.
    """

    config_class = ContentKNNConfig

    learns_from_behaviour = False
    reading = ItemToItem.reading | {"sharpness", "source_exponent"}

    def __init__(self, config: ContentKNNConfig | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self.known: Bool[np.ndarray, " items"] = np.zeros(0, bool)
        self.typical: Float32[np.ndarray, " items"] = np.zeros(0, np.float32)
        """Row means over the items with content: the score of an item without content."""
        self.sums: Float32[np.ndarray, " items"] = np.zeros(0, np.float32)
        """Row sums; an item that was added keeps those of the others as they were."""
        self._fitted_on = ""

    def channels(self, content: Content) -> tuple[str, ...]:
        return named(content, [self.config.channel])

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        embeddings = pick(content, self.config.channel, self.name)
        self._fitted_on = _mark(embeddings)
        self.known = embeddings.usable
        rows = self._placed(embeddings, train.num_items)
        if self.config.neighbours:
            graph = neighbour_graph(rows, self.config.neighbours)
            graph.data **= np.float32(self.config.sharpness)
            self.matrix = sparse.csr_array(graph.T) if self.config.per_candidate else graph
        else:
            similar = rows @ rows.T
            np.fill_diagonal(similar, 0)
            self.matrix = self._sharpened(similar)
        self._sum_rows()
        return self

    def refit(self, train: Histories, content: Content, before: Member) -> Self:
        """Take over what was learned where the content is the same: events do not matter here."""
        if not isinstance(before, type(self)) or before.config != self.config or not before._fitted_on:
            return self.fit(train, content)
        is_same = before._fitted_on == _mark(pick(content, self.config.channel, self.name))
        return before.reread(self) if is_same else self.fit(train, content)

    def reread(self, other: Self) -> Self:
        fitted = super().reread(other)
        change = np.float32(other.config.sharpness / self.config.sharpness)
        if change != 1:
            matrix: Any = plain(self.matrix)
            if isinstance(matrix, np.ndarray):
                fitted.matrix = np.sign(matrix) * np.abs(matrix) ** change
            else:
                sharpened = matrix.copy()
                sharpened.data **= change
                fitted.matrix = sharpened
            fitted._sum_rows()
        return fitted

    def _placed(self, embeddings: Embeddings, fitted: int) -> Float32[np.ndarray, "items dim"]:
        """Return unit rows, centred or whitened by the first `fitted` items."""
        if self.config.whiten_dim:
            return _whitened(embeddings, self.config.whiten_dim, fitted)
        return centred_unit(embeddings.values, embeddings.usable, fitted)

    def _sum_rows(self, start: int = 0) -> None:
        """Sum up the rows of the matrix from `start` on; those before stay."""
        rows: Any = plain(self.matrix)
        sums = np.asarray(rows[start:].sum(1), np.float32).ravel()
        self.sums = np.concatenate([self.sums[:start], sums])
        self.typical = np.concatenate([self.typical[:start], sums / np.float32(max(int(self.known.sum()), 1))])

    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy in which each new item has its neighbours, and is one where it is nearer than the present ones."""
        embeddings = pick(content, self.config.channel, self.name)
        rows = self._placed(embeddings, new.start)
        similar = rows[new.start :] @ rows.T
        similar[np.arange(len(new)), np.array(new)] = 0
        grown = copy.copy(self)
        grown.known = np.concatenate([self.known, embeddings.usable[new.start :]])
        if self.config.neighbours:
            grown.matrix = self._grown_graph(similar)
        else:
            sharp = self._sharpened(similar)
            right = sharp[:, : len(self.known)].T
            if isinstance(self.matrix, CompactRows):
                grown.matrix = self.matrix.bordered(right, sharp)
            else:
                grown.matrix = np.block([[self.matrix, right], [sharp]])
        grown._sum_rows(new.start)
        return grown

    def _grown_graph(self, similar: Float32[np.ndarray, "new items"]) -> sparse.csr_array:
        config, fitted = self.config, len(self.known)
        stored: Any = plain(self.matrix)
        graph = stored.T.tocsr() if config.per_candidate else stored
        sharp = np.maximum(similar, 0) ** np.float32(config.sharpness)
        weakest, filled = np.zeros(fitted, np.float32), np.diff(graph.indptr) > 0
        if filled.any():
            weakest[filled] = np.minimum.reduceat(graph.data, graph.indptr[:-1][filled])
        weakest[np.diff(graph.indptr) < config.neighbours] = 0  # there is room left
        toward = np.where(sharp[:, :fitted] > weakest, sharp[:, :fitted], 0).T
        bottom = keep_largest(similar, config.neighbours)
        bottom.data **= np.float32(config.sharpness)
        top = sparse.hstack([graph, sparse.csr_array(toward)], format="csr")
        grown = sparse.csr_array(sparse.vstack([top, bottom], format="csr"))
        return sparse.csr_array(grown.T) if config.per_candidate else grown

    def _sharpened(self, similar: Float32[np.ndarray, "rows items"]) -> Float32[np.ndarray, "rows items"]:
        if self.config.sharpness != 1:
            similar = np.sign(similar) * np.abs(similar) ** np.float32(self.config.sharpness)
        return similar

    def item_scorer(self, num_items: int, make_nearest: MakeNearest) -> ItemScorer | None:
        unknown = None if self.known.all() else ~self.known
        if isinstance(self.matrix, CompactRows) and self.matrix.typical is not None:
            return None
        return SparseScorer(self._weighted, self.matrix, self.kept, num_items, unknown, self.typical)

    def _weighted(self, histories: Histories) -> Histories:
        weighted = super()._weighted(histories)
        if self.config.source_exponent:
            share = power(1 + np.maximum(self.sums, 0), -self.config.source_exponent)
            weighted = weighted.weighted(weighted.weight * share[weighted.item_index])
        return weighted

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        scores = super().score(histories)
        if not self.known.all():
            weighted: Any = self._weighted(histories).matrix()
            scores[:, ~self.known] = np.asarray(weighted @ self.typical, np.float32)[:, None]
        return scores

    def contributions(self, history: Histories) -> Contributions:
        prior, events = super().contributions(history)
        weighted = self._weighted(history)
        events[:, ~self.known] = (self.typical[weighted.item_index] * weighted.weight)[:, None]
        return prior, events

    def contributions_to(self, history: Histories, items: Int64[np.ndarray, " chosen"]) -> ContributionsTo:
        (prior, events), means = super().contributions_to(history, items)
        if self.known.all():
            return (prior, events), means
        weighted = self._weighted(history)
        typical, unknown = self.typical[weighted.item_index] * weighted.weight, ~self.known[items]
        events[:, unknown] = typical[:, None]
        means[1:] += typical * (np.count_nonzero(~self.known) / history.num_items)
        return (prior, events), means

    def arrays(self) -> dict[str, np.ndarray]:
        return {**super().arrays(), "known": self.known, "typical": self.typical, "sums": self.sums}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        super().restore(arrays)
        self.known, self.typical, self.sums = arrays["known"], arrays["typical"], arrays["sums"]
        return self


def _mark(embeddings: Embeddings) -> str:
    """Return a hash of vectors and of where there are any."""
    return fingerprint(embeddings.values.tobytes(), embeddings.usable.tobytes())


class ContentRegressionConfig(ItemToItemConfig):
    """The settings of content regression."""

    channels: list[str] | None = None
    """Channels to read; None reads all."""
    weights: dict[str, float] = {}
    """Weight of a channel's similarity; 1 where not named."""
    regularisation: float = Field(10.0, gt=0)
    """lambda: penalty of the map from content; larger trusts content less."""
    smoothing: float = Field(2000.0, ge=0)
    """mu: penalty of the smoothing over behaviour; larger smooths more, 0 not at all."""
    max_items: int = Field(15_000, ge=1)
    """With more touched items the smoothing is solved by iterations, not by a factor of items x items."""


class ContentRegression(ItemToItem[ContentRegressionConfig]):
    """Kernel ridge regression from content to the users of an item.

    Kernel ridge regression over the items with events: with X the interactions, Z the channels' centred unit rows side by
    side (K = Z Z^T is the weighted sum of their cosines), matrix = (X^T X + mu I)^-1 X^T X (K_ww + lambda I)^-1 K_w. The left
    factor smooths the history over behaviour, the right one reaches any item that has content; predicted popularity is
    part of it. An item without content gets the mean of those with some.

    Cost: items^3 / 3 for the smoothing up to `max_items`, 4 bytes x max_items^2 while fitting; above, ten to forty products of the events with the content, 4 bytes
    x users x `SMOOTHED_COLUMNS`.

    Source: kernel ridge regression (Saunders et al., ICML 1998) on the columns of the interaction matrix, solved in the
    primal: (K_ww + lambda I)^-1 Z_w = Z_w (Z_w^T Z_w + lambda I)^-1.
    """

    config_class = ContentRegressionConfig

    def __init__(self, config: ContentRegressionConfig | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self.source = self.target = np.zeros((0, 0), np.float32)
        self.basis: Float32[np.ndarray, "dim rank"] | None = None
        """Map from the features of an item to the directions of the factors; None where these are the features themselves."""
        self._whole: Float32[np.ndarray, "items items"] | None = None
        self._centre: tuple[Float32[np.ndarray, "items dim"], Float64[np.ndarray, " dim"]] | None = None
        """The target factors, and their mean over the items."""
        self._is_half = False

    def channels(self, content: Content) -> tuple[str, ...]:
        return named(content, self.config.channels)

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        self._whole, self.basis = None, None
        features, known = self._features(content, train.num_items)
        users_items = liked(train)
        touched = most_touched(users_items, train.num_items)
        usable = touched[known[touched]]
        rows = features[usable].astype(np.float64)
        gram = rows.T @ rows
        gram[np.diag_indices_from(gram)] += self.config.regularisation
        explained = np.zeros(features.shape, np.float32)
        explained[usable] = features[usable]
        # smoothing does not depend on the penalty of the map, so that settings share it
        read = (tuple(content.channels), repr(self.config.channels), repr(sorted(self.config.weights.items())))
        key = ("smoothed", self.config.smoothing, self.config.max_items, *read)
        smoothed = computed_once(train, key, lambda: self._smooth(train, users_items, touched, explained[touched]))
        self.source = np.zeros(features.shape, np.float32)
        self.source[touched] = linalg.solve(gram, smoothed.T, assume_a="pos").T
        if known.any():
            features[~known] = features[known].mean(0)
        self.target = features
        return self

    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy that predicts new items from their content; an event on one has no effect until the next fit."""
        features, known = self._features(content, new.start)
        features, known = features[new.start :], known[new.start :]
        features = features if self.basis is None else _rounded(features @ self.basis, self._is_half)
        features[~known] = _rounded(self.target.mean(0, keepdims=True), self._is_half)
        grown = copy.copy(self)
        grown._whole = None
        grown.source = np.concatenate([self.source, np.zeros_like(features)])
        grown.target = np.concatenate([self.target, features])
        return grown

    def _features(
        self, content: Content, fitted: int
    ) -> tuple[Float32[np.ndarray, "items dim"], Bool[np.ndarray, " items"]]:
        """Return rows whose products are the weighted sum of the channels' cosines, and which items have any content.

        A channel an item lacks stays at that channel's mean, zero.
        """
        found = read(content, self.config.channels, self.config.weights, self.name)
        blocks = [centred_unit(e.values, e.usable, fitted) * np.float32(np.sqrt(weight)) for e, weight in found]
        return np.concatenate(blocks, axis=1), np.any([e.usable for e, _ in found], axis=0)

    def user_sums(self, train: Histories) -> UserSums:
        return co_occurrence_sums() if self.config.smoothing and train.num_items <= self.config.max_items else {}

    def _smooth(
        self,
        train: Histories,
        users_items: sparse.csr_array,
        touched: Int64[np.ndarray, " touched"],
        rows: Float32[np.ndarray, "touched dim"],
    ) -> Float32[np.ndarray, "touched dim"]:
        """Return (X^T X + mu I)^-1 X^T X @ rows."""
        if not self.config.smoothing or users_items.nnz == 0:
            return rows
        if len(touched) <= self.config.max_items:
            gram = co_occurrences(train)
            if len(touched) < len(gram):
                gram = gram[np.ix_(touched, touched)]
            key = ("smoothing", self.config.smoothing)
            factor = computed_once(train, key, lambda: _smoother(gram, self.config.smoothing))
            return np.asarray(linalg.cho_solve((factor, True), gram @ rows, check_finite=False), np.float32)
        return _smoothed(users_items[:, touched], rows, self.config.smoothing)

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        events = recent(histories, self.config).matrix()
        if self._is_narrow:
            taste: Any = events @ self.source
            return np.asarray(taste @ self.target.T, np.float32)
        if self._whole is None:
            self._whole = self.source @ self.target.T
        return scores_of(events, self._whole)

    def item_scorer(self, num_items: int, make_nearest: MakeNearest) -> ItemScorer | None:
        return FactorScorer(lambda history: recent(history, self.config), self.source, self.target, make_nearest)

    @property
    def _is_narrow(self) -> bool:
        """Whether the factors are smaller than their product; else a score would read all of them for a few events."""
        items, dim = self.target.shape
        return items > 2 * dim

    def contributions(self, history: Histories) -> Contributions:
        weighted = recent(history, self.config)
        events = (self.source[history.item_index] * weighted.weight[:, None]) @ self.target.T
        return np.zeros(history.num_items, np.float32), events.astype(np.float32)

    def contributions_to(self, history: Histories, items: Int64[np.ndarray, " chosen"]) -> ContributionsTo:
        rows = self.source[history.item_index] * recent(history, self.config).weight[:, None]
        if self._centre is None or self._centre[0] is not self.target:  # two threads may both make it: they are equal
            self._centre = (self.target, self.target.mean(0, dtype=np.float64))
        means = np.append(0.0, rows @ self._centre[1])
        return (np.zeros(len(items), np.float32), (rows @ self.target[items].T).astype(np.float32)), means

    def compressed(self, config: CompactConfig) -> Self:
        """Return a copy whose factors have the main directions of their product alone.

        With the first left singular vectors A of source @ target.T, the factors are A and target @ R with R = source.T @ A; R also maps the content of
        new items. No smaller factors of that width are nearer to the product (Eckart and Young, 1936).
        """
        width = min(config.rank, *self.source.shape)
        if self.basis is not None or not 0 < width < self.source.shape[1]:
            return self
        from sklearn.utils.extmath import randomized_svd  # slow to import, and no service needs it

        left = randomized_svd(self.source @ _spread_of(self.target), width, random_state=0)[0].astype(np.float32)
        smaller = copy.copy(self)
        smaller.basis = _rounded(self.source.T @ left, config.bits < 32)
        smaller.source, smaller.target = (
            _rounded(left, config.bits < 32),
            _rounded(self.target @ smaller.basis, config.bits < 32),
        )
        smaller._whole, smaller._is_half = None, config.bits < 32
        return smaller

    def arrays(self) -> dict[str, np.ndarray]:
        factors = {"source": self.source, "target": self.target}
        if self.basis is None:
            return factors
        kind = np.float16 if self._is_half else np.float32
        return {name: array.astype(kind) for name, array in {**factors, "basis": self.basis}.items()}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.source, self.target = (
            arrays["source"].astype(np.float32, copy=False),
            arrays["target"].astype(np.float32, copy=False),
        )
        self.basis = arrays["basis"].astype(np.float32, copy=False) if "basis" in arrays else None
        self._whole, self._is_half = None, arrays["source"].dtype == np.float16
        return self


def _spread_of(rows: Float32[np.ndarray, "items dim"]) -> Float32[np.ndarray, "dim dim"]:
    """Return C with C C^T = rows^T rows, so that X @ rows.T and X @ C have the same left singular vectors."""
    values, vectors = linalg.eigh((rows.T @ rows).astype(np.float64))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)), np.float32)


def _rounded(values: Float32[np.ndarray, "rows dim"], half: bool) -> Float32[np.ndarray, "rows dim"]:
    """Return values that float16 holds exactly, so that those of a restored member are equal; as they are without `half`."""
    return values.astype(np.float16).astype(np.float32) if half else values


def _smoother(gram: Float32[np.ndarray, "touched touched"], penalty: float) -> Float32[np.ndarray, "touched touched"]:
    """Return the lower Cholesky factor of gram + penalty x I; its upper triangle is not used."""
    ridged = gram + np.float32(penalty) * np.eye(len(gram), dtype=np.float32)
    factor, _ = linalg.cho_factor(ridged.T, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(factor, np.float32)


def _smoothed(
    users_items: sparse.csr_array, rows: Float32[np.ndarray, "touched dim"], penalty: float
) -> Float32[np.ndarray, "touched dim"]:
    """Return (X^T X + penalty I)^-1 X^T X @ rows without the matrix of items x items, a block of columns at a time.

    Each column is solved by conjugate gradients, preconditioned with the diagonal, until its residual is `SMOOTHING_TOLERANCE` of the right side. The penalty bounds the condition,
    so that ten to forty iterations are enough, whatever the number of items.

    Source: Hestenes and Stiefel, 1952; Golub and Van Loan, "Matrix computations", algorithm 11.5.1.
    """
    inverse = 1 / (np.asarray((users_items.multiply(users_items)).sum(0), np.float32).ravel() + penalty)[:, None]
    found = np.zeros(rows.shape, np.float32)
    for start in range(0, rows.shape[1], SMOOTHED_COLUMNS):
        given = users_items.T @ (users_items @ rows[:, start : start + SMOOTHED_COLUMNS])
        solution, residual = np.zeros_like(given), given.copy()
        direction = inverse * residual
        power = (residual * direction).sum(0)
        limit = SMOOTHING_TOLERANCE * np.linalg.norm(given, axis=0)
        for _ in range(SMOOTHING_ITERATIONS):
            if (np.linalg.norm(residual, axis=0) <= limit).all():
                break
            image = users_items.T @ (users_items @ direction) + np.float32(penalty) * direction
            # a column without any content is 0 throughout
            step = np.divide(power, (direction * image).sum(0), out=np.zeros_like(power), where=power > 0)
            solution += step * direction
            residual -= step * image
            conditioned = inverse * residual
            before, power = power, (residual * conditioned).sum(0)
            direction = conditioned + np.divide(power, before, out=np.zeros_like(power), where=before > 0) * direction
        found[:, start : start + SMOOTHED_COLUMNS] = solution
    return found


def _whitened(embeddings: Embeddings, dim: int, fitted: int) -> Float32[np.ndarray, "items dim"]:
    """Return unit rows in the main directions of the first `fitted` items, each direction given the same spread."""
    from sklearn.utils.extmath import randomized_svd  # slow to import, and no service needs it

    usable = embeddings.usable
    reference = embeddings.values[:fitted][usable[:fitted]]
    mean = reference.mean(0) if len(reference) else np.float32(0)
    width = min(dim, *reference.shape)
    out = np.zeros((len(usable), max(width, 1)), np.float32)
    if width:
        left, spread, right = randomized_svd(reference - mean, width, random_state=0)
        added = (embeddings.values[fitted:][usable[fitted:]] - mean) @ (right.T / np.maximum(spread, 1e-12))
        left = np.concatenate([left, added.astype(left.dtype)])
        left = left * (spread > 1e-3 * spread[0])  # directions of mere noise would be blown up
        out[usable] = left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-12)
    return out
