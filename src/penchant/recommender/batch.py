"""The lists of all users at once, for offline use.

In: an ensemble and the histories of users. Out: a Parquet file of `user_id, item_id, rank, score`, written as it is computed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from penchant.core.logs import progress_bar
from penchant.core.schema import Histories, Recommendations
from penchant.models.ensemble import Ensemble, batch_users


def recommend_all(ensemble: Ensemble, histories: Histories, item_ids: Sequence[str], path: Path, k: int) -> int:
    """Write the k best items of every user, items of their history left out; return the rows.

    The file is there only once it is whole. Memory: one batch of users, whatever their number.
    """
    ids, rows = np.array(item_ids), 0
    part = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = (
        _table(Recommendations([], np.zeros((0, k), np.int32), np.zeros((0, k), np.float32)), ids).to_arrow().schema
    )
    try:
        with pq.ParquetWriter(part, schema) as writer, progress_bar("recommend", len(histories)) as bar:
            for users in histories.batches(batch_users(len(ids))):
                table = _table(ensemble.recommend(users, k), ids)
                writer.write_table(table.to_arrow().cast(schema))
                rows += table.height
                bar.advance(len(users))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return rows


def _table(found: Recommendations, ids: np.ndarray) -> pl.DataFrame:
    """Return one row for each item of each list; short lists end early."""
    user, place = np.nonzero(found.item_index >= 0)
    return pl.DataFrame(
        {
            "user_id": [found.user_ids[u] for u in user],
            "item_id": ids[found.item_index[user, place]].tolist(),
            "rank": (place + 1).astype(np.int32),
            "score": found.score[user, place],
        },
        {"user_id": pl.String, "item_id": pl.String, "rank": pl.Int32, "score": pl.Float32},
    )
