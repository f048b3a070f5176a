"""Compare the default members with a simple blend, on data that nobody tuned on.

In: a folder with real sets. Out: a Markdown row for each recommender: NDCG@20, the paired difference from the blend, CPU seconds.

    python benchmarks/blend.py ../shared/data --sets retail tiktok lastfm

The blend is written here without the library's models: z-scores of item-kNN, of centred content kNN to a power, and of items of the same
group, with weights, the power and a half-life chosen on validation; then refitted on training and validation, as ours. Both read the
same events and vectors. Each test is ranked once a run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl

from penchant.core.schema import Content, Embeddings, Histories
from penchant.data.clean.dataset import clean
from penchant.data.read.sources import DataConfig, from_tables
from penchant.data.split.interactions import SplitConfig, split
from penchant.encoders.catalog import ChannelConfig, default_channels, encode_catalog
from penchant.experiment.defaults import default_members
from penchant.experiment.fit import FitConfig, HoldOut, fit
from penchant.metrics.intervals import BootstrapMeans
from penchant.metrics.ranking import measure
from penchant.models.ensemble import blocked_items, top_k
from penchant.pipelines.recommendation import RecommendationConfig, at_test, before_test, fuse

ROOT = Path(__file__).resolve().parent.parent
K = 20
VALIDATION_USERS = 2000


@dataclass
class Source:
    """Tables of one set.

    Attributes:
        events: user_id, item_id, and at or part.
        items: The catalog.
        data: Settings of reading.
        content: Channels; None takes the default ones.
        group: Column of the catalog that groups items.
        split: Settings of the split.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    data: DataConfig
    content: dict[str, ChannelConfig] | None = None
    group: str | None = None
    split: SplitConfig = field(default_factory=SplitConfig)


def retail(folder: Path) -> Source:
    """First purchase of each product by each customer; variants share the digits of the stock code."""
    lines = pl.read_csv(
        folder / "online_retail/lines.csv.gz", schema_overrides={"StockCode": pl.String, "CustomerID": pl.String}
    )
    first = (
        lines.group_by("CustomerID", "StockCode")
        .agg(pl.col("InvoiceDate").min())
        .sort("CustomerID", "InvoiceDate", "StockCode")
    )
    items = pl.read_csv(folder / "online_retail/items.csv", schema_overrides={"StockCode": pl.String})
    items = items.select(
        item_id="StockCode", title="description", price="price", stem=pl.col("StockCode").str.extract(r"^(\d+)")
    )
    events = first.select(user_id="CustomerID", item_id="StockCode", at="InvoiceDate")
    return Source(events, items, DataConfig(attributes=["price", "stem"], categories=["stem"]), group="stem")


def beauty(folder: Path) -> Source:
    events = pl.read_csv(folder / "amazon_beauty/interactions.csv.gz", infer_schema=False)
    items = pl.read_csv(folder / "amazon_beauty/items.csv", infer_schema=False)
    return Source(events.rename({"timestamp": "at"}), items, DataConfig())


def tiktok(folder: Path) -> Source:
    own = folder / "tiktok_diffmm"
    raw = pl.read_csv(own / "interactions.csv.gz", infer_schema=False)
    events = raw.rename(
        {
            name: new
            for name, new in (("split", "part"), ("user", "user_id"), ("item", "item_id"))
            if name in raw.columns
        }
    )
    count = len(np.load(own / "image_feat.npy", mmap_mode="r"))
    items = pl.DataFrame({"item_id": [str(n) for n in range(count)]})
    content = {
        name: ChannelConfig(encoder="precomputed", path=own / f"{name}_feat.npy", modality=name)
        for name in ("image", "audio")
    }
    return Source(events, items, DataConfig(), content)


def lastfm(folder: Path) -> Source:
    own = folder / "lastfm_mm"
    raw = pl.read_csv(own / "interactions.csv.gz", infer_schema=False)
    events = raw.rename({name: new for name, new in (("split", "part"),) if name in raw.columns})
    items = pl.read_csv(own / "items.csv", infer_schema=False).select("item_id")
    content = {"audio": ChannelConfig(encoder="precomputed", path=own / "vggish.npy", modality="audio")}
    return Source(events, items, DataConfig(), content)


