"""What the users of a sample world write, show and say tells what they choose by, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from penchant.data.clean.dataset import CleanConfig, clean
from penchant.data.media import MediaLimits
from penchant.data.read.sources import DataConfig, read
from penchant.world import WorldConfig, WorldTruth, make_world
from penchant.world.topics import TOPICS


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> WorldTruth:
    return make_world(tmp_path_factory.mktemp("people") / "world", WorldConfig(size="tiny", user_content=True))


def events(world: WorldTruth) -> pl.DataFrame:
    return pl.read_csv(world.folder / "interactions.csv").join(world.users, on="user_id")


def test_every_column_is_found_and_every_file_can_be_read(world: WorldTruth) -> None:
    raw = read(DataConfig(path=world.folder))
    assert raw.users is not None
    assert raw.users.media_columns == {"image": "avatar"}
    assert set(raw.users.attribute_columns) == {"language", "age_band", "region", "plan"}
    found = {finding.check for finding in clean(raw, CleanConfig(), MediaLimits()).findings}
    assert not found & {
        "events.image.missing",
        "events.image.unreadable",
        "users.image.missing",
        "events.audio.unreadable",
    }


def test_users_show_more_of_what_they_choose_by(world: WorldTruth) -> None:
    shares = (
        events(world).group_by("driver").agg(pl.col("audio").is_not_null().mean(), pl.col("image").is_not_null().mean())
    )
    audio = dict(shares.select("driver", "audio").iter_rows())
    assert audio["timbre"] > 2 * max(share for driver, share in audio.items() if driver != "timbre")
    image = dict(shares.select("driver", "image").iter_rows())
    assert image["motif"] > max(share for driver, share in image.items() if driver != "motif")


def test_words_about_a_topic_are_about_one_the_user_likes(world: WorldTruth) -> None:
    words = {
        topic: {thing for bank in banks.values() for thing in (*bank.things, *bank.places, *bank.acts)}
        for topic, banks in TOPICS.items()
    }
    told = events(world).filter(pl.col("driver") == "topic").drop_nulls("text")
    about = 0
    for text, likes, later in told.select("text", "likes_topic", "later_topic").iter_rows():
        own = {*likes.split("|"), *later.split("|")}
        named = {topic for topic, things in words.items() if any(thing in text for thing in things)}
        if named:
            about += 1
            assert named & own, text
    assert about > 20


def test_a_region_goes_with_the_circle_of_those_who_choose_by_it(world: WorldTruth) -> None:
    users = pl.read_csv(world.folder / "users.csv").join(world.users, on="user_id").filter(pl.col("driver") == "circle")
    first = users["likes_circle"].str.split("|").list.first()
    most = users.with_columns(first=first).group_by("first", "region").len().group_by("first").agg(pl.col("len").max())
    assert most["len"].sum() > 0.5 * users.height


def test_equal_seeds_give_equal_content(tmp_path: Path) -> None:
    config = WorldConfig(size="tiny", num_users=20, num_items=48, events_per_user=6, user_content=True)
    first, again = (make_world(tmp_path / name, config).folder for name in ("first", "again"))
    for file in (
        path.relative_to(first) for path in first.rglob("*") if path.is_file() and path.name != "manifest.json"
    ):
        assert (first / file).read_bytes() == (again / file).read_bytes(), file
    assert list((first / "avatars").iterdir())
