"""Descriptions by a model whose every word can be foreseen: `conftest.FOLLOWS`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from penchant.core.errors import ConfigError, EncoderError
from penchant.core.schema import INTERACTION_SCHEMA, Catalog, Dataset, Interactions
from penchant.language.descriptions import DescribeConfig, DescriptionWriter, describe

PLOTS = ["a long story of robots", "a long story of love", None, "short", "a long story of robots"]


def dataset(plots: list[str | None] = PLOTS) -> Dataset:
    rows = len(plots)
    table = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(rows)],
            "title": [f"Title {n}" for n in range(rows)],
            "plot": plots,
            "genres": [["action", "drama"]] * rows,
        },
        schema_overrides={"plot": pl.String},
    )
    catalog = Catalog(table, "title", ("title", "plot"), attribute_columns=("genres",))
    return Dataset(catalog, Interactions(pl.DataFrame(schema=INTERACTION_SCHEMA)))


def settings(parrot: Path, **options: Any) -> DescribeConfig:
    given = {"model": str(parrot), "columns": ["plot"], "min_characters": 10, "prompt": "{content}", **options}
    return DescribeConfig(**given)


def column(made: Dataset) -> list[str | None]:
    return made.catalog.table["described"].to_list()


def noticed(made: Dataset) -> dict[str, int]:
    return {finding.check.removeprefix("describe."): finding.count for finding in made.findings}


def test_items_with_words_of_their_own_are_described(parrot: Path, tmp_path: Path) -> None:
    made = describe(dataset(), settings(parrot, keep_ungrounded=True), cache=tmp_path)
    assert column(made) == ["they fight far .", "Paris is far .", None, None, "they fight far ."]
    assert noticed(made) == {"written": 3, "too_little": 2}
    assert made.catalog.text_columns == ("title", "plot")  # only a channel that names it reads it


def test_names_the_content_does_not_have_are_taken_out(parrot: Path, tmp_path: Path) -> None:
    made = describe(dataset(["a Paris story of love", "a long story of is love"]), settings(parrot), cache=tmp_path)
    assert column(made) == ["Paris is far .", "Paris is far ."]  # a first word has its capital anyway


def test_nothing_is_written_twice_and_a_stopped_run_goes_on(
    parrot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    write = DescriptionWriter.__call__

    def counting(self: DescriptionWriter, contents: list[str]) -> list[str]:
        asked.extend(contents)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return write(self, contents)

    monkeypatch.setattr(DescriptionWriter, "__call__", counting)
    with pytest.raises(KeyboardInterrupt):
        describe(dataset(), settings(parrot, batch_size=1), cache=tmp_path)
    describe(dataset(), settings(parrot, batch_size=1), cache=tmp_path)
    assert asked == ["plot: a long story of robots", "plot: a long story of love", "plot: a long story of love"]
    describe(dataset(), settings(parrot), cache=tmp_path)
    assert len(asked) == 3
    describe(dataset(), settings(parrot, max_tokens=70), cache=tmp_path)  # another setting: all anew
    assert len(asked) == 5


def test_item_that_fails_does_not_stop_the_others(
    parrot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = DescriptionWriter.__call__

    def picky(self: DescriptionWriter, contents: list[str]) -> list[str]:
        if any("love" in content for content in contents):
            raise IndexError("index out of range")
        return write(self, contents)

    monkeypatch.setattr(DescriptionWriter, "__call__", picky)
    plots = ["a long story of silence", *PLOTS]
    made = describe(dataset(plots), settings(parrot), cache=tmp_path)
    assert column(made) == [None, "they fight far .", None, None, None, "they fight far ."]
    failed = next(finding for finding in made.findings if finding.check == "describe.failed")
    assert failed.count == 2
    assert set(failed.examples) == {
        "item i0: the model wrote no whole sentence within 320 tokens: raise describe.max_tokens",
        "item i2: IndexError: index out of range",
    }


def test_a_limit_that_is_too_short_is_raised_for_those_that_need_it(parrot: Path, tmp_path: Path) -> None:
    """Of these the second ends after four words, within four times a limit of one, and the third never."""
    plots = ["a long story that is far", "a long story of robots", "a long story of silence"]
    made = describe(dataset(plots), settings(parrot, max_tokens=1), cache=tmp_path)
    assert column(made) == [".", "they fight far .", None]
    failed = next(finding for finding in made.findings if finding.check == "describe.failed")
    assert failed.examples == ("item i2: the model wrote no whole sentence within 4 tokens: raise describe.max_tokens",)


def test_model_that_fails_on_everything_stops(parrot: Path, tmp_path: Path) -> None:
    with pytest.raises(
        EncoderError,
        match="fails on every item of its first batch: the model wrote no whole sentence",
    ):
        describe(dataset(["a long silence", "some more silence"]), settings(parrot), cache=tmp_path)


def test_written_batch_by_batch_is_the_same(parrot: Path, tmp_path: Path) -> None:
    one, all_at_once = (
        column(describe(dataset(), settings(parrot, batch_size=size), cache=tmp_path / str(size))) for size in (1, 8)
    )
    assert one == all_at_once


@pytest.mark.parametrize("columns", [["title"], ["title", "genres"]])
def test_title_without_words_is_never_asked_about(parrot: Path, tmp_path: Path, columns: list[str]) -> None:
    with pytest.raises(ConfigError, match="would read title"):
        describe(dataset(), settings(parrot, columns=columns), cache=tmp_path)


def test_title_counts_nothing_toward_the_words_an_item_needs(
    parrot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        DescriptionWriter, "__call__", lambda self, contents: seen.extend(contents) or ["Good." for _ in contents]
    )
    describe(dataset(), settings(parrot, columns=["title", "plot", "genres"]), cache=tmp_path)
    assert sorted(seen) == [
        "title: Title 0\nplot: a long story of robots\ngenres: action, drama",
        "title: Title 1\nplot: a long story of love\ngenres: action, drama",
        "title: Title 4\nplot: a long story of robots\ngenres: action, drama",
    ]


def test_no_settings_change_nothing(tmp_path: Path) -> None:
    given = dataset()
    assert describe(given, None, cache=tmp_path) is given


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["plots"]}, "There is no item column 'plots'"),
        ({"into": "plot"}, "The items have a column 'plot' already"),
        ({"prompt": "Describe it."}, "The prompt has no placeholder for the item's content"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    parrot: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        describe(dataset(), settings(parrot, **options), cache=tmp_path)
