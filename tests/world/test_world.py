"""The sample world: equal for equal seeds, readable like any platform's data, and hiding what it says it hides."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from scipy.stats import chi2_contingency

from penchant.core.errors import ArtifactError, ConfigError
from penchant.core.schema import Content, Dataset, Vocabulary
from penchant.core.seeds import generator
from penchant.data.clean.dataset import CleanConfig, clean
from penchant.data.clean.normalisation import language
from penchant.data.event_weights import HistoriesConfig
from penchant.data.histories import build_histories
from penchant.data.media import MediaLimits, load_audio
from penchant.data.read.sources import DataConfig, read
from penchant.data.split.interactions import SplitConfig, split
from penchant.models.linear import EASE, EASEConfig
from penchant.models.popularity import Popularity
from penchant.world import WorldConfig, WorldTruth, make_world
from penchant.world.choices import FAVOURITE_UTILITY
from penchant.world.drawing import COLOURS, MOTIFS, SIDE, draw_cover
from penchant.world.items import ATTRIBUTES
from penchant.world.sound import INSTRUMENTS, RATE, SECONDS, play
from penchant.world.users import DRIVERS, REASONS
from penchant.world.words import REVIEWS, write_item

TABLES = ("items.csv", "users.csv", "interactions.csv", "truth/items.csv", "truth/users.csv", "truth/events.csv")


@dataclass(frozen=True)
class Tiny:
    """A tiny world, as it was made and as it is read."""

    truth: WorldTruth
    raw: Dataset
    dataset: Dataset


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    truth = make_world(tmp_path_factory.mktemp("worlds") / "tiny", WorldConfig(size="tiny"))
    raw = read(DataConfig(path=truth.folder))
    return Tiny(truth, raw, clean(raw, CleanConfig(), MediaLimits()))


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_equal_seeds_give_equal_files_other_seeds_do_not(tiny: Tiny, tmp_path: Path) -> None:
    again = make_world(tmp_path / "again", WorldConfig(size="tiny"))
    other = make_world(tmp_path / "other", WorldConfig(size="tiny", seed=1, media=False))
    first, second = bytes_of(tiny.truth.folder), bytes_of(again.folder)
    assert first == second
    assert {"items.csv", "truth/defects.csv"} < first.keys()
    third = bytes_of(other.folder)
    assert all(third[name] != first[name] for name in TABLES)


def test_a_finished_world_is_not_made_again_and_a_damaged_one_is(tmp_path: Path) -> None:
    config = WorldConfig(size="tiny", media=False)
    folder = make_world(tmp_path / "world", config).folder
    made_at = (folder / "items.csv").stat().st_mtime_ns
    make_world(folder, config)
    assert (folder / "items.csv").stat().st_mtime_ns == made_at
    (folder / "items.csv").write_text("item_id\ni1\n")
    assert make_world(folder, config).items.height == pl.read_csv(folder / "items.csv").height


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="holds other files"):
        make_world(tmp_path, WorldConfig(size="tiny", media=False))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="size = 'huge' does not fit"):
        WorldConfig.read({"size": "huge"}, where="[world]")


def test_the_reader_finds_every_column_without_being_told(tiny: Tiny) -> None:
    catalog = tiny.raw.catalog
    assert catalog.title_column == "title"
    assert catalog.text_columns == ("title", "description")
    assert catalog.media_columns == {"image": "picture", "audio": "sound"}
    assert set(catalog.attribute_columns) == {"category", "price", "language"}
    assert tiny.raw.users is not None


def test_no_table_but_the_truth_names_a_hidden_attribute(tiny: Tiny) -> None:
    columns = {c for name in TABLES[:3] for c in pl.read_csv(tiny.truth.folder / name).columns}
    assert not columns & {*ATTRIBUTES, "colour", "tempo", "appeal", "season", "driver", "reason", "released_on"}


def test_cleaning_finds_exactly_the_planted_defects(tiny: Tiny) -> None:
    found = {finding.check: finding.count for finding in tiny.dataset.findings}
    planted = tiny.truth.defect_counts()
    assert len(planted) == 12
    assert {check: found.get(check) for check in planted} == planted
    told = " ".join(example for finding in tiny.dataset.findings for example in finding.examples)
    spoiled = tiny.truth.defects.filter(pl.col("check").str.contains("image|audio|text"))["item_id"]
    assert all(f"item {item}" in told for item in spoiled)


def test_what_is_usable_after_cleaning_is_what_the_truth_says(tiny: Tiny) -> None:
    table, truth = tiny.dataset.catalog.table, tiny.truth.items
    assert table["item_id"].to_list() == truth["item_id"].to_list()
    for column, has in (("picture", "has_picture"), ("sound", "has_sound"), ("description", "has_text")):
        assert table[column].is_not_null().to_list() == truth[has].to_list()
        assert 0 < (~truth[has]).sum() < 0.3 * truth.height


def test_without_defects_nothing_is_found_but_the_columns(tmp_path: Path) -> None:
    truth = make_world(tmp_path / "clean", WorldConfig(size="tiny", defects=False))
    dataset = clean(read(DataConfig(path=truth.folder)), CleanConfig(), MediaLimits())
    assert truth.defects.height == 0
    assert {finding.check for finding in dataset.findings} <= {
        "items.roles",
        "users.roles",
        "image.duplicate",
        "text.duplicate",
    }


def test_nobody_chooses_twice_before_release_or_outside_their_year(tiny: Tiny) -> None:
    events = tiny.truth.events().filter(pl.col("reason") != "robot").unique()
    events = events.filter(pl.col("at").dt.year() < 2099, ~pl.col("item_id").str.starts_with("gone-"))
    assert events.select("user_id", "item_id").is_unique().all()
    released = events.join(tiny.truth.items.select("item_id", "released_on"), on="item_id")
    assert (released["at"].dt.ordinal_day() - 1 >= released["released_on"]).all()
    assert (events["at"].dt.year() == 2024).all()


def test_each_reason_picks_what_it_names(tiny: Tiny) -> None:
    events = tiny.truth.events().join(tiny.truth.items, on="item_id").join(tiny.truth.users, on="user_id")
    for name in ATTRIBUTES:
        chosen = events.filter(pl.col("reason") == name)
        liked = pl.col(f"likes_{name}").str.split("|").list.concat(pl.col(f"later_{name}").str.split("|"))
        share = chosen.select(pl.col(name).is_in(liked).mean()).item()
        assert share > 0.75, name
    skipped = events.filter(pl.col("reason") == "skip")
    first = pl.col("likes_motif").str.split("|").list.first()
    assert skipped.filter(pl.col("changes_on").is_null()).select((pl.col("motif") == first).sum()).item() == 0


def test_regrets_are_told_in_words_alone(tmp_path: Path) -> None:
    config = WorldConfig(size="tiny", media=False, defects=False, regret_share=0.3, review_share=0.5)
    truth = make_world(tmp_path / "world", config)
    said = read(DataConfig(path=truth.folder)).interactions.table
    events = said.join(
        truth.events().with_columns(pl.col("at").cast(said["at"].dtype)), on=["user_id", "item_id", "at"]
    )
    regrets = events.filter(pl.col("reason") == "regret")
    assert 0.22 < regrets.height / events.height < 0.32  # of those that are no skips
    assert set(regrets["kind"]) == {"click", "cart", "purchase"}
    assert {text for words in REVIEWS.values() for text in words["regret"]} == set(regrets["text"].drop_nulls())
    liked = truth.users.select("user_id", first=pl.col("likes_motif").str.split("|").list.first())
    hidden = regrets.join(truth.items, on="item_id").join(liked.drop_nulls(), on="user_id")
    changed = truth.users.filter(pl.col("changes_on").is_not_null())["user_id"]
    hidden = hidden.filter(~pl.col("user_id").is_in(changed.implode()))
    assert (hidden["motif"] != hidden["first"]).all()


def test_users_choose_by_what_drives_them(tiny: Tiny) -> None:
    events = tiny.truth.events().join(tiny.truth.users.select("user_id", "driver"), on="user_id")
    events = events.filter(pl.col("reason") != "skip")
    for driver in ("motif", "topic", "timbre", "circle"):
        own = events.filter(pl.col("driver") == driver)
        by_reason = dict(own.group_by("reason").len().iter_rows())
        assert by_reason[driver] > 0.7 * own.height
        assert not {"motif", "topic", "timbre"} - {driver} & by_reason.keys()
    assert set(tiny.truth.users["driver"]) == set(DRIVERS)
    assert sorted(tiny.truth.users_by("mixture")) == sorted(
        tiny.truth.users.filter(pl.col("driver") == "mixture")["user_id"]
    )
    assert sum(share for share, _ in DRIVERS.values()) == pytest.approx(1)
    assert all(sum(shares) == pytest.approx(1) and len(shares) == len(REASONS) for _, shares in DRIVERS.values())
    assert FAVOURITE_UTILITY[0] > FAVOURITE_UTILITY[1] > 0


def test_hidden_attributes_are_independent(tmp_path: Path) -> None:
    items = make_world(tmp_path / "many", WorldConfig(num_items=3000, num_users=40, media=False)).items
    names = [*ATTRIBUTES, "colour", "tempo", "season", "language"]
    for row, one in enumerate(names):
        for other in names[:row]:
            table = items.pivot(other, index=one, values="item_id", aggregate_function="len").drop(one).fill_null(0)
            assert chi2_contingency(table.to_numpy()).pvalue > 1e-4, (one, other)


def test_new_items_have_few_events(tiny: Tiny) -> None:
    counts = tiny.dataset.interactions.table.group_by("item_id").len()
    counts = tiny.truth.items.join(counts, on="item_id", how="left").fill_null(0)
    new, old = counts.filter("is_new")["len"].mean(), counts.filter(~pl.col("is_new"))["len"].mean()
    assert isinstance(new, float)
    assert isinstance(old, float)
    assert new < old
    assert counts["is_new"].sum() == round(0.25 * counts.height)


def test_both_languages_are_written_in_their_own_script(tiny: Tiny) -> None:
    table = tiny.dataset.catalog.table.drop_nulls("description")
    said = [language(text) for text in table["description"]]
    assert said == table["language"].to_list()
    assert {"en", "zh"} == set(said)
    reviews = tiny.dataset.interactions.table.drop_nulls("text")
    assert 0.02 < reviews.height / len(tiny.dataset.interactions) < 0.08
    spoken = reviews.join(tiny.truth.users.select("user_id", "language"), on="user_id")
    assert [language(text) for text in spoken["text"]] == spoken["language"].to_list()


def test_words_name_no_colour_and_no_sound() -> None:
    banned = re.compile(
        r"\b(red|amber|green|teal|blue|violet|pink|gr[ea]y|orange|yellow|purple|golden|black|white|flutes?|bells?|strings?"
        r"|harps?|drums?|organ|reeds?|songs?|music|melod\w+|loud|quiet|silent)\b|[红橙黄绿青蓝紫粉灰黑白钟鼓笛琴弦铃歌曲]|音乐",
        re.IGNORECASE,
    )
    rng = generator(0, "test.words")
    for topic in ATTRIBUTES["topic"]:
        for tongue in ("en", "zh"):
            for _ in range(200):
                title, description = write_item(topic, tongue, rng)
                text = re.sub("青训营", "", f"{title} {description}")
                assert not banned.search(text), text
                assert "{" not in text


def test_titles_differ(tiny: Tiny) -> None:
    assert tiny.truth.items.height == pl.read_csv(tiny.truth.folder / "items.csv")["title"].n_unique()


@pytest.mark.parametrize("motif", MOTIFS)
def test_a_cover_shows_its_colour_family(motif: str) -> None:
    for colour, (hue, saturation, _) in COLOURS.items():
        cover = draw_cover(motif, colour, generator(3, f"test.{motif}.{colour}"))
        assert cover.size == (SIDE, SIDE)
        pixels = np.asarray(cover.convert("HSV"), np.float64).reshape(-1, 3)
        if saturation < 0.1:
            assert pixels[:, 1].mean() < 40
            continue
        vivid = pixels[pixels[:, 1] > 60]
        turn = np.angle(np.exp(1j * vivid[:, 0] / 255 * 2 * np.pi).mean(), deg=True)
        assert abs((turn - hue + 180) % 360 - 180) < 20


@pytest.mark.parametrize("timbre", INSTRUMENTS)
def test_a_sound_is_whole_and_not_clipped(timbre: str) -> None:
    samples = play(timbre, "medium", generator(0, f"test.{timbre}"))
    assert samples.dtype == np.float32
    assert len(samples) == int(RATE * SECONDS)
    assert 0.3 < np.abs(samples).max() < 0.99
    assert np.sqrt(np.mean(samples**2)) > 0.01


def test_media_files_decode_at_their_size_and_rate(tiny: Tiny) -> None:
    table = tiny.dataset.catalog.table
    with Image.open(tiny.truth.folder / table["picture"].drop_nulls()[0]) as cover:
        assert cover.size == (SIDE, SIDE)
    assert len(load_audio(tiny.truth.folder / table["sound"].drop_nulls()[0], MediaLimits())) == int(RATE * SECONDS)


def test_a_world_without_media_names_none(tmp_path: Path) -> None:
    truth = make_world(tmp_path / "bare", WorldConfig(size="tiny", media=False))
    assert "picture" not in pl.read_csv(truth.folder / "items.csv").columns
    assert not (truth.folder / "images").exists()
    assert not truth.items["has_picture"].any()


def test_large_tables_are_parquet_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penchant.world.settings.MAX_CSV_EVENTS", 1000)
    monkeypatch.setattr("penchant.world.generation.CHUNK", 40)
    truth = make_world(tmp_path / "large", WorldConfig(size="tiny", media=False))
    dataset = read(DataConfig(path=truth.folder))
    assert not list(truth.folder.glob("*.csv"))
    assert len(dataset.interactions) == truth.events().height
    assert dataset.interactions.table["user_id"].n_unique() == truth.users.height + 1
    assert WorldTruth.read(truth.folder).items.equals(truth.items)


def test_behaviour_pays_even_in_the_tiny_world(tiny: Tiny) -> None:
    parts = split(tiny.dataset.interactions, SplitConfig(kind="random", test_share=0.25, validation_share=0.05), 0)
    items = Vocabulary(tiny.dataset.catalog.item_ids)
    users = tiny.truth.users["user_id"].to_list()
    train = build_histories(parts.train, items, HistoriesConfig(), users=users)
    test = build_histories(parts.test, items, HistoriesConfig(), users=users).matrix().toarray() > 0
    seen = train.matrix().toarray() != 0

    def recall(scores: np.ndarray) -> float:
        top = np.argsort(-np.where(seen, -np.inf, scores), axis=1)[:, :10]
        return float((np.take_along_axis(test, top, 1).sum(1) / np.maximum(test.sum(1), 1)).mean())

    content = Content()
    popular = recall(Popularity().fit(train, content).score(train))
    ease = recall(EASE(EASEConfig(regularisation=50.0)).fit(train, content).score(train))
    assert ease > 1.15 * popular
