"""Write a sample world: the data of a platform, and the hidden truth behind it in `truth/`.

In: a folder and a `WorldConfig`. Out: items, interactions and users in the plain "files" format, images/, sound/, and truth/.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from penchant.core.artifacts import open_artifact, write_artifact
from penchant.core.errors import ArtifactError
from penchant.core.logs import step, track
from penchant.core.seeds import generator
from penchant.world.choices import ItemSampler, draw_events
from penchant.world.damage import Defects, damage_events, damage_media, damage_text, write_sound
from penchant.world.drawing import draw_cover
from penchant.world.items import make_items
from penchant.world.projects import Projects
from penchant.world.settings import WorldConfig, WorldPlan, decide
from penchant.world.sound import play
from penchant.world.truth import WorldTruth, write_table
from penchant.world.user_content import UserContentWriter
from penchant.world.users import AGE_BANDS, UserPopulation, make_users
from penchant.world.words import write_items, write_review

KIND = "world"
GENERATION = 3
"""Version of the generator: increase it when equal settings give another world."""
USER_CONTENT_GENERATION = 2
"""The same for worlds with user content alone."""
CHUNK = 10_000
"""Users whose events are drawn at once. Changing it changes the world, because each chunk has its own random generator."""
EVENT_COLUMNS = ["user_id", "item_id", "at", "kind", "text"]


def make_world(folder: Path, config: WorldConfig | None = None) -> WorldTruth:
    """Write a world into a folder and return its truth; a folder that already holds this world is kept.

    Cost: tiny 2 s, small 10 s, medium 50 s, large 70 s and 0.9 GB.

    Raises:
        ArtifactError: The folder holds other files, or the disk is full.
        MissingExtraError: The world has sound, and the extra `audio` is not installed.
    """
    config = config or WorldConfig()
    plan = decide(config).model_dump(exclude={"size", "seed"})
    facts = {"plan": plan, "seed": config.seed, "generation": GENERATION}
    if config.user_content:
        facts["user_content_generation"] = USER_CONTENT_GENERATION
    if not _exists(folder, facts):
        with step(f"make the {config.size} world"):
            write_artifact(folder, lambda staging: _write(staging, config), kind=KIND, facts=facts)
    return WorldTruth.read(folder)


def _exists(folder: Path, facts: dict[str, object]) -> bool:
    try:
        return bool(open_artifact(folder, kind=KIND)["facts"] == facts)
    except ArtifactError:
        return False


def _write(folder: Path, config: WorldConfig) -> None:
    """Fill an empty folder."""
    plan, seed = decide(config), config.seed
    defects = Defects()
    items, population = make_items(plan, seed), make_users(plan, seed)
    (folder / "truth").mkdir()
    write_table(_listed(items, plan, seed, defects), folder / f"items{plan.ending}")
    robot = _robot_id(population)
    projects = Projects.draw(population, seed) if plan.user_content and plan.media else None
    writer = None if projects is None else UserContentWriter(folder, population, projects, seed)
    users = _known(population, robot if plan.defects else None)
    if writer is not None:
        users = users.join(writer.users(), on="user_id", how="left", maintain_order="left")
    write_table(users, folder / f"users{plan.ending}")
    chunks = _event_chunks(items, population, plan, seed, defects, robot, projects)
    if writer is None or projects is None:
        _write_events(folder, chunks, plan, EVENT_COLUMNS)
    else:
        _write_events(folder, map(writer.events, chunks), plan, [*EVENT_COLUMNS, "image", "audio"])
        write_table(projects.table(population, writer.announcements()), folder / "truth" / f"projects{plan.ending}")
    if plan.media:
        _write_media(folder, items, seed)
        if plan.defects:
            items = damage_media(folder, items, seed, defects)
    else:
        items = items.with_columns(has_picture=pl.lit(False), has_sound=pl.lit(False))
    write_table(items, folder / "truth" / f"items{plan.ending}")
    write_table(population.table, folder / "truth" / f"users{plan.ending}")
    write_table(defects.table(), folder / "truth" / "defects.csv")


def _listed(items: pl.DataFrame, plan: WorldPlan, seed: int, defects: Defects) -> pl.DataFrame:
    """Return the items as the platform lists them, without hidden attributes."""
    topics, languages, has_text = (items[name].to_list() for name in ("topic", "language", "has_text"))
    titles, descriptions = write_items(topics, languages, has_text, generator(seed, "world.words"))
    listed = items.select("item_id", "language", "price", category=pl.col("season") + " collection").with_columns(
        title=pl.Series(titles), description=pl.Series(descriptions, dtype=pl.String)
    )
    if plan.defects:
        listed = damage_text(listed, seed, defects)
    columns = ["item_id", "title", "description", "category", "price", "language"]
    if plan.media:
        listed = listed.with_columns(
            picture=_path(items, "has_picture", "images", "jpg"), sound=_path(items, "has_sound", "sound", "flac")
        )
        columns += ["picture", "sound"]
    return listed.select(columns)


def _path(items: pl.DataFrame, has: str, folder: str, ending: str) -> pl.Series:
    path = pl.format("{}/{}.{}", pl.lit(folder), "item_id", pl.lit(ending))
    return items.select(pl.when(has).then(path)).to_series()


def _robot_id(population: UserPopulation) -> str:
    """Return the id of the automated user, in the format of the others."""
    last = str(population.table["user_id"][-1])
    return f"u{int(last[1:]) + 1:0{len(last) - 1}d}"


def _known(population: UserPopulation, robot: str | None) -> pl.DataFrame:
    """Return the users as the platform lists them."""
    known = population.table.select("user_id", "language", "age_band")
    if robot is None:
        return known
    return pl.concat([known, pl.DataFrame({"user_id": [robot], "language": ["en"], "age_band": [AGE_BANDS[1]]})])


def _event_chunks(
    items: pl.DataFrame,
    population: UserPopulation,
    plan: WorldPlan,
    seed: int,
    defects: Defects,
    robot: str,
    projects: Projects | None,
) -> Iterator[pl.DataFrame]:
    """Yield events (user_id, item_id, at, kind, text, reason; with projects: announces) in chunks of users; the first chunk holds the defects."""
    sampler = ItemSampler.build(items)
    item_ids, user_ids, languages = items["item_id"], population.table["user_id"], population.table["language"]
    starts = range(0, len(population), CHUNK)
    for start in track(starts, "choices", len(starts)):
        rng = generator(seed, f"world.choices.{start}")
        users = np.arange(start, min(start + CHUNK, len(population)))
        drawn = draw_events(population, users, sampler, plan.events_per_user, rng, plan.regret_share, projects)
        events = drawn.select(
            user_id=user_ids[drawn["user_index"]],
            item_id=item_ids[drawn["item_index"]],
            at="at",
            kind="kind",
            text=_reviews(drawn, languages[drawn["user_index"]], plan.review_share, rng),
            reason="reason",
            **({} if projects is None else {"announces": drawn["announces"]}),
        )
        if plan.defects and start == 0:
            events = damage_events(events, robot, item_ids.to_list(), seed, defects)
        yield events.sort("at", "user_id", "item_id", "kind").with_columns(pl.col("at").dt.replace_time_zone("UTC"))


def _reviews(drawn: pl.DataFrame, languages: pl.Series, share: float, rng: np.random.Generator) -> pl.Series:
    """Return a review in the user's language for a share of the events, else null."""
    has_review = (rng.random(drawn.height) < share) & (drawn["kind"] != "view").to_numpy()
    rows = np.flatnonzero(has_review)
    reviews = [write_review(drawn["reason"][row], languages[row], rng) for row in rows.tolist()]
    return pl.Series([None], dtype=pl.String).new_from_index(0, drawn.height).scatter(rows, reviews)


