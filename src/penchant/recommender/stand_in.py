"""The stand-in of a bundle: which users and which attributes it is made of.

In: a recommender. Out: a tree and rules over the catalog's own attributes, topics, numbers, and what users did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from jaxtyping import Int64

from penchant.core.errors import DataError
from penchant.explanation.stand_in import ReadableFeatures, StandIn, distil
from penchant.models.channels import centred_unit
from penchant.models.ensemble import batch_users

if TYPE_CHECKING:
    from penchant.recommender.recommender import Recommender

USERS = 300
"""Users a stand-in is fitted to and tested on; a third of them test it."""
LEAST_USERS, MAX_ITEMS = 9, 20_000


def stand_in(
    recommender: Recommender,
    *,
    attributes: Mapping[str, Int64[np.ndarray, " items"]] | None = None,
    users: int = USERS,
    seed: int = 0,
) -> StandIn:
    """Return the stand-in of a recommender.

    Args:
        recommender: With histories of users.
        attributes: Name to the code of each item's value; None takes those of the catalog and the topics.
        users: How many, drawn at random among those with a history.
        seed: Of the draw.

    Raises:
        DataError: There are too few users, or too many items.
    """
    histories, rng = recommender.histories, np.random.default_rng(seed)
    known = np.flatnonzero(histories.lengths() > 1)
    if len(known) < LEAST_USERS or histories.num_items > MAX_ITEMS:
        raise DataError(
            f"{len(known)} users and {histories.num_items:,} items make no stand-in.",
            where="the bundle",
            fix=f"it takes {LEAST_USERS} users with two events each, and at most {MAX_ITEMS:,} items",
        )
    chosen = rng.permutation(known)[:users]
    size = batch_users(histories.num_items)
    scores = np.concatenate(
        [recommender.score(histories.take(chosen[s : s + size])) for s in range(0, len(chosen), size)]
    )
    split = len(chosen) - len(chosen) // 3
    numbers = {
        column: recommender.catalog.table[column].cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy()
        for column in recommender.catalog.attribute_columns
        if recommender.catalog.table[column].dtype.is_numeric()
    }
    content = {
        name: centred_unit(e.values, e.usable)
        for name, e in recommender.content.channels.items()
        if e.modality != "attribute"
    }
    features = ReadableFeatures.of(histories, attributes or _attributes(recommender), numbers, scores[:split], content)
    pairs = [(histories.rows(int(u), int(u) + 1), row) for u, row in zip(chosen, scores, strict=True)]
    return distil(features, pairs[:split], pairs[split:], seed=seed)


def _attributes(recommender: Recommender) -> dict[str, Int64[np.ndarray, " items"]]:
    """Return the code of each item's value; of an attribute with several values an item the most frequent one."""
    found = {}
    for name, values in recommender.lookup.facets.items():
        codes = np.full(len(recommender.lookup.items), -1, np.int64)
        for code, (_, rows) in enumerate(sorted(values.items(), key=lambda pair: len(pair[1]))):
            codes[rows] = code
        found[name] = codes
    return found
