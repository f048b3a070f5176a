"""What users wrote, showed, and are, becomes vectors beside their events: missing, damaged and protected content included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile
from PIL import Image

from penchant.core.errors import ConfigError
from penchant.core.schema import Dataset, Interactions, OwnContent, Vocabulary
from penchant.data.clean.dataset import CleanConfig, clean
from penchant.data.event_weights import HistoriesConfig
from penchant.data.histories import Event, add_events, build_histories
from penchant.data.media import MediaLimits
from penchant.data.read.sources import DataConfig, from_tables
from penchant.encoders.catalog import make_encoder
from penchant.encoders.user_content import (
    OwnContentReader,
    UserChannelConfig,
    default_user_channels,
    encode_user_content,
    is_protected,
    unused_protected,
)

BASE = 1_700_000_000
CHANNELS = {
    "review": UserChannelConfig(encoder="tfidf", columns=["text"], options={"dim": 2}),
    "who": UserChannelConfig(encoder="attributes", columns=["region"], of="users"),
}


def dataset(folder: Path = Path()) -> Dataset:
    events = pl.DataFrame(
        {
            "user_id": ["u", "u", "v", "v", "w"],
            "item_id": ["a", "b", "a", "c", "b"],
            "at": [BASE + n for n in range(5)],
            "text": ["warm soup", None, "cold feet", "warm soup", ""],
            "image": ["bowl.jpg", None, "gone.jpg", None, None],
        }
    )
    users = pl.DataFrame(
        {
            "user_id": ["w", "u", "x"],
            "region": ["north", "south", "north"],
            "age_band": ["18-24", "55+", "18-24"],
            "bio": ["I look for quiet places by the water.", None, "Trains, timetables and long journeys, please."],
        }
    )
    return from_tables(events, users=users, config=DataConfig(path=folder))


def encoded(given: Dataset, folder: Path, channels: dict[str, UserChannelConfig] | None = None):
    return encode_user_content(given, channels or CHANNELS, cache=folder, limits=MediaLimits())


def test_each_event_and_user_has_its_own_vector_and_equal_content_is_encoded_once(tmp_path: Path) -> None:
    given, content = encoded(dataset(), tmp_path)
    assert len(content.embeddings["review"].values) == 2
    histories = build_histories(
        given.interactions, Vocabulary("abc"), HistoriesConfig(), users=["u", "v", "w", "x"], content=content
    )
    review, who = histories.user_channels["review"], histories.user_channels["who"]
    assert review.row[0] == review.row[3] != review.row[2]
    assert (review.row >= 0).tolist() == [True, False, True, True, False]
    assert who.row[1] == -1  # v is in no table of users
    assert who.row[2] == who.row[3] != who.row[0]
    north, south = (who.embeddings.values[who.row[n]] for n in (2, 0))
    assert north @ south == pytest.approx(0)


def test_histories_that_received_later_events_keep_the_vectors_of_the_others(tmp_path: Path) -> None:
    given, content = encoded(dataset(), tmp_path)
    items = Vocabulary("abc")
    histories = build_histories(given.interactions, items, HistoriesConfig(), content=content)
    before = histories.rows(1, 2)
    early = Event("v", "b", "click", (BASE + 1) * 1_000_000)
    after = add_events(before, [early], items, HistoriesConfig())
    assert after.item_index.tolist() == [1, 0, 2]
    assert after.user_channels["review"].row.tolist() == [-1, *before.user_channels["review"].row.tolist()]
    assert after.user_channels["who"].row.tolist() == before.user_channels["who"].row.tolist()


def test_protected_attributes_are_read_only_by_name() -> None:
    given = dataset()
    channels = default_user_channels(given.interactions, given.users)
    assert channels["user_attributes"].columns == ["region"]
    assert channels["bio"].columns == ["bio"]
    assert set(channels) == {"review", "photo", "bio", "user_attributes"}
    (finding,) = unused_protected(given.users, channels)
    assert finding.examples == ("age_band",)
    channels["user_attributes"] = UserChannelConfig(encoder="attributes", columns=["age_band"], of="users")
    assert not unused_protected(given.users, channels)


@pytest.mark.parametrize(
    "name", ["age", "Age", "age_band", "userAge", "birth_year", "gender", "sex", "性别", "年龄段", "health_status"]
)
def test_names_of_protected_attributes(name: str) -> None:
    assert is_protected(name)


@pytest.mark.parametrize("name", ["region", "plan", "page", "language", "average_spend", "message", "essex", "package"])
def test_names_that_only_look_alike(name: str) -> None:
    assert not is_protected(name)


def test_a_photo_that_cannot_be_read_is_missing_and_counted(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "bowl.jpg")
    given = dataset(tmp_path)
    given = clean(given, CleanConfig(), MediaLimits())
    (tmp_path / "bowl.jpg").write_bytes(b"not a picture any more")
    channels = {"photo": UserChannelConfig(encoder="efficientnet", columns=["image"])}
    given, content = encoded(given, tmp_path / "cache", channels)
    assert given.interactions.table["vector:photo"].null_count() == 5
    assert "photo.encode.failed" in [finding.check for finding in given.findings]
    assert content.embeddings["photo"].of == "events"


def test_a_column_or_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    wrong = {"review": UserChannelConfig(encoder="tfidf", columns=["words"])}
    with pytest.raises(ConfigError, match="events have no column 'words'"):
        encoded(dataset(), tmp_path, wrong)
    with pytest.raises(ConfigError, match="no table of users"):
        encoded(replace(dataset(), users=None), tmp_path, {"who": CHANNELS["who"]})


def test_bad_content_of_files_is_counted_and_leaves_that_of_others_as_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("bowl.jpg", "face.png"):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / name)
    soundfile.write(tmp_path / "hello.flac", 0.3 * np.sin(np.arange(16_000) / 9), 16_000)
    (tmp_path / "letter.jpg").write_text("this is no picture")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 16_000)
    good = [("u", "a", "warm soup", "bowl.jpg", "hello.flac"), ("v", "b", "warm bread", None, None)]
    bad = [
        ("p", "a", None, "letter.jpg", None),
        ("q", "a", None, None, "nothing.wav"),
        ("r", "a", "тёплый суп очень вкусный", None, None),
        ("s", "a", "😀" * 262_144, None, None),
    ]
    users = pl.DataFrame(
        {"user_id": ["u", "t"], "region": ["north", "a value of nobody else"], "avatar": ["face.png", "gone.png"]}
    )
    channels = {
        "review": UserChannelConfig(encoder="aspects", columns=["text"], options={"min_reviews": 1}),
        "photo": UserChannelConfig(encoder="efficientnet", columns=["image"]),
        "voice": UserChannelConfig(encoder="mel", columns=["audio"]),
        "avatar": UserChannelConfig(encoder="efficientnet", columns=["avatar"], of="users"),
        "who": CHANNELS["who"],
    }
    catalog = pl.DataFrame({"item_id": ["a", "b", "c", "d"], "title": ["warm soup", "cold soup", "bread", "tea"]})
    found = {}
    for name, rows in {"good": good, "all": [*good, *bad]}.items():
        events = pl.DataFrame(
            [(*row, BASE + number) for number, row in enumerate(rows)],
            ["user_id", "item_id", "text", "image", "audio", "at"],
            orient="row",
        )
        config = DataConfig(path=tmp_path, user_media={"image": "avatar"})
        given = clean(from_tables(events, catalog, users, config), CleanConfig(), MediaLimits())
        found[name] = encoded(given, tmp_path / "cache", channels)
    (alone, vectors), (beside, all_vectors) = found["good"], found["all"]
    table = beside.interactions.table.sort("user_id").filter(pl.col("user_id").is_in(list("pqs")))
    assert all(table[f"vector:{channel}"].null_count() == 3 for channel in ("photo", "voice"))
    for channel in ("photo", "voice", "review"):
        own = alone.interactions.table.sort("at").filter(pl.col("user_id") == "u")[f"vector:{channel}"][0]
        same = beside.interactions.table.sort("at").filter(pl.col("user_id") == "u")[f"vector:{channel}"][0]
        np.testing.assert_array_equal(
            vectors.embeddings[channel].values[own], all_vectors.embeddings[channel].values[same]
        )
    assert all_vectors.users.filter(pl.col("user_id") == "t")["avatar"].null_count() == 1
    counted = {finding.check: finding.count for finding in beside.findings}
    assert counted["events.image.unreadable"] == 1
    assert counted["events.audio.short"] == 1
    assert counted["users.image.missing"] == 1
    assert counted["user_content.photo"] == 1


def test_an_event_that_comes_later_gets_the_aspects_that_the_run_reads(tmp_path: Path) -> None:
    items = pl.DataFrame({"item_id": list("abcd"), "colour": ["red", "red", "blue", "blue"]})
    config = UserChannelConfig(encoder="aspects", columns=["text"])
    given = from_tables(dataset().interactions.table.drop("image"), items, config=DataConfig(path=tmp_path))
    events = given.interactions.table.with_columns(
        text=pl.Series(["Lovely colour", None, "ugly blue", "Lovely colour", ""])
    )
    given, content = encoded(replace(given, interactions=Interactions(events)), tmp_path, {"aspects": config})
    embeddings = content.embeddings["aspects"]
    assert embeddings.has_signs
    reader = OwnContentReader(
        {"aspects": config}, {"aspects": embeddings}, make_encoder, MediaLimits(), CleanConfig().media
    )
    row = given.interactions.table["vector:aspects"][0]
    later = reader.read("events", OwnContent({"text": "Lovely colour"}), tmp_path)
    np.testing.assert_array_equal(later.vectors["aspects"], embeddings.values[row])
    nothing = reader.read("events", OwnContent({"text": "Good morning"}), tmp_path)
    assert nothing.unreadable == ("aspects: nothing of it was learned",)
