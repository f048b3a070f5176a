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


def test_every_project_is_announced_once_in_its_own_channel_and_shows_its_value(world: WorldTruth) -> None:
    announced = world.projects().drop_nulls("announced_at")
    assert set(announced["channel"]) == {"photo", "review", "voice"}
    assert announced.select("user_id", "starts_on").is_duplicated().sum() == 0
    day = announced["announced_at"].dt.ordinal_day() - 1
    assert ((day >= announced["starts_on"]) & (day < announced["ends_on"])).all()
    events = pl.read_csv(world.folder / "interactions.csv", try_parse_dates=True).unique(["user_id", "at"])
    beside = announced.join(events, left_on=["user_id", "announced_at"], right_on=["user_id", "at"])
    assert beside.height == announced.height
    assert beside.filter(pl.col("channel") == "photo")["image"].null_count() == 0
    assert beside.filter(pl.col("channel") == "voice")["audio"].null_count() == 0
    for value, text in beside.filter(pl.col("channel") == "review").select("value", "text").iter_rows():
        phrases = [(*b.things, *b.places, *b.acts) for b in TOPICS[value].values()]
        assert any(phrase in text for bank in phrases for phrase in bank), text


def test_choices_tell_a_project_after_its_announcement_and_not_before(world: WorldTruth) -> None:
    items = world.items.select("item_id", "motif", "topic", "timbre")
    events = world.events().filter(~pl.col("reason").is_in(["skip", "robot"])).join(items, on="item_id")
    announced = world.projects().drop_nulls("announced_at")
    both = announced.join(events, on="user_id").with_columns(day=pl.col("at").dt.ordinal_day() - 1)
    value = pl.coalesce(pl.when(pl.col("attribute") == name).then(name) for name in ("motif", "topic", "timbre"))
    both = both.with_columns(fits=value == pl.col("value"))
    after = both.filter(pl.col("at") > pl.col("announced_at"), pl.col("day") < pl.col("ends_on"))
    before = both.filter(pl.col("at") <= pl.col("announced_at"), pl.col("day") >= pl.col("starts_on") - 30)
    assert after["fits"].mean() > 0.5  # type: ignore[operator]
    assert before["fits"].mean() < 0.15  # type: ignore[operator]


def test_an_avatar_is_the_badge_of_the_circle_its_user_chooses_by_from_a_day_on(world: WorldTruth) -> None:
    avatars = world.projects().filter(pl.col("channel") == "avatar").select("user_id", "value", "starts_on")
    events = world.events().filter(~pl.col("reason").is_in(["skip", "robot"])).join(world.items, on="item_id")
    known = events.join(avatars, on="user_id").with_columns(fits=pl.col("circle") == pl.col("value"))
    is_there = pl.col("at").dt.ordinal_day() > pl.col("starts_on")
    assert known.filter(is_there)["fits"].mean() > 0.25  # type: ignore[operator]
    assert known.filter(~is_there)["fits"].mean() < 0.2  # type: ignore[operator]
    assert len(world.users_showing("avatar")) == avatars.height


def test_each_channel_is_shown_by_another_part_of_the_users(world: WorldTruth) -> None:
    showing = {name: set(world.users_showing(name)) for name in ("photo", "review", "voice", "avatar")}
    for name, users in showing.items():
        assert 0.2 * world.users.height < len(users) < 0.6 * world.users.height
        for other, others in showing.items():
            assert name == other or (users & others and users - others)


def test_a_world_without_user_content_has_no_projects(tmp_path: Path) -> None:
    plain = make_world(tmp_path / "plain", WorldConfig(size="tiny", media=False))
    assert not (plain.folder / "truth" / "projects.csv").exists()


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
