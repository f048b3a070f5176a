from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from penchant.core.errors import DataError
from penchant.core.messages import Translator
from penchant.core.schema import INTERACTION_SCHEMA, Catalog, Dataset, Finding, Interactions, Users
from penchant.data.clean import media_facts as facts
from penchant.data.clean.dataset import CleanConfig, clean
from penchant.data.clean.duplicates import difference_hash, group_duplicates, near_pairs, thumbnail
from penchant.data.clean.events import EventCleaningConfig
from penchant.data.media import MediaLimits

NOW = datetime(2024, 6, 1, tzinfo=UTC)
LIMITS = MediaLimits()


def events(*rows: tuple, **more: list) -> pl.DataFrame:
    """Rows of user, item, minutes before now (None: no time), kind, value."""
    full = [(*row, *("view", 1.0)[len(row) - 3 :]) for row in rows]
    table = [(u, i, None if m is None else NOW - timedelta(minutes=m), kind, value) for u, i, m, kind, value in full]
    return pl.DataFrame(table, schema=INTERACTION_SCHEMA, orient="row").with_columns(
        **{k: pl.Series(v) for k, v in more.items()}
    )


def shop(items: dict, table: pl.DataFrame | None = None, users: Users | None = None, **settings) -> Dataset:
    catalog = Catalog(pl.DataFrame(items), **settings)
    return Dataset(catalog, Interactions(events(("u", "1", 1)) if table is None else table), users)


def cleaned(dataset: Dataset, config: CleanConfig | None = None, **settings) -> tuple[Dataset, dict[str, Finding]]:
    result = clean(dataset, config or CleanConfig(), LIMITS, now=NOW, **settings)
    found = {finding.check: finding for finding in result.findings}
    assert len(found) == len(result.findings)
    return result, found


def test_clean_text_is_mended_and_counted() -> None:
    long = "The same long description of two different items."
    items = {
        "item_id": ["1", "2", "3", "4", "5"],
        "title": ["Caf\u00c3\u00a9", "<b>Two</b>", " ", "ok", None],
        "plot": [long, "a\x00b", "&nbsp;", f"{long} ", "an entirely different description"],
    }
    dataset = shop(items, title_column="title", text_columns=("plot",))
    result, found = cleaned(dataset)
    assert result.catalog.table["title"].to_list() == ["Café", "Two", None, "ok", None]
    assert result.catalog.table["plot"].to_list()[1:3] == ["ab", None]
    assert {check: finding.count for check, finding in found.items()} == {
        "text.html": 2,
        "text.mojibake": 1,
        "text.control": 1,
        "text.empty": 2,
        "text.duplicate": 2,
    }
    assert found["text.mojibake"].examples == ("item 1, title: 'Caf\u00c3\u00a9' became 'Café'",)
    assert found["text.mojibake"].total == 9
    assert "items 1, 4, plot" in found["text.duplicate"].examples[0]
    assert dataset.catalog.table["title"][0] == "Caf\u00c3\u00a9"


def test_clean_again_finds_nothing_to_repair() -> None:
    items = {"item_id": ["1", "2"], "plot": ["<i>x</i>\x00", "caf\u00c3\u00a9"]}
    once, _ = cleaned(shop(items, text_columns=("plot",)))
    twice = clean(once, CleanConfig(), LIMITS, now=NOW)
    assert twice.findings == once.findings
    assert twice.catalog.table.equals(once.catalog.table)


def test_clean_categories_written_two_ways_become_one() -> None:
    items = {
        "item_id": ["1", "2"],
        "brand": ["Cafe\u0301", "Café"],
        "tags": [["ＡＢ", "c"], ["AB"]],
        "price": [1.0, 2.0],
    }
    result, found = cleaned(shop(items, attribute_columns=("brand", "tags", "price")))
    assert result.catalog.table["brand"].n_unique() == 1
    assert result.catalog.table["tags"].to_list() == [["AB", "c"], ["AB"]]
    assert found == {}


def test_clean_one_row_stays_for_each_id() -> None:
    users = Users(pl.DataFrame({"user_id": ["u", "u"], "age": [1, 2]}), ("age",))
    result, found = cleaned(shop({"item_id": ["1", "1", "2"], "n": [1, 2, 3]}, users=users))
    assert result.catalog.table["n"].to_list() == [1, 3]
    assert result.users is not None
    assert result.users.table["age"].to_list() == [1]
    assert (found["items.duplicate"].count, found["users.duplicate"].action) == (1, "dropped")