def baby(folder: Path) -> Source:
    """Ids only, so the blend is its item-kNN alone."""
    raw = pl.read_csv(folder / "amazon_baby_diffmm/interactions.csv.gz", infer_schema=False)
    items = raw.select("item_id").unique().sort("item_id")
    return Source(raw.rename({"split": "part"}), items, DataConfig(), {})


def globo(folder: Path) -> Source:
    """First clicks of a ninth of the readers before 18 October, 5-core, without content; the last tenth of each reader."""
    clicks = pl.read_csv(folder / "globo_clicks/clicks.csv.gz", infer_schema=False).select(
        "user_id", item_id="click_article_id", at=pl.col("click_timestamp").cast(pl.Int64)
    )
    end = 1_508_284_800_000  # 18 October 2017; a few hundred clicks a day after it
    events = clicks.filter((pl.col("at") < end) & (pl.col("user_id").hash(0) % 3 == 0)).sort("at", "user_id", "item_id")
    events = events.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    height = -1
    while height != events.height:
        height = events.height
        events = events.filter((pl.len().over("user_id") >= 5) & (pl.len().over("item_id") >= 5))
    return Source(events, events.select("item_id").unique().sort("item_id"), DataConfig(), {})


SETS: dict[str, Callable[[Path], Source]] = {
    "retail": retail,
    "beauty": beauty,
    "tiktok": tiktok,
    "lastfm": lastfm,
    "baby": baby,
    "globo": globo,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", default=["retail", "tiktok", "lastfm"], choices=SETS)
    parser.add_argument("--cache", type=Path, default=ROOT / ".penchant")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"| set | recommender | NDCG@{K} | default against it | CPU seconds |\n|---|---|---|---|---|")
    for name in given.sets:
        compare(name, SETS[name](given.folder), given.cache, given.seed)


def compare(name: str, source: Source, cache: Path, seed: int) -> None:
    config = RecommendationConfig(data=source.data, split=source.split, seed=seed)
    dataset = clean(
        from_tables(source.events, source.items, config=source.data), config.clean, config.media, cache=cache / "media"
    )
    parts = split(dataset.interactions, config.split, seed)
    validation, known = before_test(dataset.catalog, parts, config)
    channels = default_channels(dataset.catalog) if source.content is None else source.content
    embeddings, _ = encode_catalog(dataset.catalog, channels, cache=cache / "vectors", limits=config.media)
    test = at_test(dataset.catalog, parts, config)
    users = np.flatnonzero(np.bincount(test.truth.user_index(), test.truth.weight > 0, len(test.truth)) > 0)
    test = HoldOut(test.histories.take(users), test.truth.take(users), test.candidates, tie_order=test.tie_order)
    found, seconds = {}, {}
    began = time.process_time()
    found["simple blend"] = blend(validation, known, test, embeddings, groups_of(dataset.catalog.table, source.group))
    seconds["simple blend"] = time.process_time() - began
    began = time.process_time()
    content, fusion = fuse(Content(embeddings), validation, config)
    timed = bool(validation.histories.at.any())
    tables = default_members(content, has_time=timed, num_events=validation.histories.num_events)
    trained = fit(tables, validation, known, content, fusion, FitConfig(ablation=False), cutoff=K)
    seconds["default"] = time.process_time() - began
    rows = {row.name: row.weights for row in trained.rows if row.role in ("ours", "baseline")}
    for row, ranked in trained.pool.rank(rows, test.histories, K, tie_order=test.tie_order).items():
        found["default" if row == "Penchant" else row] = ndcg(ranked, test.truth)
    print_rows(name, found, seconds)
    print(f"<!-- {name}: weights {dict(trained.ours.weights)} -->", flush=True)


def groups_of(table: pl.DataFrame, column: str | None) -> np.ndarray | None:
    """Return the number of each item's group, its own where it has none."""
    if column is None:
        return None
    named = table.select(pl.col(column).cast(pl.String).fill_null(pl.col("item_id"))).to_series()
    return named.rank("dense").to_numpy().astype(np.int64)


