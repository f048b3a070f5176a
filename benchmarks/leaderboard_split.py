"""The split every peer shares: read, cleaned and divided once, by Penchant's own steps.

In: a data set, a protocol, a seed. Out: a folder with Parquet parts, users, items, content vectors, and `split.json`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from penchant.core.schema import Catalog, Dataset, Interactions, Split, Vocabulary
from penchant.data.clean.dataset import clean
from penchant.data.event_weights import KIND_WEIGHTS, HistoriesConfig
from penchant.data.histories import build_histories
from penchant.data.read.sources import read
from penchant.data.split.interactions import SplitConfig, split
from penchant.encoders.catalog import encode_catalog
from penchant.pipelines.recommendation import RecommendationConfig, stop_on_errors
from penchant.world import WorldConfig, make_world

ROOT = Path(__file__).resolve().parent.parent
PROTOCOLS = ("last_out", "user_time", "global_time", "cold_items", "cold_among", "published")
"""`cold_items` ranks the whole catalog, `cold_among` the held-out items only."""
WORLD_CONTENT = {"attributes": {"encoder": "attributes"}, "words": {"encoder": "tfidf", "options": {"dim": 64}}}


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes:
        config: Its TOML, whose data, cleaning and content are taken; None makes the world.
        data: Changes to its `[data]`.
        leave_out: Channels not taken.
    """

    config: str | None
    data: Mapping[str, Any]
    leave_out: tuple[str, ...] = ()


SETS = {
    "ml1m": Source("movielens", {"min_value": 4.0, "min_interactions": 5}),
    "ml1m_all": Source("movielens", {"min_value": 0.0}),
    "ml1m_llm": Source("movielens-cold-llm", {"min_value": 4.0, "min_interactions": 5}),
    "tiktok": Source("tiktok", {}),
    "baby": Source("baby", {}),
    "world": Source(None, {}),
}
"""`ml1m`: ratings of 4 and 5, 5-core. `ml1m_all`: every rating. `ml1m_llm`: as `ml1m`, with supplied LLM descriptions."""


OWN = {
    ("ml1m", "last_out"): "movielens-next",
    ("ml1m_all", "last_out"): "movielens-next",
    ("ml1m", "cold_among"): "movielens-cold",
    ("ml1m_llm", "cold_among"): "movielens-cold-llm",
    ("tiktok", "published"): "tiktok",
    ("baby", "published"): "baby",
}
"""Set and protocol to the TOML that is our row there; any other has the default members."""


def own_config(name: str, protocol: str) -> Path | None:
    """Return the TOML of our row, None for the default members."""
    return ROOT / "configs" / f"{OWN[name, protocol]}.toml" if (name, protocol) in OWN else None


def prepare(name: str, protocol: str, seed: int, folder: Path, *, max_users: int | None, content: bool) -> Path:
    """Write the folder once; what is there is not written again.

    Args:
        name: In `SETS`.
        protocol: In `PROTOCOLS`.
        seed: Decides ties, and which items are cold.
        folder: Of this set, protocol and seed.
        max_users: Only so many users, evenly spaced, for a trial.
        content: Whether to encode content; without it, models that need it report so.
    """
    has_tables, has_content = (folder / "split.json").exists(), (folder / "content").exists()
    if has_tables and (has_content or not content):
        return folder
    config = _settings(name, seed, folder.parent)
    dataset = _fewer(_liked(stop_on_errors(clean(read(config.data), config.clean, config.media))), max_users)
    dataset = Dataset(_touched(dataset, protocol), dataset.interactions, dataset.users, dataset.findings)
    if not has_tables:
        kind = "cold_items" if protocol == "cold_among" else protocol
        parts = split(dataset.interactions, SplitConfig.read({"kind": kind}, where="protocol"), seed)
        facts = _facts(dataset, parts) | {"set": name, "protocol": protocol, "seed": seed}
        facts |= {"refit": protocol != "published"}
        _whole(folder, lambda part: _write_tables(dataset, parts, facts, part))
    if content and not has_content:
        _whole(folder / "content", lambda part: _write_content(dataset, config, part))
    return folder


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
        world = runs / f"world-files-{seed}"
        if not world.exists():
            make_world(world, WorldConfig(size="large", num_users=20_000, num_items=5_000, media=False, seed=seed))
        return RecommendationConfig.read({"data": {"path": world}, "content": WORLD_CONTENT}, where="leaderboard")
    config = RecommendationConfig.from_toml(ROOT / "configs" / f"{source.config}.toml")
    # built anew, since a copy does not say which fields were set
    data = {name: getattr(config.data, name) for name in config.data.model_fields_set} | dict(source.data)
    return config.model_copy(update={"data": type(config.data).read(data, where="leaderboard")})


