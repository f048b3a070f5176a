"""The split every peer shares: read and cleaned by Penchant's own steps, divided once into stages.

In: a data set, a protocol, a seed. Out: a folder with one folder for each stage, the choices of the test apart, items, categories, content
vectors, and `split.json`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from penchant.core.schema import Catalog, Dataset, Histories, Interactions, Split, Vocabulary
from penchant.data.clean.dataset import clean
from penchant.data.event_weights import KIND_WEIGHTS, HistoriesConfig
from penchant.data.histories import build_histories
from penchant.data.read.sources import read
from penchant.data.requests import rolling_requests
from penchant.data.split.interactions import SplitConfig, split
from penchant.encoders.catalog import default_channels, encode_catalog
from penchant.pipelines.recommendation import RecommendationConfig, stop_on_errors
from penchant.world import WorldConfig, make_world

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
PROTOCOLS = {
    "last_out": "each user's last event",
    "last_out_hour": "the first event of each user's last session (an hour or more after the event before it); what follows it is left out",
    "last_out_day": "the first event of each user's last session, a day or more after the event before it; what follows it is left out",
    "last_out_shuffled": "each user's last event; in every history the order of events less than an hour apart is shuffled",
    "last_basket": "everything of each user's last instant",
    "user_time": "the last tenth of each user's events",
    "global_time": "everything after one instant; histories end there",
    "rolling_time": "what each user chooses at each instant of the last tenth of time, predicted from everything anybody did before it; models "
    "are fitted at the start and after each quarter of that time",
    "cold_items": "all events of a tenth of the items, ranked in the whole catalog",
    "cold_among": "all events of a tenth of the items, ranked among these",
    "published": "the data's own parts",
}
OF_PRODUCT = {"cold_among": "cold_items"}
"""Protocols that are a split of the product under another name."""
KNOWN_TIME = (
    "last_out",
    "last_out_hour",
    "last_out_day",
    "last_out_shuffled",
    "last_basket",
    "user_time",
    "global_time",
    "rolling_time",
)
"""Protocols in which the time of a request is told: that of its first choice."""
ROLLING_FITS = 4
ROLLING_SHARE = 0.1
MAX_REQUESTS = 20_000
"""Requests of rolling time, evenly spaced over the test."""
HOUR = 3_600_000_000
GAPS = {"last_out_hour": HOUR, "last_out_day": 24 * HOUR}
"""Protocols that hold out first events of sessions to the shortest time between two sessions."""
WORLD_CONTENT = {"attributes": {"encoder": "attributes"}, "words": {"encoder": "tfidf", "options": {"dim": 64}}}
CATEGORIES = ("genres", "category", "categories", "topic", "genre")
"""Columns of items that popularity by category reads, the first that is there."""


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes:
        config: Its TOML, whose data, cleaning and content are taken; None where `data` says all.
        data: Changes to its `[data]`.
        content: Its channels, where it has no TOML; None takes the default channels.
        clean: Changes to its `[clean.events]`.
        first_only: Leave the first event of each user and item: what is bought again is no choice to predict.
        before: Leave out events from this instant on.
        every: Take one user of so many.
        core: Afterwards leave out users and items with fewer events, repeatedly.
    """

    config: str | None
    data: Mapping[str, Any] = field(default_factory=dict)
    content: Mapping[str, Any] | None = None
    clean: Mapping[str, Any] = field(default_factory=dict)
    first_only: bool = False
    before: str | None = None
    every: int = 1
    core: int = 0


SETS = {
    "ml1m": Source("movielens", {"min_value": 4.0, "min_interactions": 5}),
    "ml1m_all": Source("movielens", {"min_value": 0.0}),
    "ml1m_llm": Source("movielens-cold-llm", {"min_value": 4.0, "min_interactions": 5}),
    "tiktok": Source("tiktok"),
    "baby": Source("baby"),
    "world": Source(None, content=WORLD_CONTENT),
    "steam": Source("steam"),
    "retail": Source(
        None,
        {
            "path": DATA / "online_retail",
            "interactions": "lines.csv.gz",
            "columns": {"user_id": "CustomerID", "item_id": "StockCode", "at": "InvoiceDate"},
            "item_columns": {"item_id": "StockCode", "title": "description"},
            "attributes": [],
        },
        clean={"inhuman_users": "keep"},
        first_only=True,
    ),
    "globo": Source(
        None,
        {
            "path": DATA / "globo_clicks",
            "columns": {"item_id": "click_article_id", "at": "click_timestamp"},
            "default_kind": "click",
        },
        first_only=True,
        before="2017-10-18",
        every=3,
        core=5,
    ),
    "lastfm": Source(
        None,
        {
            "path": DATA / "lastfm_mm",
            "columns": {"part": "split", "value": "weight"},
            "item_columns": {"title": "name"},
            "text": [],
            "attributes": [],
        },
        content={"sound": {"encoder": "precomputed", "path": str(DATA / "lastfm_mm/vggish.npy"), "modality": "audio"}},
    ),
    "beauty": Source(None, {"path": DATA / "amazon_beauty", "columns": {"at": "timestamp"}, "attributes": []}),
}
"""`ml1m`: ratings of 4 and 5, 5-core. `ml1m_all`: every rating. `ml1m_llm`: as `ml1m`, with supplied LLM descriptions. `retail`: the first
purchase of each customer and product. `globo`: the first click of each reader and article, a third of the readers, 5-core, before 18 October
(a few hundred clicks a day after it). `lastfm`: behaviour and sound, without tags."""


