"""Generated content for configs/classic.toml: the likes of a user with a taste in pictures, words and sounds.

In: a folder. Out: samples.csv and its media. The user likes half of all motifs, half of all topics and half of all timbres, and an
item that has two of the three; so no modality alone can know, and the best that one alone can reach is three in four.

    python benchmarks/classic.py runs/classic-data && penchant run configs/classic.toml
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from penchant.world import WorldConfig, make_world
from penchant.world.items import ATTRIBUTES

SENSES = ("motif", "topic", "timbre")


def main(folder: Path) -> None:
    config = WorldConfig(num_users=20, num_items=1500, defects=False, missing_share=0.1)
    truth = make_world(folder / "world", config).items
    liked = sum(pl.col(name).is_in(ATTRIBUTES[name][::2]).cast(pl.Int8) for name in SENSES)
    label = pl.when(liked >= 2).then(pl.lit("liked")).otherwise(pl.lit("not liked"))
    items = pl.read_csv(folder / "world" / "items.csv")
    samples = items.join(truth.select("item_id", label=label), on="item_id", maintain_order="left").select(
        pl.col("item_id").alias("sample_id"),
        "label",
        pl.concat_str("title", "description", separator="\n", ignore_nulls=True).alias("text"),
        ("world/" + pl.col("picture")).alias("image"),
        ("world/" + pl.col("sound")).alias("audio"),
    )
    samples.write_csv(folder / "samples.csv")
    print(samples["label"].value_counts())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
