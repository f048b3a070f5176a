"""What users wrote, showed, and are, becomes vectors beside their events: missing, damaged and protected content included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from penchant.core.errors import ConfigError
from penchant.core.schema import Dataset, Vocabulary
from penchant.data.clean.dataset import CleanConfig, clean
from penchant.data.event_weights import HistoriesConfig
from penchant.data.histories import Event, add_events, build_histories
from penchant.data.media import MediaLimits
from penchant.data.read.sources import DataConfig, from_tables
from penchant.encoders.user_content import (
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
