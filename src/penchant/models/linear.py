"""Linear models with a closed form.

In: histories, and content as side information. Out: a dense items x items matrix whose diagonal is zero.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, Self

import numpy as np
from jaxtyping import Float32, Int64
from pydantic import Field
from scipy import linalg, sparse

from penchant.core.logs import logger
from penchant.core.schema import Content, Histories
from penchant.models.channels import ContentMix, ContentMixConfig, centred_unit
from penchant.models.item_to_item import liked, power
from penchant.models.products import block_rows, dense_product
from penchant.models.shared import computed_once
from penchant.models.user_sums import UserSums


class EASEConfig(ContentMixConfig):
    """EASE's settings."""

    regularisation: float = Field(400.0, gt=0)
    """Ridge penalty; larger favours popular items. Rises with the number of users."""
    user_exponent: float = 0.0
    """Rows are divided by (events of the user) ** this; above 0 heavy users count less."""
    target_exponent: float = 0.0
    """Columns are divided by (users of the item) ** this when scoring; above 0 favours rarer items."""
    strength: Literal["binary", "log"] = "binary"
    """How much an event counts in fitting: its weight up to `max_weight`; or "log", log(1 + sum of weights), whatever the maximum, divided by
    the user's mean: for counts of plays or purchases. Reading a history is not affected."""
    dropout: float = Field(0, ge=0, lt=1)
    """Share of events hidden while fitting, in expectation (EDLAE); above 0 popular items have a stronger penalty."""
    max_items: int = Field(20_000, ge=1)
    """Above this many items only the most touched take part (memory 4 bytes x max_items^2)."""


class EASE(ContentMix[EASEConfig]):
    """Ridge regression of every item on all others with zero diagonal.

    With `content_weight`, every content dimension is one more "user" who touched the items by their value in it, so that
    items alike in content support each other and an item without events still has a column.

    Cost: items^3 operations and items^2 floats.

    Source: Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019, eq. 8;
    Jeunen et al., Closed-form models for collaborative filtering with side-information, RecSys 2020 (CEASE); Steck, Autoencoders that don't overfit
    towards the identity, NeurIPS 2020 (`dropout`). We add `user_exponent`, which divides a user's row by their number of events to that power, and `strength`.
    """

    config_class = EASEConfig

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        users_items = self._strengths(train)
        kept, self.kept = np.arange(train.num_items), None
        if train.num_items > self.config.max_items:
            kept = self.kept = most_touched(users_items, self.config.max_items)
            logger.info("  %s: the %d most touched of %d items take part", self.name, len(kept), train.num_items)
            users_items = users_items[:, kept]
        if self.config.strength == "binary" and not self.config.user_exponent and self.kept is None:
            gram = co_occurrences(train, self.config.max_weight).copy()
        else:
            row_scale = power(np.asarray(users_items.sum(1)).ravel(), -self.config.user_exponent)
            gram = gram_of(sparse.csr_array(sparse.diags_array(row_scale) @ users_items))
        if self.channels(content):
            self._add_content(gram, content, kept)
        if self.config.dropout:
            gram[np.diag_indices_from(gram)] *= np.float32(1 + self.config.dropout / (1 - self.config.dropout))
        self.matrix = solve(gram, self.config.regularisation)
        if self.config.target_exponent:
            count = np.maximum(np.asarray(users_items.sum(0)).ravel(), 1)
            self.matrix *= power(count, -self.config.target_exponent)[None, :]
        return self

    def user_sums(self, train: Histories) -> UserSums:
        is_plain = self.config.strength == "binary" and not self.config.user_exponent
        return (
            co_occurrence_sums(self.config.max_weight) if is_plain and train.num_items <= self.config.max_items else {}
        )

    def _strengths(self, train: Histories) -> sparse.csr_array:
        if self.config.strength == "binary":
            return liked(train, self.config.max_weight)
        users_items = liked(train, np.inf)
        users_items.data = np.log1p(users_items.data)
        items = np.diff(users_items.indptr)
        mean = np.asarray(users_items.sum(1)).ravel() / np.maximum(items, 1)
        users_items.data /= np.repeat(mean, items)
        return users_items

    def _add_content(self, gram: Float32[np.ndarray, "kept kept"], content: Content, kept: np.ndarray) -> None:
        """Add the weighted cosines between centred rows of each channel, in place."""
        found = self._read(content)
        for embeddings, part in found:
            share = self.config.content_weight * part / sum(w for _, w in found)
            rows = centred_unit(embeddings.values, embeddings.usable)[kept] * np.float32(np.sqrt(share))
            for start in range(0, len(kept), block_rows(len(kept))):
                stop = start + block_rows(len(kept))
                gram[start:stop] += rows[start:stop] @ rows.T


