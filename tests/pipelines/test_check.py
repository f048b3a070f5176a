"""What would stop a run is told before it starts, all at once, with what it will cost; a result is made by one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from penchant.core.artifacts import reserved
from penchant.core.errors import ArtifactError, ConfigError, DataError
from penchant.data.read.sources import read
from penchant.encoders.catalog import encode_catalog, estimate_encoding
from penchant.pipelines import tasks

ITEMS = "item_id,title\n" + "\n".join(f"i{n},the title of number {n}" for n in range(12))
WRONG = """
[data]
path = "."
[content.words]
encoder = "tfidd"
[content.titles]
encoder = "tfidf"
columns = ["titel"]
[members.a]
model = "eaze"
[members.b]
model = "ease"
regularisation = [10, -5]
[members.c]
model = "content_knn"
channel = "titles "
"""
RIGHT = '[data]\npath = "."\n[content.titles]\nencoder = "tfidf"\n'


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [f"u{user},i{(5 * user + n) % 12},{1_600_000_000 + 3600 * n}" for user in range(40) for n in range(6)]
    (tmp_path / "interactions.csv").write_text("\n".join(["user_id,item_id,at", *rows]))
    (tmp_path / "items.csv").write_text(ITEMS)
    return tmp_path


def toml(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_every_problem_is_told_at_once(shop: Path) -> None:
    found = tasks.check(toml(shop, WRONG))
    assert [error.where for error in found.problems] == [
        "content.words.encoder",
        "content.titles.columns",
        "members.a.model",
        "members.b: regularisation",
        "members.c.channel",
    ]


def test_a_right_run_is_counted_and_estimated(shop: Path) -> None:
    found = tasks.check(toml(shop, RIGHT))
    assert found.problems == []
    assert found.lines[0].startswith("240 events of 40 users and 12 items")
    assert any("titles" in line and "12 items" in line for line in found.lines)
    assert any(line.startswith("fit and evaluate the default members: about") for line in found.lines)
    assert not (shop / "runs" / "run").exists()


def test_time_to_encode_grows_with_the_items_that_are_missing(shop: Path) -> None:
    text = RIGHT.replace('"tfidf"', '"minilm"')
    items = "item_id,title\n" + "\n".join(f"i{n},the title of number {n}" for n in range(60))
    (shop / "items.csv").write_text(items)
    config = tasks.read_settings(toml(shop, text))
    catalog = read(config.data).catalog
    (all_missing,) = estimate_encoding(catalog, config.content, cache=shop / "cache", limits=config.media)
    encode_catalog(catalog, config.content, cache=shop / "cache", limits=config.media)
    (none_missing,) = estimate_encoding(catalog, config.content, cache=shop / "cache", limits=config.media)
    assert (all_missing.items, all_missing.missing) == (60, 60)
    assert all_missing.seconds > 0
    assert (none_missing.missing, none_missing.seconds) == (0, 0)


def test_a_run_ends_before_anything_is_fitted_where_a_later_value_of_a_grid_is_wrong(shop: Path) -> None:
    with pytest.raises(ConfigError, match="regularisation"):
        tasks.run(toml(shop, '[data]\npath = "."\n[members.b]\nmodel = "ease"\nregularisation = [10, -5]\n'))


def test_an_output_that_cannot_be_written_is_told_before_the_run(shop: Path) -> None:
    (shop / "file").write_text("")
    with pytest.raises(ArtifactError, match="could not be written"):
        tasks.run(toml(shop, 'output = "file/below"\n' + RIGHT))
    assert not (shop / "runs" / "cache").exists()


def test_two_runs_cannot_make_one_result(shop: Path) -> None:
    with reserved(shop / "runs" / "run"), pytest.raises(ArtifactError, match="Another run"):
        tasks.run(toml(shop, RIGHT))
    assert [type(error) for error in tasks.check(toml(shop, RIGHT)).problems] == []


def test_other_files_are_never_replaced(shop: Path) -> None:
    (shop / "mine").mkdir()
    (shop / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ArtifactError, match="holds other files"):
        tasks.run(toml(shop, 'output = "mine"\n' + RIGHT))


NO_PICTURES = r"None of the 12 files in the column 'photo' can be used as image: 12 missing"


@pytest.mark.parametrize(
    ("settings", "fix"),
    [
        ("", "leave the column out: [data] media = {}"),
        ('[content.look]\nencoder = "efficientnet"\ncolumns = ["photo"]\n', "leave out [content.look]"),
    ],
)
def test_a_column_of_pictures_that_are_not_there_ends_a_run_before_anything_is_encoded(
    shop: Path, settings: str, fix: str
) -> None:
    (shop / "items.csv").write_text(
        "item_id,title,photo\n" + "\n".join(f"i{n},the title of number {n},p/{n}.jpg" for n in range(12))
    )
    settings = f'[data]\npath = "."\n{settings}'
    (found,) = tasks.check(toml(shop, settings)).problems
    assert NO_PICTURES[:40] in found.message
    assert "p/0.jpg" in found.where
    assert found.fix.endswith(fix)
    with pytest.raises(DataError, match=NO_PICTURES):
        tasks.run(toml(shop, settings))
    assert not (shop / "runs" / "cache").exists()
    (shop / "p").mkdir()
    (shop / "p" / "7.jpg").write_bytes(b"one of twelve is enough")
    assert tasks.check(toml(shop, settings)).problems == []


def test_a_column_that_no_channel_reads_may_lack_its_files(shop: Path) -> None:
    (shop / "items.csv").write_text(
        "item_id,title,photo\n" + "\n".join(f"i{n},the title of number {n},p/{n}.jpg" for n in range(12))
    )
    assert tasks.check(toml(shop, RIGHT)).problems == []


def test_pictures_of_users_and_of_their_events_are_looked_for_too(shop: Path) -> None:
    rows = [f"u{user},i{(5 * user + n) % 12},p/{user}.png" for user in range(40) for n in range(6)]
    (shop / "interactions.csv").write_text("\n".join(["user_id,item_id,image", *rows]))
    (shop / "users.csv").write_text("user_id,face\n" + "\n".join(f"u{user},f/{user}.png" for user in range(40)))
    settings = '[data]\npath = "."\n[split]\nkind = "random"\n'
    photos, avatars = tasks.check(toml(shop, settings)).problems
    assert "None of the 240 files in the column 'image'" in photos.message
    assert "None of the 40 files in the column 'face'" in avatars.message
    assert avatars.fix.endswith("leave the column out: [data] user_media = {}")


def test_a_labelled_table_whose_pictures_are_not_there_is_told_before_the_run(tmp_path: Path) -> None:
    rows = [f"words of number {n},p/{n}.png,{'ab'[n % 2]}" for n in range(20)]
    (tmp_path / "samples.csv").write_text("\n".join(["text,picture,label", *rows]))
    (found,) = tasks.check(toml(tmp_path, 'task = "classification"\n[data]\npath = "samples.csv"\n')).problems
    assert "None of the 20 files in the column 'picture' can be used as image: 20 missing" in found.message