def _liked(dataset: Dataset) -> Dataset:
    """Leave out negative events: few peers can learn from it, and all shall have the same."""
    says_no = [kind for kind, weight in KIND_WEIGHTS.items() if weight <= 0]
    table = dataset.interactions.where(~pl.col("kind").is_in(says_no))
    return Dataset(dataset.catalog, table, dataset.users, dataset.findings)


def _fewer(dataset: Dataset, max_users: int | None) -> Dataset:
    users = dataset.interactions.table["user_id"].unique().sort()
    if max_users is None or len(users) <= max_users:
        return dataset
    kept = users[np.linspace(0, len(users) - 1, max_users).astype(np.int64).tolist()]
    table = dataset.interactions.where(pl.col("user_id").is_in(kept.implode()))
    return Dataset(dataset.catalog, table, dataset.users, dataset.findings)


def _touched(dataset: Dataset, protocol: str) -> Catalog:
    """Keep the items with events; a published catalog stays as it is, its rows being its vectors' rows."""
    catalog = dataset.catalog
    if protocol == "published":
        return catalog
    touched = dataset.interactions.table["item_id"].unique()
    table = catalog.table.filter(pl.col("item_id").is_in(touched.implode()))
    return Catalog(
        table,
        catalog.title_column,
        catalog.text_columns,
        catalog.media_columns,
        catalog.attribute_columns,
        catalog.media_root,
    )


def _write_content(dataset: Dataset, config: RecommendationConfig, folder: Path) -> None:
    channels = config.content or {}
    content, _ = encode_catalog(dataset.catalog, channels, cache=config.cache / "vectors", limits=config.media)
    for name, vectors in content.items():
        np.save(folder / f"{name}.npy", vectors.values)
        np.save(folder / f"{name}.present.npy", vectors.present)
    said = {name: {"modality": v.modality, "encoder": v.encoder} for name, v in content.items()}
    (folder / "channels.json").write_text(json.dumps(said, indent=2), encoding="utf-8")


def _write_tables(dataset: Dataset, parts: Split, facts: Mapping[str, Any], folder: Path) -> None:
    items = Vocabulary(dataset.catalog.item_ids)
    users = sorted(dataset.interactions.table["user_id"].unique())
    for name in ("train", "validation", "test"):
        events = build_histories(getattr(parts, name), items, HistoriesConfig(), users=users, seed=facts["seed"])
        order = np.arange(events.num_events) - np.repeat(events.offsets[:-1], events.lengths())
        table = pl.DataFrame(
            {
                "user": events.user_index().astype(np.int32),
                "item": events.item_index,
                "at": events.at,
                "order": order.astype(np.int32),
                "weight": events.weight,
            }
        )
        table.write_parquet(folder / f"{name}.parquet")
        if name == "test":
            is_test_user = np.bincount(events.user_index(), events.weight > 0, len(users)) > 0
    pl.DataFrame({"user_id": users, "is_test_user": is_test_user}).write_parquet(folder / "users.parquet")
    among = facts["protocol"] == "cold_among"
    _with_candidates(items, parts, among=among).write_parquet(folder / "items.parquet")
    (folder / "split.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


def _with_candidates(items: Vocabulary, parts: Split, *, among: bool) -> pl.DataFrame:
    """Return the items, and which of them may be recommended in validation and in the test."""

    def allowed(cold: tuple[str, ...]) -> pl.Series:
        ids = pl.Series(items.ids)
        return ids.is_in(pl.Series(cold, dtype=pl.String).implode()) if among else pl.Series([True] * len(ids))

    return pl.DataFrame(
        {
            "item_id": items.ids,
            "is_candidate": allowed(parts.cold_items),
            "is_validation_candidate": allowed(parts.cold_validation_items),
        }
    )


def _facts(dataset: Dataset, parts: Split) -> dict[str, Any]:
    table: pl.DataFrame = dataset.interactions.table
    sizes = {name: len(getattr(parts, name)) for name in ("train", "validation", "test")}
    checks = {check.check: [check.count, check.total] for check in parts.checks}
    has_time = Interactions(table).table["at"].null_count() < table.height
    return {
        "users": table["user_id"].n_unique(),
        "items": len(dataset.catalog),
        "events": table.height,
        **sizes,
        "has_time": has_time,
        "checks": checks,
    }