def co_occurrences(train: Histories, max_weight: float = 1.0) -> Float32[np.ndarray, "items items"]:
    """Return X^T X of `liked`, dense; the caller does not change it, since other members may hold it too."""
    return computed_once(train, ("co_occurrences", max_weight), lambda: gram_of(liked(train, max_weight)))


def co_occurrence_sums(max_weight: float = 1.0) -> UserSums:
    """Return the sum that `co_occurrences` reads."""
    return {("co_occurrences", max_weight): partial(_co_occurrences_of, max_weight=max_weight)}


def _co_occurrences_of(users: Histories, max_weight: float) -> Float32[np.ndarray, "items items"]:
    return gram_of(liked(users, max_weight))


def gram_of(matrix: sparse.csr_array) -> Float32[np.ndarray, "items items"]:
    """Return matrix.T @ matrix, dense, a block of rows at a time: the sparse product of a large catalog is nearly full."""
    columns = matrix.shape[1]
    matrix = matrix.astype(np.float32)
    transposed = sparse.csr_array(matrix.T)
    out = np.zeros((columns, columns), np.float32)
    size = block_rows(columns)
    for start in range(0, columns, size):
        dense_product(transposed[start : start + size], matrix, out[start : start + size])
    return out


def solve(gram: Float32[np.ndarray, "items items"], regularisation: float) -> Float32[np.ndarray, "items items"]:
    """Return I - P / diag(P) with P = (gram + regularisation I)^-1, in the memory of `gram`."""
    diagonal = gram.diagonal() + np.float32(regularisation)
    np.fill_diagonal(gram, diagonal)
    # A symmetric matrix is its own transpose; LAPACK works in place only on Fortran order.
    work = gram.T
    factor, info = linalg.lapack.spotrf(work, lower=1, clean=0, overwrite_a=1)
    if info == 0:
        inverse, info = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    else:  # float32 lost positive definiteness: rare, and only with a tiny penalty
        inverse = _invert_double(work, diagonal)
    out = inverse.T  # upper triangle of a C-ordered matrix
    _mirror(out)
    out /= -out.diagonal().copy()[None, :]
    np.fill_diagonal(out, 0)
    return out


def _invert_double(work: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """Invert from the triangle that the failed factorisation left alone."""
    whole = np.triu(work, 1).astype(np.float64)
    whole += whole.T
    np.fill_diagonal(whole, diagonal)
    return np.asfortranarray(linalg.inv(whole).astype(np.float32))


def _mirror(matrix: np.ndarray) -> None:
    """Copy the upper triangle onto the lower one, in place."""
    size = block_rows(len(matrix))
    for start in range(0, len(matrix), size):
        stop = start + size
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T
        block = matrix[start:stop, start:stop]
        lower = np.tril_indices(len(block), -1)
        block[lower] = block.T[lower]


def most_touched(users_items: sparse.csr_array, limit: int) -> Int64[np.ndarray, " kept"]:
    """Return the rows of the items with events, the most touched where there are more than `limit`; ascending."""
    count = np.bincount(users_items.indices, minlength=users_items.shape[1])
    touched = np.flatnonzero(count)
    if len(touched) <= limit:
        return touched
    return np.sort(touched[np.argsort(-count[touched], kind="stable")[:limit]])
