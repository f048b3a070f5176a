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
from typing import Literal

import numpy as np
import polars as pl

from penchant.core.logs import show_logs
from penchant.core.schema import (
    Catalog,
    Content,
    Dataset,
    Embeddings,
    Interactions,
    UserContent,
    UserEmbeddings,
    vector_column,
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
from penchant.world.choices import ItemSampler, draw_events
from penchant.world.items import ATTRIBUTES, make_items
from penchant.world.projects import ANNOUNCED_IN, Projects
from penchant.world.settings import decide
from penchant.world.user_content import IDLE_AVATAR_SHARE, IDLE_SHARE
from penchant.world.users import make_users

ROOT = Path(__file__).resolve().parent.parent
K = 20
ITEMS = 300
"""Items of a world: 25 to 38 of them have the same value of an attribute."""
ITEM_CHANNELS = {"image": "motif", "text": "topic", "audio": "timbre"}
"""Modality of an item to the attribute it shows, for drawn vectors."""
NOISE = 0.35
"""Deviation of each number of a drawn vector from the value it stands for."""
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
        tables = [_drawn(seed, given.users, given.cold) for seed in given.seeds]
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
    kind = {"kind": "cold_users", "test_share": 0.3, "validation_share": 0.3} if cold else {"kind": "last_out"}
    settings = {"name": "user-content", "seed": seed, "cache": cache, "data": {"path": truth.folder}, "split": kind}
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


def _drawn(seed: int, users: int, cold: bool) -> pl.DataFrame:
    """Return the same as `_measured` with vectors that are drawn, as those of an encoder that makes mistakes: the value and noise."""
    plan = decide(WorldConfig(num_users=users, num_items=ITEMS, user_content=True, seed=seed))
    items, population, rng = make_items(plan, seed), make_users(plan, seed), np.random.default_rng(seed)
    projects = Projects.draw(population, seed)
    sampler = ItemSampler.build(items)
    drawn = draw_events(population, np.arange(users), sampler, plan.events_per_user, rng, projects=projects)
    ids, user, day = (
        population.table["user_id"],
        drawn["user_index"].to_numpy(),
        (drawn["at"].dt.ordinal_day() - 1).to_list(),
    )
    table = drawn.select(
        user_id=ids[drawn["user_index"]],
        item_id=items["item_id"][drawn["item_index"]],
        at=pl.col("at").dt.replace_time_zone("UTC"),
        kind="kind",
        value=pl.lit(None, pl.Float32),
    )
    embeddings = {
        channel: Embeddings(
            channel, channel, _vectors(sampler.codes[name], name, rng), np.ones(ITEMS, bool), f"drawn {channel}"
        )
        for channel, name in ITEM_CHANNELS.items()
    }
    announced = {row: projects.announced(int(user[row]), day[row]) for row in np.flatnonzero(drawn["announces"])}
    own = {}
    rows: dict[str, pl.Series] = {}
    for (channel, name), modality in zip(ANNOUNCED_IN.items(), ("image", "text", "audio"), strict=True):
        code = np.full(drawn.height, -1)
        if channel != "review":
            idle = rng.random(drawn.height) < IDLE_SHARE
            code[idle] = rng.integers(0, len(ATTRIBUTES[name]), idle.sum())
        for row, (shown, value) in announced.items():
            if shown == channel:
                code[row] = ATTRIBUTES[name].index(value)
        code[(drawn["kind"] == "skip").to_numpy()] = -1
        own[channel], rows[vector_column(channel)] = _channel(channel, modality, "events", code, name, rng)
    badge = np.where(rng.random(users) < IDLE_AVATAR_SHARE, rng.integers(0, len(ATTRIBUTES["motif"]), users), -1)
    badge = np.where(projects.avatar >= 0, projects.avatar, badge)
    own["avatar"], avatars = _channel("avatar", "image", "users", badge, "motif", rng)
    dataset = Dataset(Catalog(items.select("item_id")), Interactions(table.with_columns(**rows)))
    kind = {"kind": "cold_users", "test_share": 0.3, "validation_share": 0.3} if cold else {"kind": "last_out"}
    config = RecommendationConfig.read(
        {"name": "drawn", "seed": seed, "split": kind}, where="benchmarks/user_content.py"
    )
    content = UserContent(own, pl.DataFrame({"user_id": ids, "avatar": avatars}))
    found = _rank(config, dataset, content, embeddings)
    shows = projects.table(
        population, table.filter(drawn["announces"]).select("user_id", pl.col("at").dt.replace_time_zone("UTC"))
    )
    return found.with_columns(
        seed=pl.lit(seed),
        **{
            f"shows {name}": pl.col("user_id").is_in(
                shows.filter(pl.col("channel") == name)["user_id"].unique().to_list()
            )
            for name in SHOWN
        },
    )


def _channel(
    name: str, modality: str, of: Literal["events", "users"], code: np.ndarray, attribute: str, rng: np.random.Generator
) -> tuple[UserEmbeddings, pl.Series]:
    """Return a channel of user content that shows values of an attribute, and the row of each owner; code -1 has none."""
    has = code >= 0
    row = np.where(has, np.cumsum(has) - 1, -1)
    vectors = _vectors(code[has], attribute, rng)
    embeddings = UserEmbeddings(name, modality, of, vectors, f"drawn {modality}")
    return embeddings, pl.Series(row, dtype=pl.Int32).replace(-1, None)


def _vectors(code: np.ndarray, attribute: str, rng: np.random.Generator) -> np.ndarray:
    values = np.eye(len(ATTRIBUTES[attribute]))[code]
    return (values + NOISE * rng.normal(size=values.shape)).astype(np.float32)


def _print_removed(table: pl.DataFrame) -> None:
    print(f"\nNDCG@{K} {table['all'].mean():.4f}, popularity {table[POPULAR].mean():.4f}, {table.height} users\n")
    print("| removed | those who show it | difference | others | difference |\n|---|---|---|---|---|")
    for column in [c for c in table.columns if c.startswith("without ")]:
        name = column.removeprefix("without ")
        cells = [name]
        parts = (
            [table.filter(pl.col(f"shows {name}") == shows) for shows in (True, False)] if name in SHOWN else [table]
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
