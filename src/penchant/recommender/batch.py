"""The lists of many users at once, for offline use.

In: users. Out: one data frame with titles and reasons; or of everybody a Parquet file of `user_id, item_id, rank, score`, written as it is computed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from penchant.core.executor import current_executor, spans
from penchant.core.logs import progress_bar
from penchant.core.schema import Histories, Recommendations
from penchant.models.ensemble import Ensemble, batch_users
from penchant.recommender.lists import ListRequest, RankingOptions, RecommendationList

User = TypeVar("User")
COLUMNS = {"user_id": pl.String, "rank": pl.Int32, "item_id": pl.String, "title": pl.String, "score": pl.Float32}


def recommend_table(
    users: Sequence[User],
    history: Callable[[User], Histories],
    recommend_many: Callable[[Sequence[ListRequest]], list[RecommendationList | Exception]],
    options: RankingOptions,
    num_items: int,
) -> pl.DataFrame:
    """Return the lists of some users as one data frame: `COLUMNS`, and `why` where the options ask for reasons.

    Args:
        users: Whom; as many are answered in one pass as score in bounded memory.
        history: Gives the history of one user.
        recommend_many: Makes the lists.
        options: Of every list.
        num_items: Of the catalog.

    Raises:
        Exception: The error in a list.
    """
    rows: list[tuple[object, ...]] = []
    size = batch_users(num_items)
    with progress_bar("recommend", len(users)) as bar:
        for start in range(0, len(users), size):
            histories = [history(user) for user in users[start : start + size]]
            for answer in recommend_many([ListRequest(options, h.user_ids[0], h) for h in histories]):
                if isinstance(answer, Exception):
                    raise answer
                for s in answer:
                    why = ("; ".join(s.reasons),) if options.reasons else ()
                    rows.append((answer.user_id, s.rank, s.item_id, s.title, s.score, *why))
            bar.advance(len(histories))
    return pl.DataFrame(rows, COLUMNS | ({"why": pl.String} if options.reasons else {}), orient="row")


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
