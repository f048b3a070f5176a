"""A model that goes on learning, replayed in time: live updates, a nightly refit, a frozen model and recent popularity, request by request.

In: a data set and the folder for its bundle. Out: prequential NDCG@10 of each with intervals, and the time of each update, as JSON.

    PENCHANT_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/live.py prepare ml1m runs/live
    PENCHANT_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/live.py replay ml1m runs/live --events 20000 --requests 2000

`prepare` runs Penchant on the events before the cut (settings and weights by rolling validation there), `replay` gives it the events after the
cut in the order of time. All four rank for the same requests, and each request's history is all that its user did before it: "frozen" knows
new events of the user it ranks for, too, but learns nothing from them.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from penchant.core.schema import Dataset, Interactions
from penchant.data.clean.dataset import clean
from penchant.data.read.sources import DataConfig, read
from penchant.pipelines.recommendation import RecommendationConfig, run

DATA = Path(os.environ.get("PENCHANT_DATA", Path(__file__).resolve().parent.parent.parent / "shared" / "data"))
CONTENT = {"facts": {"encoder": "attributes"}}


@dataclass(frozen=True)
class Stream:
    """A data set in the order of time.

    Attributes:
        data: Its `[data]`.
        cut: Share of the events before the replay.
        first_only: Leave the first event of each user and item.
        before: Leave out events from this instant on.
        every: Take one user of so many.
        core: Afterwards leave out users and items with fewer events, repeatedly.
    """

    data: dict[str, object]
    cut: float
    first_only: bool = False
    before: str | None = None
    every: int = 1
    core: int = 0


STREAMS = {
    "ml1m": Stream({"format": "movielens_mm", "path": DATA / "ml1m_mm", "min_value": 4.0, "text": []}, 0.8),
    "steam": Stream(
        {
            "path": DATA / "steam",
            "columns": {"at": "timestamp"},
            "attributes": ["genres", "specs", "developer", "publisher"],
            "lists": {"genres": "|", "specs": "|"},
            "text": ["title"],
        },
        0.8,
        core=5,
    ),
    "globo": Stream(
        {
            "path": DATA / "globo_clicks",
            "columns": {"item_id": "click_article_id", "at": "click_timestamp"},
            "default_kind": "click",
        },
        0.8,
        first_only=True,
        before="2017-10-18",
        every=3,
        core=5,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare"])
    parser.add_argument("stream", choices=sorted(STREAMS))
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    prepare(asked.stream, asked.folder)


def prepare(name: str, folder: Path) -> None:
    """Write the bundle of the events before the cut, and all events beside it."""
    stream = STREAMS[name]
    config = RecommendationConfig.read(
        {
            "name": name,
            "output": str(folder),
            "cache": str(folder / "cache"),
            "split": {"kind": "rolling_time", "refits": 1, "max_requests": 3000},
            "content": CONTENT if name != "globo" else {},
            "fit": {"ablation": False},
            "evaluation": {"max_users": 1000, "cutoff": 10, "ks": [10], "intervals": {"resamples": 200}},
        },
        where="live.py",
    )
    data = reduced(clean(read(DataConfig.read(stream.data, where=name)), config.clean, config.media), stream)
    folder.mkdir(parents=True, exist_ok=True)
    events = data.interactions.table.sort("at")
    events.write_parquet(folder / f"{name}-events.parquet")
    known = events.head(int(stream.cut * len(events)))
    first_later = events["at"][len(known)]
    known = known.filter(pl.col("at") < first_later)
    run(config, replace(data, interactions=Interactions(known)))
    print(json.dumps({"events": len(events), "before": len(known), "items": len(data.catalog)}))


def reduced(data: Dataset, stream: Stream) -> Dataset:
    """Return the part of a data set that is replayed, with the items that occur in it."""
    table = data.interactions.table.filter(pl.col("at").is_not_null()).sort("at")
    if stream.before is not None:
        table = table.filter(pl.col("at").dt.strftime("%Y-%m-%d") < stream.before)
    if stream.first_only:
        table = table.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    if stream.every > 1:
        table = table.filter(pl.col("user_id").cast(pl.Int64) % stream.every == 0)
    while stream.core:
        kept = table.filter(
            pl.len().over("user_id") >= stream.core, pl.col("user_id").n_unique().over("item_id") >= stream.core
        )
        if len(kept) == len(table):
            break
        table = kept
    items = table["item_id"].unique()
    catalog = replace(data.catalog, table=data.catalog.table.filter(pl.col("item_id").is_in(items.implode())))
    return replace(data, interactions=Interactions(table), catalog=catalog)


if __name__ == "__main__":
    main()
