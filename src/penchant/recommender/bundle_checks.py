"""Checks of a recommender's bundle, whose files may come from anyone.

In: what was read of a bundle. Out: nothing, or an `ArtifactError`. Arrays go to compiled code that trusts its indices: a row that is not in the
catalog would end the process instead of raising an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl

from penchant.core.compact_embeddings import CompactEmbeddings
from penchant.core.errors import ArtifactError
from penchant.core.schema import Catalog, Content, Histories
from penchant.explanation.topics import Topics
from penchant.fusion.late import BandKind, EnsembleWeights
from penchant.models.ensemble import Ensemble

FIX = "copy it again from its source, or run `penchant run` again to remake it"
EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Microseconds of the first and last moment of the years 1 to 9999."""


def check_catalog(catalog: Catalog, where: Path) -> None:
    """Refuse a table without unique ids, or without a column that is named as one of its own."""
    ids = catalog.table.get_columns()[0] if catalog.table.width else pl.Series("", [])
    is_keyed = ids.name == "item_id" and ids.dtype == pl.String and not ids.null_count() and ids.is_unique().all()
    _require(is_keyed, "the first column of the catalog is no unique text item_id", where)
    media, title = catalog.media_columns, catalog.title_column
    named = {*catalog.text_columns, *media.values(), *catalog.attribute_columns, *([title] if title else [])}
    missing = sorted(named - set(catalog.table.columns))
    _require(not missing, f"the catalog lacks the columns {', '.join(missing)}", where)


def check_histories(histories: Histories, where: Path) -> None:
    """Refuse histories whose events lie outside their users, the catalog or the calendar."""
    users, offsets, events = histories.user_ids, histories.offsets, len(histories.item_index)
    arrays = {"offsets": np.int64, "item_index": np.int32, "at": np.int64, "weight": np.float32}
    for name, kind in arrays.items():
        array = getattr(histories, name)
        expected = (len(users) + 1,) if name == "offsets" else (events,)
        is_right = array.dtype == kind and array.shape == expected
        _require(is_right, f"{name} is {array.dtype} of shape {array.shape}, not {kind.__name__} of {expected}", where)
    _require(len(set(users)) == len(users) and None not in users, "a user has two histories, or no id", where)
    is_ascending = offsets[0] == 0 and offsets[-1] == events and bool((np.diff(offsets) >= 0).all())
    _require(is_ascending, f"offsets do not ascend from 0 to {events}", where)
    _in_range(histories.item_index, 0, histories.num_items - 1, "item_index", where)
    _in_range(histories.at, EARLIEST, LATEST, "at", where)
    _require(bool(np.isfinite(histories.weight).all()), "a weight is not finite", where)


def check_user_channels(histories: Histories, where: Path) -> None:
    """Refuse channels of user content whose rows are not those of their events, users and vectors."""
    for name, channel in histories.user_channels.items():
        values, row = channel.embeddings.values, channel.row
        owners = histories.num_events if channel.is_of_events else len(histories)
        is_right = values.ndim == 2 and values.dtype == np.float32 and bool(np.isfinite(values).all())
        _require(is_right, f"the vectors of {name!r} are {values.dtype} of shape {values.shape}", where)
        for key, learned in channel.embeddings.learned.items():
            is_right = learned.ndim <= 2 and learned.dtype.kind in "fu" and bool(np.isfinite(learned).all())
            _require(is_right, f"what {name!r} learned, {key!r}, is no array of numbers", where)
        is_right = (
            channel.embeddings.of in ("events", "users", "requests")
            and row.dtype == np.int32
            and row.shape == (owners,)
        )
        _require(is_right, f"{name!r} has rows of shape {row.shape} for {owners} {channel.embeddings.of}", where)
        _in_range(row, -1, len(values) - 1, f"rows of {name}", where)