def blend(
    validation: HoldOut, known: Histories, test: HoldOut, embeddings: dict[str, Embeddings], group: np.ndarray | None
) -> np.ndarray:
    """Return NDCG of each test user of the blend that is best on validation."""
    alike = {n: e for n, e in embeddings.items() if e.modality != "attribute"}
    users = np.flatnonzero(validation.truth.lengths() > 0)
    users = users[np.linspace(0, len(users) - 1, min(VALIDATION_USERS, len(users))).astype(np.int64)]
    before, after = validation.histories.take(users), validation.truth.take(users)
    best: tuple[float, tuple] = (-1.0, ())
    neighbours = item_knn(validation.histories)
    for half_life, power in product((0, 5), (1, 4, 12)):
        parts = standardised([neighbours, *content_knn(alike, power), *same_group(group)], before, half_life)
        for weights in product((1.0,), *[(0.0, 0.1, 0.2, 0.4)] * (len(parts) - 1)):
            score = ranked(parts, weights, before, after, validation.tie_order).mean()
            best = max(best, (float(score), (half_life, power, weights)))
    half_life, power, weights = best[1]
    print(
        f"<!-- blend: half-life {half_life}, power {power}, weights {weights}, validation {best[0]:.4f} -->", flush=True
    )
    parts = standardised([item_knn(known), *content_knn(alike, power), *same_group(group)], test.histories, half_life)
    return ranked(parts, weights, test.histories, test.truth, test.tie_order)


def item_knn(histories: Histories) -> np.ndarray:
    """Return (items, items) cosines of the columns, shrunk by 10, the 200 nearest of each item."""
    met = histories.matrix()
    met.data[:] = met.data > 0
    both = (met.T @ met).toarray().astype(np.float32)
    np.fill_diagonal(both, 0)
    count = np.asarray(met.sum(0)).ravel()
    similar = both / np.sqrt(np.maximum(np.outer(count, count), 1)).astype(np.float32) * both / (both + 10)
    if similar.shape[1] > 200:
        similar[similar < np.partition(similar, -200, axis=1)[:, [-200]]] = 0
    return similar


def content_knn(channels: dict[str, Embeddings], power: float) -> list[np.ndarray]:
    """Return one (items, items) matrix for each channel: positive cosines of centred vectors to a power."""
    out = []
    for one in channels.values():
        rows = np.where(one.usable[:, None], one.values - one.values[one.usable].mean(0), 0)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        similar = np.maximum(rows @ rows.T, 0).astype(np.float32) ** np.float32(power)
        np.fill_diagonal(similar, 0)
        out.append(similar)
    return out


def same_group(group: np.ndarray | None) -> list[np.ndarray]:
    """Return (items, items): 1 / size of the group where two items share one."""
    if group is None:
        return []
    same = (group[:, None] == group[None]).astype(np.float32)
    np.fill_diagonal(same, 0)
    return [same / np.bincount(group)[group].astype(np.float32)]


def standardised(matrices: list[np.ndarray], histories: Histories, half_life: float) -> list[np.ndarray]:
    """Return the z-scores of each user and item."""
    read = histories
    if half_life:
        read = histories.weighted(histories.weight * np.exp2(-histories.ages() / half_life))
    out = []
    for matrix in matrices:
        scores = np.asarray(read.matrix() @ matrix, np.float32)
        scores -= scores.mean(1, keepdims=True)
        out.append(scores / np.maximum(scores.std(1, keepdims=True), 1e-9))
    return out


def ranked(
    parts: list[np.ndarray], weights: tuple, histories: Histories, truth: Histories, tie_order: np.ndarray | None
) -> np.ndarray:
    total = sum(np.float32(weight) * part for weight, part in zip(weights, parts, strict=True) if weight)
    total[blocked_items(histories)] = -np.inf
    return ndcg(top_k(total, K, histories.user_ids, tie_order), truth)


def ndcg(lists, truth: Histories) -> np.ndarray:
    return measure(lists, truth, ks=[K])[f"ndcg@{K}"].to_numpy()


def print_rows(name: str, found: dict[str, np.ndarray], seconds: dict[str, float]) -> None:
    names = list(found)
    means = BootstrapMeans(np.stack([found[one] for one in names], axis=1))
    ours = names.index("default")
    for column, one in enumerate(names):
        own, gap = means.interval(column), means.difference(ours, column)
        against = "" if column == ours else f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
        spent = f"{seconds[one]:.0f}" if one in seconds else ""
        print(f"| {name} | {one} | {own.mean:.4f} [{own.low:.4f}, {own.high:.4f}] | {against} | {spent} |", flush=True)


if __name__ == "__main__":
    main()