def _write_events(folder: Path, chunks: Iterator[pl.DataFrame], plan: WorldPlan, columns: list[str]) -> None:
    """Write events and their reasons; Parquet is written chunk by chunk to bound memory."""
    tables = {folder / f"interactions{plan.ending}": columns}
    tables[folder / "truth" / f"events{plan.ending}"] = ["user_id", "item_id", "at", "reason"]
    if plan.ending == ".csv":
        events = pl.concat(list(chunks)).sort("at", maintain_order=True)
        for path, chosen in tables.items():
            write_table(events.select(chosen), path)
        return
    writers: dict[Path, pq.ParquetWriter] = {}
    try:
        for events in chunks:
            for path, chosen in tables.items():
                table = events.select(chosen).to_arrow()
                if path not in writers:
                    writers[path] = pq.ParquetWriter(path, table.schema, compression="zstd")
                writers[path].write_table(table)
    finally:
        for writer in writers.values():
            writer.close()


def _write_media(folder: Path, items: pl.DataFrame, seed: int) -> None:
    """Write the image and the sound of each item; each item has its own random generator."""
    (folder / "images").mkdir()
    (folder / "sound").mkdir()
    names = ("item_id", "motif", "colour", "timbre", "tempo", "has_picture", "has_sound")
    rows = items.select(names).iter_rows()
    for item, motif, colour, timbre, tempo, has_picture, has_sound in track(rows, "pictures and sounds", items.height):
        if has_picture:
            cover = draw_cover(motif, colour, generator(seed, f"world.picture.{item}"))
            cover.save(folder / "images" / f"{item}.jpg", quality=88)
        if has_sound:
            write_sound(folder / "sound" / f"{item}.flac", play(timbre, tempo, generator(seed, f"world.sound.{item}")))
