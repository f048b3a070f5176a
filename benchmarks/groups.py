"""What one item of each group costs and gains, on validation: lists of EASE with and without `one_per` and `new_groups`.

In: Online Retail, whose codes name variants by a letter (84029E and 84029G are one product in two colours). Out: NDCG@10 of each kind of list
with its difference to plain lists (95 %, users drawn together), and the share of places taken by variants.

    python benchmarks/groups.py DATA/online_retail
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from penchant.core.schema import Content
from penchant.data.clean.dataset import clean
from penchant.data.read.sources import read
from penchant.data.split.interactions import split
from penchant.explanation.topics import Topics
from penchant.metrics.intervals import BootstrapMeans
from penchant.metrics.ranking import hit_matrix, ndcg
from penchant.models.member import make_member
from penchant.pipelines.recommendation import RecommendationConfig, before_test
from penchant.recommender.lists import RankingOptions
from penchant.recommender.lookup import CatalogLookup
from penchant.recommender.ranking import rank

K = 10
LISTS = {
    "plain": {},
    "one per product": {"one_per": "product"},
    "one per product, new products": {"one_per": "product", "new_groups": True},
}


def main() -> None:
    names = {"user_id": "CustomerID", "item_id": "StockCode", "at": "InvoiceDate"}
    data = {
        "path": Path(sys.argv[1]),
        "interactions": "lines.csv.gz",
        "columns": names,
        "item_columns": {"item_id": "StockCode", "title": "description"},
        "attributes": [],
        "default_kind": "purchase",
    }
    cleaning = {"events": {"repeats": "drop", "inhuman_users": "keep"}}
    config = RecommendationConfig.read(
        {"data": data, "clean": cleaning, "split": {"kind": "last_out", "unit": "instant"}}, where="here"
    )
    dataset = clean(read(config.data), config.clean, config.media, cache=Path("runs/cache/media"))
    product = dataset.catalog.table["item_id"].str.extract(r"^(\d{5})")
    table = dataset.catalog.table.with_columns(product=product)
    catalog = replace(dataset.catalog, table=table, attribute_columns=("product",))
    stage, _ = before_test(catalog, split(dataset.interactions, config.split, config.seed), config)
    users = np.flatnonzero(stage.truth.lengths() > 0)
    truth, known = stage.truth.take(users), stage.train.take(users)
    member = make_member("ease", {"model": "ease", "regularisation": 200.0}).fit(stage.train, Content())
    lookup = CatalogLookup(catalog, Topics(np.full(len(catalog), -1, np.int32), []))
    relevant = truth.matrix().astype(bool).sum(1)
    groups, scores, variants, owned = lookup.groups("product"), [], [], []
    for options in LISTS.values():
        asked = RankingOptions.read({"k": K, **options}, where="here")
        ranked = np.full((len(users), K), -1, np.int32)
        again = mine = 0
        for start in range(0, len(users), 256):
            batch = known.rows(start, start + 256)
            for row, score in enumerate(member.score(batch)):
                own = batch.rows(row, row + 1)
                found = rank(lookup, Content(), score, own, (), asked, np.ones(len(catalog), bool)).rows
                ranked[start + row, : len(found)] = found
                had, seen = {v for i in own.item_index for v in groups[i]}, set[str]()
                for item in found:
                    again += not seen.isdisjoint(groups[item])
                    mine += not had.isdisjoint(groups[item])
                    seen.update(groups[item])
        scores.append(ndcg(hit_matrix(ranked, truth), relevant, K))
        variants.append(again / ranked.size)
        owned.append(mine / ranked.size)
    means = BootstrapMeans(np.stack(scores, axis=1))
    sizes = pl.Series([g[0] if g else None for g in groups]).drop_nulls().value_counts()["count"]
    print(f"{len(users):,} users, {len(catalog):,} items, {int((sizes > 1).sum()):,} products of several items")
    for number, name in enumerate(LISTS):
        mean, gap = means.interval(number), means.difference(number, 0) if number else None
        shown = f", {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] against plain" if gap else ""
        print(
            f"{name}: NDCG@{K} {mean.mean:.4f} [{mean.low:.4f}, {mean.high:.4f}]{shown}; variants within the list {variants[number]:.1%}, "
            f"of what the person has {owned[number]:.1%}"
        )


if __name__ == "__main__":
    main()