OWN = {
    ("ml1m", "last_out"): "movielens-next",
    ("ml1m_all", "last_out"): "movielens-next",
    ("ml1m", "cold_among"): "movielens-cold",
    ("ml1m_llm", "cold_among"): "movielens-cold-llm",
    ("tiktok", "published"): "tiktok",
    ("baby", "published"): "baby",
    ("steam", "last_out"): "steam",
}
"""Set and protocol to the TOML that is a row of ours there, beside the default members."""


def own_config(name: str, protocol: str) -> Path | None:
    """Return the TOML of another row of ours, None where there is none."""
    return ROOT / "configs" / f"{OWN[name, protocol]}.toml" if (name, protocol) in OWN else None


@dataclass(frozen=True)
class Events:
    """Events by user, oldest first within each; `user` and `item` are rows, `at` microseconds since 1970, 0 where unknown."""

    user: np.ndarray
    item: np.ndarray
    at: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def where(self, kept: np.ndarray) -> Events:
        return Events(self.user[kept], self.item[kept], self.at[kept])

    def starts_session(self, pause: int = HOUR) -> np.ndarray:
        """Return for each event whether its user did nothing for so many microseconds before it."""
        gap = np.diff(self.at, prepend=0)
        new = np.diff(self.user, prepend=-1) != 0
        return new | (gap >= pause)

    def shuffled(self, seed: int) -> Events:
        """Return the same events with the items of each session in random order."""
        session = np.cumsum(self.starts_session())
        order = np.lexsort((np.random.default_rng([seed, len(self)]).random(len(self)), session))
        return Events(self.user, self.item[order], self.at)


@dataclass(frozen=True)
class Stage:
    """One fit and its requests.

    Attributes:
        learn: Events to fit on.
        history: What each request's user did before; `user` is the row of the request.
        users: (requests,) rows of the users.
        truth: What was chosen; `user` is the row of the request.
        log: Events of everybody where they go on after `learn`.
    """

    learn: Events
    history: Events
    users: np.ndarray
    truth: Events
    log: Events | None = None


def prepare(
    name: str, protocol: str, seed: int, folder: Path, *, max_users: int | None, content: bool, hidden: bool = False
) -> Path:
    """Write the folder once; what is there is not written again.

    Args:
        name: In `SETS`.
        protocol: In `PROTOCOLS`.
        seed: Decides ties, and which items are cold.
        folder: Of this set, protocol and seed.
        max_users: Only so many users, evenly spaced, for a trial.
        content: Whether to encode content; without it, models that need it report so.
        hidden: Whether the time of the request is kept from everybody.
    """
    has_tables, has_content = (folder / "split.json").exists(), (folder / "content").exists()
    if has_tables and (has_content or not content):
        return folder
    config = _settings(name, seed, folder.parent)
    raw = stop_on_errors(clean(read(config.data), config.clean, config.media))
    dataset = _fewer(_reduced(_liked(raw), SETS[name]), max_users)
    dataset = replace(dataset, catalog=_touched(dataset, protocol))
    if not has_tables:
        stages, parts = divide(dataset, protocol, seed)
        facts = _facts(dataset, stages, protocol) | {"set": name, "protocol": protocol, "seed": seed, "hidden": hidden}
        _whole(folder, lambda part: _write_tables(dataset, stages, parts, facts, part))
    if content and not has_content:
        _whole(folder / "content", lambda part: _write_content(dataset, config, part))
    return folder


