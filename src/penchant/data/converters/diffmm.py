"""Published splits with vectors beside them (DiffMM's TikTok and Amazon Baby).

In: interactions.csv.gz with a `split` column, and `.npy` rows in item order. Out: a `Dataset` whose catalog has every row.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from penchant.core.schema import Dataset
from penchant.data.sources import DataConfig, assemble
from penchant.data.tables import read_table


def read_diffmm(config: DataConfig) -> Dataset:
    """Read the published parts; item i is row i of every `.npy`.

    Source: https://github.com/HKUDS/DiffMM (Datasets).
    """
    events = read_table(config.path / "interactions.csv.gz").rename({"split": "part"})
    rows = [np.load(p, mmap_mode="r", allow_pickle=False).shape[0] for p in config.path.glob("*.npy")]
    highest = int(events.select(pl.col("item_id").max()).item()) + 1
    items = pl.DataFrame({"item_id": [str(i) for i in range(max([highest, *rows]))]})
    return assemble(
        config, events, items, None, media_root=config.path, names=("interactions.csv.gz", "items", "users")
    )