def test_clean_events_each_check_counts_its_own() -> None:
    table = events(
        ("u", "1", 5),
        ("u", "1", 5, "view", 3.0),  # again
        ("u", "1", 5, "like"),
        ("u", "9", 4),  # no such item
        ("v", "2", 60 * 24 * 365 * 40),  # in 1984
        ("v", "2", -60 * 24 * 365),  # next year
        ("v", "1", -60),  # an hour ahead: another time zone
        ("w", "2", None),
        ("w", "2", None),
        ("w", "1", 3, "view", float("nan")),
    )
    users = Users(pl.DataFrame({"user_id": ["u", "v"]}))
    result, found = cleaned(shop({"item_id": ["1", "2"]}, table, users))
    assert {check: (finding.count, finding.action) for check, finding in found.items()} == {
        "events.unknown_item": (1, "dropped"),
        "events.not_a_number": (1, "masked"),
        "events.impossible_time": (2, "masked"),
        "events.duplicate": (1, "dropped"),
        "events.duplicate_untimed": (2, "kept"),
        "events.unknown_user": (1, "kept"),
    }
    left = result.interactions.table
    assert left.height == 8
    assert left.filter(pl.col("user_id") == "u")["value"].to_list() == [3.0, 1.0]
    assert left["at"].null_count() == 4
    assert left["value"].null_count() == 1
    assert found["events.impossible_time"].severity == "warning"
    assert "1984" in found["events.impossible_time"].examples[0]


def test_clean_a_wrong_unit_of_time_is_an_error() -> None:
    table = events(("u", "1", 1)).with_columns(
        at=pl.lit(datetime(1970, 1, 12, tzinfo=UTC)).cast(pl.Datetime("us", "UTC"))
    )
    _, found = cleaned(shop({"item_id": ["1"]}, table))
    assert found["events.impossible_time"].severity == "error"
    assert "holds no times" in found["events.impossible_time"].advice


def test_clean_duplicates_of_a_published_split_stay_in_their_parts() -> None:
    table = events(("u", "1", 5), ("u", "1", 5), ("u", "1", 5), part=["train", "train", "test"])
    result, found = cleaned(shop({"item_id": ["1"]}, table))
    assert result.interactions.table["part"].to_list() == ["train", "test"]
    assert found["events.duplicate"].count == 1


def test_clean_without_overlap_says_so() -> None:
    with pytest.raises(DataError, match="No event refers to an item of the catalog: events name '1', items '001'"):
        cleaned(shop({"item_id": ["001"]}))
    result, _ = cleaned(shop({"item_id": ["001"]}, events()))
    assert len(result.interactions) == 0


def crowd() -> list[tuple]:
    return [(f"u{n}", str(n % 3), n) for n in range(300)]


def test_clean_inhuman_users_are_dropped_and_can_be_kept() -> None:
    flood = [("bot", str(n % 3), n) for n in range(60)]  # 60 events where the others have one
    burst = [("fast", "1", minute, f"k{n}") for minute in range(3) for n in range(121)]
    once = [("import", "2", 7, f"k{n}") for n in range(40)]
    dataset = shop({"item_id": ["0", "1", "2"]}, events(*crowd(), *flood, *burst, *once))
    result, found = cleaned(dataset)
    assert found["events.inhuman_user"].examples == ("user fast: 363 events", "user bot: 60 events")
    assert not result.interactions.table["user_id"].is_in(["bot", "fast"]).any()
    assert result.interactions.table.filter(pl.col("user_id") == "import").height == 40
    kept, found = cleaned(dataset, CleanConfig(events=EventCleaningConfig(inhuman_users="keep")))
    assert len(kept.interactions) == len(dataset.interactions)
    assert found["events.inhuman_user"].action == "kept"


def test_clean_a_single_user_is_never_inhuman() -> None:
    _, found = cleaned(shop({"item_id": ["1"]}, events(*[("u", "1", n) for n in range(5000)])))
    assert found == {}


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """Pictures: two of the same scene, one other, and every way to be unusable."""
    random = np.random.default_rng(0)
    scene = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8)).resize((200, 200), Image.Resampling.BICUBIC)
    other = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8)).resize((200, 200), Image.Resampling.BICUBIC)
    scene.save(tmp_path / "scene.png")
    scene.resize((150, 150)).save(tmp_path / "again.jpg", quality=70)
    other.save(tmp_path / "other.png")
    Image.new("RGB", (50, 50), "grey").save(tmp_path / "blank.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "pixel.png")
    (tmp_path / "text.png").write_text("404")
    scene.save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:2000])
    Image.new("1", (10_000, 10_000)).save(tmp_path / "bomb.png")
    return tmp_path