def divide(dataset: Dataset, protocol: str, seed: int) -> tuple[list[Stage], Split | None]:
    """Return the stages, validation first, and the product's split where the protocol is one of its kinds."""
    items, users = Vocabulary(dataset.catalog.item_ids), sorted(dataset.interactions.table["user_id"].unique())

    def histories(table: Interactions) -> Histories:
        return build_histories(table, items, HistoriesConfig(), users=users, seed=seed)

    def events(table: Interactions) -> Events:
        return _events(histories(table))

    if protocol == "rolling_time":
        return rolling_stages(histories(dataset.interactions)), None
    if protocol in GAPS:
        return session_stages(events(dataset.interactions), GAPS[protocol]), None
    if protocol == "last_basket":
        return basket_stages(events(dataset.interactions)), None
    kind = "last_out" if protocol == "last_out_shuffled" else OF_PRODUCT.get(protocol, protocol)
    parts = split(dataset.interactions, SplitConfig.read({"kind": kind}, where="protocol"), seed)
    train, validation, test = (events(part) for part in (parts.train, parts.validation, parts.test))
    known = train if kind == "published" else _joined(train, validation)
    if protocol == "last_out_shuffled":
        train, known = train.shuffled(seed), known.shuffled(seed)
    return [_stage(train, validation), _stage(known, test)], parts


def session_stages(events: Events, pause: int) -> list[Stage]:
    """Hold out the first event of each user's last session for the test, of the one before for validation; the first session is history."""
    starts = events.starts_session(pause)
    number = np.cumsum(starts)
    first = np.diff(events.user, prepend=-1) != 0
    own = (
        number - number[np.maximum.accumulate(np.where(first, np.arange(len(events)), 0))]
    )  # session of the user, from 0
    last = np.zeros(events.user.max() + 1, np.int64)
    np.maximum.at(last, events.user, own)
    from_end = last[events.user] - own

    def stage(sessions: int) -> Stage:
        chosen = starts & (from_end == sessions) & (own > 0)
        return _stage(
            events.where((from_end > sessions) | ((own == 0) & (last[events.user] < sessions + 1))),
            events.where(chosen),
        )

    return [stage(1), stage(0)]


def basket_stages(events: Events) -> list[Stage]:
    """Hold out each user's last instant for the test, the one before it for validation."""
    new = (np.diff(events.user, prepend=-1) != 0) | (np.diff(events.at, prepend=0) != 0)
    instant = np.cumsum(new)
    last = np.zeros(events.user.max() + 1, np.int64)
    np.maximum.at(last, events.user, instant)
    from_end = last[events.user] - instant
    first = np.full(events.user.max() + 1, len(instant))
    np.minimum.at(first, events.user, instant)
    own = instant - first[events.user]
    enough = (last - first)[events.user] >= 2  # as in last_out: two instants of history at the test
    held = [enough & (from_end == one) & (own > 0) for one in (1, 0)]
    return [
        _stage(events.where(~held[0] & ~held[1]), events.where(held[0])),
        _stage(events.where(~held[1]), events.where(held[1])),
    ]