def check_topics(topics: Topics, num_items: int, where: Path) -> None:
    """Refuse labels that are not one for each item, or name no topic."""
    labels = topics.labels
    is_right = labels.shape == (num_items,) and labels.dtype.kind == "i"
    _require(is_right, f"labels of topics have shape {labels.shape}, the catalog has {num_items} items", where)
    _in_range(labels, -1, len(topics.names) - 1, "labels of topics", where)
    if (typical := topics.typical) is not None:
        is_right = typical.ndim == 2 and len(typical) == len(topics.names) and typical.dtype.kind == "i"
        _require(is_right, f"typical items have shape {typical.shape}, there are {len(topics.names)} topics", where)
        _in_range(typical, -1, num_items - 1, "typical items", where)
    for language, names in topics.translations.items():
        _require(len(names) == len(topics.names), f"{language} names {len(names)} topics of {len(topics.names)}", where)


def check_content(content: Content, num_items: int, where: Path) -> None:
    """Refuse channels whose rows are not those of the catalog."""
    for e in (*content.channels.values(), *([content.fused] if content.fused is not None else [])):
        if isinstance(e, CompactEmbeddings):
            shape, is_float = (len(e.codes.codes), e.dim), True
        else:
            shape, is_float = e.values.shape, e.values.dtype == np.float32
        is_right = len(shape) == 2 and shape[0] == num_items and is_float
        _require(is_right, f"the channel {e.name!r} has shape {shape} for {num_items} items", where)
        for mask in (e.present, *([e.imputed] if e.imputed is not None else [])):
            is_mask = mask.shape == (num_items,) and mask.dtype == np.bool_
            _require(is_mask, f"the channel {e.name!r} does not state for each item whether it is present", where)


def check_weights(
    weights: EnsembleWeights, channels: Mapping[str, Any], members: Mapping[str, Any], where: Path
) -> None:
    """Refuse weights of other members, negative ones, and bands that do not follow their limits."""
    is_same = set(weights) == set(channels) == set(members)
    _require(is_same, "weights, channels and members name different members", where)
    all_weights = [w for one in (weights.overall, *weights.bands) for w in one.values()]
    is_valid = all(isinstance(w, (int, float)) and 0 <= w < float("inf") for w in all_weights)
    _require(is_valid, "a weight is negative or no number", where)
    is_banded = not weights.bands or len(weights.bands) == len(weights.starts) + 1
    _require(is_banded, f"{len(weights.bands)} bands of weights for {len(weights.starts)} limits", where)


def check_band_kind(kind: object, where: Path) -> None:
    """Refuse bands of anything but history length or the gap before the request."""
    _require(kind in get_args(BandKind), f"the bands of weights are of {kind!r}", where)


def check_change_probability(probability: float, where: Path) -> None:
    """Refuse a probability of a change of interest that a run does not write."""
    _require(0 <= probability <= 0.5, f"interests change with the probability {probability}", where)


def check_members(ensemble: Ensemble, num_items: int, where: Path) -> None:
    """Refuse a member that does not score every item; costly members check their arrays themselves when they are restored."""
    last = np.array([num_items - 1] if num_items else [], np.int32)
    one = Histories.of_one("", last, np.zeros(len(last), np.int64), np.ones(len(last), np.float32), num_items)
    for name, member in ensemble.members.items():
        if not member.is_costly:
            scores = member.score(one)
            is_right = scores.shape == (1, num_items) and bool(np.isfinite(scores).all())
            _require(
                is_right, f"the member {name!r} gives {scores.shape[-1]} finite scores for {num_items} items", where
            )


def damaged(problem: str, where: Path) -> ArtifactError:
    """Return the error of a bundle that cannot be used although its checksums are right."""
    return ArtifactError(f"The bundle cannot be used: {problem}.", where=str(where), fix=FIX)


def _require(is_right: bool, problem: str, where: Path) -> None:
    if not is_right:
        raise damaged(problem, where)


def _in_range(values: np.ndarray, first: int, last: int, name: str, where: Path) -> None:
    if values.size and (values.min() < first or values.max() > last):
        bad = values[(values < first) | (values > last)][0]
        raise damaged(f"{name} holds {bad}, outside {first} to {last}", where)