NAMES = [
    "scene.png",
    "again.jpg",
    "other.png",
    "blank.png",
    "pixel.png",
    "text.png",
    "cut.jpg",
    "bomb.png",
    "no.png",
    "../x.png",
    None,
]


def test_clean_unusable_pictures_are_masked_and_their_rows_stay(gallery: Path) -> None:
    dataset = shop(
        {"item_id": [str(n) for n in range(11)], "picture": NAMES},
        media_columns={"image": "picture"},
        media_root=gallery,
    )
    result, found = cleaned(dataset)
    assert result.catalog.table["picture"].to_list() == [*NAMES[:3], *[None] * 8]
    assert {check: (finding.count, finding.total, finding.action) for check, finding in found.items()} == {
        **{
            f"image.{check}": (1, 10, "masked")
            for check in ("blank", "small", "unreadable", "truncated", "bomb", "missing", "outside")
        },
        "image.duplicate": (2, 3, "kept"),
    }
    assert found["image.duplicate"].examples == ("item 0 = item 1, scene.png",)
    assert Translator("zh").said(found["image.duplicate"].examples[0]) == "物品 0 = 物品 1，scene.png"
    assert found["image.bomb"].examples == (
        "item 7, bomb.png: The picture has 10000 x 10000 pixels, the most is 50000000.",
    )


def test_clean_one_placeholder_for_many_items_is_pointed_out(gallery: Path) -> None:
    items = {"item_id": [str(n) for n in range(6)], "picture": ["scene.png"] * 5 + ["other.png"]}
    _, found = cleaned(shop(items, media_columns={"image": "picture"}, media_root=gallery))
    assert found["image.duplicate"].count == 5
    assert "5 rows show one picture, perhaps a placeholder" in found["image.duplicate"].advice


def test_clean_cache_answers_for_files_that_did_not_change(gallery: Path, tmp_path: Path, monkeypatch) -> None:
    dataset = shop(
        {"item_id": [str(n) for n in range(11)], "picture": NAMES},
        media_columns={"image": "picture"},
        media_root=gallery,
    )
    looked: list[str] = []
    look = facts._picture_facts

    def counted(path: Path, *rest):
        looked.append(path.name)
        return look(path, *rest)

    monkeypatch.setattr(facts, "_picture_facts", counted)
    cache = tmp_path / "cache"
    first, _ = cleaned(dataset, cache=cache)
    assert len(looked) == 8
    looked.clear()
    second, _ = cleaned(dataset, cache=cache)
    assert looked == []
    assert second.findings == first.findings
    Image.open(gallery / "other.png").save(gallery / "blank.png")
    third, _ = cleaned(dataset, cache=cache)
    assert looked == ["blank.png"]
    assert third.catalog.table["picture"][3] == "blank.png"
    for file in cache.glob("*/*.parquet"):
        file.write_bytes(b"damaged")
    again, _ = cleaned(dataset, cache=cache)
    assert again.findings == third.findings