def rolling_stages(events: Histories) -> list[Stage]:
    """Ask for every event of the last tenth of time, each with everything that lies before it; validation is the tenth before.

    Models are fitted at the start of the test and again after each quarter of its time. A user's events of one instant are one request.
    """
    at = events.at[events.at > 0]
    cuts = [int(np.quantile(at, 1 - share, method="nearest")) + 1 for share in (2 * ROLLING_SHARE, ROLLING_SHARE)]
    stop = int(at.max()) + 1
    fits = [cuts[1] + number * (stop - cuts[1]) // ROLLING_FITS for number in range(ROLLING_FITS)] + [stop]
    stages = [_rolling_stage(events, cuts[0], cuts[1], *rolling_requests(events, *cuts, limit=MAX_REQUESTS // 4))]
    histories, truth = rolling_requests(events, cuts[1], stop, limit=MAX_REQUESTS)
    asked_at = histories.requests()
    for start, end in pairwise(fits):
        rows = np.flatnonzero((asked_at >= start) & (asked_at < end))
        if len(rows):
            stages.append(_rolling_stage(events, start, end, histories.take(rows), truth.take(rows)))
    return stages


def _rolling_stage(events: Histories, start: int, stop: int, histories: Histories, truth: Histories) -> Stage:
    every, row = _events(events), {user: number for number, user in enumerate(events.user_ids)}
    users = np.array([row[user] for user in histories.user_ids], np.int64)
    return Stage(every.where(every.at < start), _events(histories), users, _events(truth), every.where(every.at < stop))


def _events(histories: Histories) -> Events:
    return Events(histories.user_index(), histories.item_index, histories.at)


def _stage(learn: Events, truth: Events) -> Stage:
    """Return the stage in which every user with a choice asks once, with what was learned of them as history."""
    users = np.unique(truth.user)
    row = np.full(max(int(learn.user.max(initial=0)), int(users.max(initial=0))) + 1, -1)
    row[users] = np.arange(len(users))
    history = learn.where(row[learn.user] >= 0)
    return Stage(learn, replace(history, user=row[history.user]), users, replace(truth, user=row[truth.user]))


def _joined(first: Events, second: Events) -> Events:
    """Return both in time, at one instant the first before the second."""
    both = Events(*(np.concatenate([getattr(e, name) for e in (first, second)]) for name in ("user", "item", "at")))
    return both.where(np.lexsort((both.at, both.user)))  # stable


def _whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder beside its place and move it there when it is whole."""
    staging = folder.with_name(f".{folder.name}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    write(staging)
    staging.rename(folder)


def _settings(name: str, seed: int, runs: Path) -> RecommendationConfig:
    source = SETS[name]
    if source.config is None:
        data = dict(source.data) or {"path": _world(runs, seed)}
        table: dict[str, Any] = {"data": data, "clean": {"events": dict(source.clean)}}
        if source.content is not None:
            table["content"] = dict(source.content)
        return RecommendationConfig.read(table, where="leaderboard")
    config = RecommendationConfig.from_toml(ROOT / "configs" / f"{source.config}.toml")
    # built anew, since a copy does not say which fields were set
    data = {name: getattr(config.data, name) for name in config.data.model_fields_set} | dict(source.data)
    return config.model_copy(update={"data": type(config.data).read(data, where="leaderboard")})


def _world(runs: Path, seed: int) -> Path:
    world = runs / f"world-files-{seed}"
    if not world.exists():
        make_world(world, WorldConfig(size="large", num_users=20_000, num_items=5_000, media=False, seed=seed))
    return world


def _liked(dataset: Dataset) -> Dataset:
    """Leave out negative events: few peers can learn from it, and all shall have the same."""
    says_no = [kind for kind, weight in KIND_WEIGHTS.items() if weight <= 0]
    return replace(dataset, interactions=dataset.interactions.where(~pl.col("kind").is_in(says_no)))


def _reduced(dataset: Dataset, source: Source) -> Dataset:
    """Return the events that the source asks for."""
    table = dataset.interactions.table
    if source.before:
        table = table.filter(pl.col("at") < pl.lit(source.before).str.to_datetime(time_unit="us", time_zone="UTC"))
    if source.every > 1:
        table = table.filter(pl.col("user_id").hash(0) % source.every == 0)
    if source.first_only:
        table = table.sort("at", maintain_order=True).unique(["user_id", "item_id"], keep="first", maintain_order=True)
    height = -1
    while source.core and height != table.height:
        height = table.height
        table = table.filter(pl.len().over("user_id") >= source.core).filter(pl.len().over("item_id") >= source.core)
    return replace(dataset, interactions=Interactions(table))


def _fewer(dataset: Dataset, max_users: int | None) -> Dataset:
    users = dataset.interactions.table["user_id"].unique().sort()
    if max_users is None or len(users) <= max_users:
        return dataset
    kept = users[np.linspace(0, len(users) - 1, max_users).astype(np.int64).tolist()]
    return replace(dataset, interactions=dataset.interactions.where(pl.col("user_id").is_in(kept.implode())))


def _touched(dataset: Dataset, protocol: str) -> Catalog:
    """Keep the items with events; a published catalog stays as it is, its rows being its vectors' rows."""
    if protocol == "published":
        return dataset.catalog
    touched = dataset.interactions.table["item_id"].unique()
    return replace(dataset.catalog, table=dataset.catalog.table.filter(pl.col("item_id").is_in(touched.implode())))


def _write_content(dataset: Dataset, config: RecommendationConfig, folder: Path) -> None:
    channels = default_channels(dataset.catalog) if config.content is None else config.content
    content, _ = encode_catalog(dataset.catalog, channels, cache=config.cache / "vectors", limits=config.media)
    for name, vectors in content.items():
        np.save(folder / f"{name}.npy", vectors.values)
        np.save(folder / f"{name}.present.npy", vectors.present)
    said = {name: {"modality": v.modality, "encoder": v.encoder} for name, v in content.items()}
    (folder / "channels.json").write_text(json.dumps(said, indent=2), encoding="utf-8")


def _write_tables(
    dataset: Dataset, stages: list[Stage], parts: Split | None, facts: Mapping[str, Any], folder: Path
) -> None:
    for number, stage in enumerate(stages):
        name = "validation" if number == 0 else f"test-{number - 1}"
        place = folder / "stages" / name
        place.mkdir(parents=True)
        _rows(stage.learn, "user").write_parquet(place / "learn.parquet")
        _rows(stage.history, "request").write_parquet(place / "history.parquet")
        if stage.log is not None:
            _rows(stage.log, "user").drop("user", "order").write_parquet(place / "log.parquet")
        at = np.zeros(len(stage.users), np.int64)
        if facts["protocol"] in KNOWN_TIME and not facts["hidden"]:
            at[stage.truth.user[::-1]] = stage.truth.at[::-1]  # the first choice is written last
        pl.DataFrame({"user": stage.users.astype(np.int32), "at": at}).write_parquet(place / "requests.parquet")
        (folder / "truth").mkdir(exist_ok=True)
        _rows(stage.truth, "request").write_parquet(folder / "truth" / f"{name}.parquet")
    users, items = sorted(dataset.interactions.table["user_id"].unique()), Vocabulary(dataset.catalog.item_ids)
    pl.DataFrame({"user_id": users}).write_parquet(folder / "users.parquet")
    among = facts["protocol"] == "cold_among"
    _with_candidates(items, parts, among=among).write_parquet(folder / "items.parquet")
    _categories(dataset.catalog).write_parquet(folder / "categories.parquet")
    (folder / "split.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


def _rows(events: Events, key: str) -> pl.DataFrame:
    start = np.concatenate([[0], np.flatnonzero(np.diff(events.user)) + 1]) if len(events) else np.zeros(0, np.int64)
    order = np.arange(len(events)) - np.repeat(start, np.diff(np.append(start, len(events))))
    columns = {key: events.user.astype(np.int32), "item": events.item.astype(np.int32), "at": events.at}
    return pl.DataFrame({**columns, "order": order.astype(np.int32)})


def _categories(catalog: Catalog) -> pl.DataFrame:
    """Return (item, category) rows of the first column of categories."""
    column = next((name for name in CATEGORIES if name in catalog.table.columns), None)
    if column is None:
        return pl.DataFrame({"item": [], "category": []}, schema={"item": pl.Int32, "category": pl.Int32})
    table = catalog.table.select(value=pl.col(column)).with_row_index("item")
    if table["value"].dtype != pl.List:
        table = table.with_columns(pl.col("value").cast(pl.String).str.split("|"))
    table = table.explode("value").drop_nulls().filter(pl.col("value").cast(pl.String) != "")
    category = table["value"].cast(pl.String).rank("dense").cast(pl.Int32) - 1
    return table.select(pl.col("item").cast(pl.Int32), category=category)


def _with_candidates(items: Vocabulary, parts: Split | None, *, among: bool) -> pl.DataFrame:
    """Return the items, which of them may be recommended in validation and in the test, and which are new in the test."""

    def chosen(cold: tuple[str, ...]) -> pl.Series:
        return pl.Series(items.ids).is_in(pl.Series(cold, dtype=pl.String).implode())

    cold = ((), ()) if parts is None else (parts.cold_items, parts.cold_validation_items)
    all_items = pl.Series([True] * len(items.ids))
    return pl.DataFrame(
        {
            "item_id": items.ids,
            "is_candidate": chosen(cold[0]) if among else all_items,
            "is_validation_candidate": chosen(cold[1]) if among else all_items,
        }
    )


def _facts(dataset: Dataset, stages: list[Stage], protocol: str) -> dict[str, Any]:
    table: pl.DataFrame = dataset.interactions.table
    tests = stages[1:]
    return {
        "users": table["user_id"].n_unique(),
        "items": table["item_id"].n_unique(),
        "catalog": len(dataset.catalog),
        "events": table.height,
        "stages": len(tests),
        "learned": [len(stage.learn) for stage in stages],
        "requests": [len(stage.users) for stage in stages],
        "without_history": [int((np.bincount(s.history.user, minlength=len(s.users)) == 0).sum()) for s in stages],
        "later": [_later(stage) for stage in tests],
        "refit": protocol != "published",
        "has_time": table["at"].null_count() < table.height,
    }


def _later(stage: Stage) -> float:
    """Return the mean share of what is learned that is later than the choice of a test request."""
    at = np.sort(stage.learn.at)
    return float(1 - np.searchsorted(at, stage.truth.at, "right").mean() / max(len(at), 1)) if len(stage.truth) else 0.0
