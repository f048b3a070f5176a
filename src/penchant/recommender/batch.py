"""The lists of all users at once, for offline use.

In: an ensemble and the histories of users. Out: a Parquet file of `user_id, item_id, rank, score`, written as it is computed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from penchant.core.executor import current_executor, spans
from penchant.core.logs import progress_bar
from penchant.core.schema import Histories, Recommendations
from penchant.models.ensemble import Ensemble, batch_users


def recommend_all(ensemble: Ensemble, histories: Histories, item_ids: Sequence[str], path: Path, k: int) -> int:
    """Write the k best items of every user, items of their history left out; return the rows.

    The file is there only once it is whole. Memory: one batch of users, whatever their number.
    """
    rows = 0
    part = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    nobody = Recommendations([], np.zeros((0, k), np.int32), np.zeros((0, k), np.float32))
    schema = nobody.table(item_ids).to_arrow().schema
    try:
        with pq.ParquetWriter(part, schema) as writer, progress_bar("recommend", len(histories)) as bar:
            shards = spans(len(histories), batch_users(len(item_ids)))
            for found in current_executor().map(_lists, shards, (histories, ensemble, k), title="recommend"):
                table = found.table(item_ids)
                writer.write_table(table.to_arrow().cast(schema))
                rows += table.height
                bar.advance(len(found.user_ids))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return rows


def _lists(users: tuple[int, int], histories: Histories, ensemble: Ensemble, k: int) -> Recommendations:
    """Return the lists of the users between two rows."""
    return ensemble.recommend(histories.rows(*users), k)
