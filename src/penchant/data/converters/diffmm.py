"""Published splits with precomputed features (DiffMM's TikTok and Amazon Baby).

In: interactions.csv.gz with a `split` column, and `.npy` rows in item order. Out: a `Dataset` whose catalog has every row.
"""

from __future__ import annotations

from dataclasses import replace

from penchant.core.schema import Dataset
from penchant.data.converters.vectors import numbered_items, vectors_finding
from penchant.data.read.columns import rename
from penchant.data.read.sources import DataConfig, assemble
from penchant.data.read.tables import read_table


def read_diffmm(config: DataConfig) -> Dataset:
    """Read the published parts; item i is row i of every `.npy`.

    Source: https://github.com/HKUDS/DiffMM (Datasets).
    """
    raw = read_table(config.path / (config.interactions or "interactions.csv.gz"))
    events = rename(raw, {"part": "split"}, ("user_id", "item_id"), "data.columns")
    dataset = assemble(config, events, numbered_items(events, config.path), None, media_root=None)
    return replace(dataset, findings=(*dataset.findings, *vectors_finding(config.path)))
