"""Measure what users show on generated worlds: what each channel is worth to those who show it, to others, and to users without any event.

In: seeds of the worlds. Out: Markdown tables of differences in NDCG with paired 95 % intervals over the users of all worlds.

    python benchmarks/user_content.py --seeds 0 1 2                # last event of each user; each channel removed, one by one
    python benchmarks/user_content.py --seeds 100 101 --aspects    # the same with what reviews are about
    python benchmarks/user_content.py --seeds 0 1 2 --cold         # users of whom an avatar and attributes are known, and nothing else

    python benchmarks/user_content.py --seeds 0 1 2 --drawn        # the same choices; vectors are drawn, not encoded

Every seed is another world with other users, items and interests. Default members, settings and weights by validation; the arm without a channel
is fitted without it, as the ablation of a run has it. The truth of a world is read after the lists are ranked, to tell who shows what.
Results of a seed are kept below --output and not computed again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from drawn_world import draw_world
from penchant.core.logs import show_logs
from penchant.core.schema import (
    Content,
    Dataset,
    Embeddings,
    UserContent,
)
from penchant.data.clean.dataset import clean
from penchant.data.read.sources import read
from penchant.data.split.interactions import split
from penchant.encoders.catalog import encode_catalog, item_channels
from penchant.encoders.user_content import UserChannelConfig, default_user_channels
from penchant.experiment.defaults import ASPECTS, default_members
from penchant.experiment.fit import OURS, fit
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.intervals import paired_difference
from penchant.metrics.ranking import measure
from penchant.pipelines.recommendation import (
    RecommendationConfig,
    at_test,
    before_test,
    fuse,
    read_user_content,
)
from penchant.world import WorldConfig, WorldTruth, make_world

ROOT = Path(__file__).resolve().parent.parent
K = 20
ITEMS = 300
"""Items of a world: 25 to 38 of them have the same value of an attribute."""
LAST: dict[str, Any] = {"kind": "last_out"}
COLD: dict[str, Any] = {"kind": "cold_users", "test_share": 0.3, "validation_share": 0.3}
SHOWN = ("photo", "review", "voice", "avatar")
"""Channels of user content in which users of a world show interests."""
POPULAR = "Popularity"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--cold", action="store_true", help="users without any event")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "user-content")
    parser.add_argument("--aspects", action="store_true", help="read what reviews are about too")
    parser.add_argument("--drawn", action="store_true", help="draw vectors instead of encoding media: seconds")
    given = parser.parse_args()
    if given.drawn:
        tables = [_drawn(seed, given.users, given.cold, given.aspects) for seed in given.seeds]
        (_print_cold if given.cold else _print_removed)(pl.concat(tables, how="diagonal"))
        return
    show_logs()
    tables = [_measured(seed, given.users, given.cold, given.aspects, given.output) for seed in given.seeds]
    (_print_cold if given.cold else _print_removed)(pl.concat(tables, how="diagonal"))


def _measured(seed: int, users: int, cold: bool, aspects: bool, output: Path) -> pl.DataFrame:
    """Return NDCG of each test user by recommender, and whether they show something in each channel."""
    kept = output / f"{'cold' if cold else 'removed'}{'-aspects' if aspects else ''}-{users}-{seed}.parquet"
    if kept.is_file():
        return pl.read_parquet(kept)
    began = time.process_time()
    truth = make_world(
        output / f"world-{users}-{seed}", WorldConfig(num_users=users, num_items=ITEMS, user_content=True, seed=seed)
    )
    table = _ranked(truth, seed, cold, aspects, output / "cache")
    shows = {f"shows {name}": table["user_id"].is_in(truth.users_showing(name)) for name in SHOWN}
    table = table.with_columns(seed=pl.lit(seed), **shows)
    table.write_parquet(kept)
    print(f"world {seed}: {table.height} users, {time.process_time() - began:.0f} s CPU", flush=True)
    return table


def _ranked(truth: WorldTruth, seed: int, cold: bool, aspects: bool, cache: Path) -> pl.DataFrame:
    settings = {
        "name": "user-content",
        "seed": seed,
        "cache": cache,
        "data": {"path": truth.folder},
        "split": COLD if cold else LAST,
    }
    config = RecommendationConfig.read(settings, where="benchmarks/user_content.py")
    data = clean(read(config.data), config.clean, config.media, cache=cache / "media")
    if aspects:
        own = default_user_channels(data.interactions, data.users)
        own[ASPECTS] = UserChannelConfig(encoder="aspects", columns=["text"])
        config = config.model_copy(update={"user_content": own})
    return rank_last_events(config, data, cache)


def rank_last_events(config: RecommendationConfig, dataset: Dataset, cache: Path) -> pl.DataFrame:
    """Return NDCG of each test user: ours, all, popularity, and the arm of the ablation without each input."""
    dataset, user_content = read_user_content(dataset, config)
    channels = item_channels(dataset.catalog, config.content)
    embeddings, _ = encode_catalog(dataset.catalog, channels, cache=cache / "vectors", limits=config.media)
    return _rank(config, dataset, user_content, embeddings)


def _rank(
    config: RecommendationConfig, dataset: Dataset, user_content: UserContent, embeddings: dict[str, Embeddings]
) -> pl.DataFrame:
    parts = split(dataset.interactions, config.split, config.seed)
    validation, known = before_test(dataset.catalog, parts, config, user_content)
    content, fusion = fuse(Content(embeddings, user_channels=user_content.encoders()), validation, config)
    tables = default_members(content, has_time=True, num_events=validation.train.num_events)
    trained = fit(config.members or tables, validation, known, content, fusion, config.fit, cutoff=K)
    print(f"settings {trained.tables}\nweights {dict(trained.ours.weights)}", flush=True)
    test = at_test(dataset.catalog, parts, config, user_content).liked()
    arms = {row.uses: row for row in trained.rows if row.uses}
    everything = max(arms, key=len)
    rows = {OURS: trained.ours.weights, "all": arms[everything].weights, POPULAR: EnsembleWeights({POPULAR: 1.0})}
    without = {name: arms.get(everything - {name}) for name in sorted(everything)}
    rows |= {f"without {name}": arm.weights for name, arm in without.items() if arm is not None}
    lists = trained.pool.rank(rows, test.histories, K, candidates=test.candidates, tie_order=test.tie_order)
    values = {name: measure(one, test.truth, ks=[K])[f"ndcg@{K}"] for name, one in lists.items()}
    return pl.DataFrame({"user_id": test.histories.user_ids, **values})


def _drawn(seed: int, users: int, cold: bool, aspects: bool) -> pl.DataFrame:
    """Return the same as `_measured` of a world whose vectors are drawn."""
    settings = {"name": "drawn", "seed": seed, "split": COLD if cold else LAST}
    world = draw_world(seed, users, ITEMS, with_aspects=aspects)
    found = _rank(
        RecommendationConfig.read(settings, where="benchmarks/user_content.py"),
        world.dataset,
        world.user_content,
        world.embeddings,
    )
    shows = {f"shows {name}": found["user_id"].is_in(world.users_showing(name)) for name in SHOWN}
    return found.with_columns(seed=pl.lit(seed), **shows)


def _print_removed(table: pl.DataFrame) -> None:
    print(f"\nNDCG@{K} {table['all'].mean():.4f}, popularity {table[POPULAR].mean():.4f}, {table.height} users\n")
    print("| removed | those who show it | difference | others | difference |\n|---|---|---|---|---|")
    for column in [c for c in table.columns if c.startswith("without ")]:
        name = column.removeprefix("without ")
        shown = "review" if name == ASPECTS else name
        cells = [name]
        parts = (
            [table.filter(pl.col(f"shows {shown}") == shows) for shows in (True, False)] if shown in SHOWN else [table]
        )
        for part in parts:
            cells += [str(part.height), difference(part, "all", column)]
        print(f"| {' | '.join(cells)} |")


def _print_cold(table: pl.DataFrame) -> None:
    print(f"\n| users | number | NDCG@{K} | popularity | difference |\n|---|---|---|---|---|")
    shows = pl.col("shows avatar")
    for name, part in (
        ("all", table),
        ("avatar tells", table.filter(shows)),
        ("avatar tells nothing", table.filter(~shows)),
    ):
        means = f"{part['all'].mean():.4f} | {part[POPULAR].mean():.4f}"
        print(f"| {name} | {part.height} | {means} | {difference(part, 'all', POPULAR)} |")


def difference(part: pl.DataFrame, first: str, second: str) -> str:
    """Return the mean difference of two columns with its paired interval."""
    one = paired_difference(part[first].to_numpy().astype(np.float64), part[second].to_numpy().astype(np.float64))
    return f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"


if __name__ == "__main__":
    main()