def test_clean_keeps_what_was_inspected_before_an_interrupt(gallery: Path, tmp_path: Path, monkeypatch) -> None:
    look = facts._picture_facts

    def interrupted(path: Path, *rest):
        if path.name == "other.png":
            time.sleep(0.3)
            raise KeyboardInterrupt
        return look(path, *rest)

    dataset = shop(
        {"item_id": ["0", "1", "2"], "picture": NAMES[:3]}, media_columns={"image": "picture"}, media_root=gallery
    )
    monkeypatch.setattr(facts, "_picture_facts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cleaned(dataset, cache=tmp_path / "cache")
    assert pl.read_parquet(tmp_path / "cache" / "*" / "*.parquet").height == 2


def test_clean_sounds_silent_clipped_short_long(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("av")
    wave = np.sin(np.arange(16000) * 0.2).astype(np.float32)
    sounds = {
        "fine": 0.5 * wave,
        "silent": 1e-5 * wave,
        "clipped": np.clip(3 * wave, -1, 1),
        "long": np.tile(0.5 * wave, 3),
        "short": wave[:100],
        "zero": wave[:0],
    }
    for name, samples in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, 16000, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("404")
    names = [f"{name}.wav" for name in (*sounds, "text", "none")]
    dataset = shop(
        {"item_id": [str(n) for n in range(8)], "clip": names}, media_columns={"audio": "clip"}, media_root=tmp_path
    )
    result = clean(dataset, CleanConfig(), MediaLimits(max_seconds=2), now=NOW)
    found = {finding.check: (finding.count, finding.action) for finding in result.findings}
    assert found == {
        "audio.silent": (1, "masked"),
        "audio.short": (2, "masked"),
        "audio.unreadable": (1, "masked"),
        "audio.missing": (1, "masked"),
        "audio.clipped": (1, "kept"),
        "audio.long": (1, "kept"),
    }
    assert result.catalog.table["clip"].to_list() == ["fine.wav", None, "clipped.wav", "long.wav", *[None] * 4]


def test_clean_event_words_and_pictures(gallery: Path) -> None:
    table = events(("u", "1", 1), ("v", "1", 2), text=["<b>很好</b>", None], image=["text.png", "other.png"])
    dataset = shop({"item_id": ["1"]}, table, media_root=gallery)
    result, found = cleaned(dataset)
    assert result.interactions.table["text"].to_list() == ["很好", None]
    assert result.interactions.table["image"].to_list() == [None, "other.png"]
    assert sorted(found) == ["events.image.unreadable", "events.text.html"]
    assert found["events.text.html"].examples == ("user u on item 1, text: '<b>很好</b>' became '很好'",)
    unopened, found = cleaned(dataset, CleanConfig(max_event_media=1))
    assert unopened.interactions.table["image"].to_list() == ["text.png", "other.png"]


def test_near_pairs_equal_a_full_comparison() -> None:
    random = np.random.default_rng(0)
    base = random.integers(0, 1 << 63, 300, dtype=np.uint64)
    flipped = base.copy()
    for _ in range(4):
        flipped ^= np.uint64(1) << random.integers(0, 64, 300, dtype=np.uint64)
    hashes = np.unique(np.concatenate([base, flipped, random.integers(0, 1 << 20, 3000, dtype=np.uint64)]))
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    expected = np.argwhere(np.triu(distance <= 3, k=1))
    np.testing.assert_array_equal(near_pairs(hashes), expected)


def test_group_duplicates_equal_hashes_with_other_colours_are_apart() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 3, (64, 1))
    dark = Image.fromarray(np.stack([ramp, ramp // 8, ramp // 8], axis=2))
    pictures = [dark, dark.resize((40, 40)), Image.fromarray(np.stack([ramp // 8, ramp, ramp // 8], axis=2))]
    hashes = np.array([difference_hash(picture) for picture in pictures], np.uint64)
    cells = np.stack([np.frombuffer(thumbnail(picture), np.uint8) for picture in pictures])
    assert hashes[0] == hashes[2]
    groups = group_duplicates(hashes, cells)
    assert groups[0] == groups[1] != groups[2]


def test_clean_real_posters_in_seconds_and_again_at_once(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "ml1m_mm"
    names = sorted(path.relative_to(root).as_posix() for path in (root / "images").glob("*.jpg"))
    dataset = shop(
        {"item_id": [str(n) for n in range(len(names))], "poster": names},
        media_columns={"image": "poster"},
        media_root=root,
    )
    first, found = cleaned(dataset, cache=tmp_path)
    second, _ = cleaned(dataset, cache=tmp_path)
    assert sorted(found) == ["image.duplicate"]
    assert found["image.duplicate"].count == 18  # nine pairs, all true by eye
    assert second.findings == first.findings


def test_clean_repeats_leave_the_first_choice_where_wanted() -> None:
    table = events(
        ("u", "1", 30), ("u", "1", 50), ("u", "1", 10), ("u", "2", 20), ("v", "1", 5), ("u", "1", None), ("u", "1", 1, "like")
    )  # fmt: skip
    dataset = shop({"item_id": ["1", "2"]}, table)
    kept, found = cleaned(dataset)
    assert len(kept.interactions) == 7
    assert "events.repeat" not in found
    wanted = CleanConfig(events=EventCleaningConfig(repeats="drop"))
    firsts, found = cleaned(dataset, wanted)
    minutes = [None if at is None else (NOW - at).seconds // 60 for at in firsts.interactions.table["at"]]
    assert minutes == [50, 20, 5, None, 1]
    assert (found["events.repeat"].count, found["events.repeat"].action) == (2, "dropped")


def test_clean_repeats_of_a_published_split_stay() -> None:
    table = events(("u", "1", 30), ("u", "1", 50), part=["train", "test"])
    firsts, _ = cleaned(shop({"item_id": ["1"]}, table), CleanConfig(events=EventCleaningConfig(repeats="drop")))
    assert len(firsts.interactions) == 2
