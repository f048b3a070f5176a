"""From files and tables to the three nouns, and what bad input is answered with."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from penchant.core.errors import ConfigError, DataError
from penchant.core.schema import INTERACTION_SCHEMA, Dataset, Finding
from penchant.data.read.sources import DataConfig, from_tables, read

EVENTS = "user_id,item_id,at\nu1,a,2024-05-01T10:00:00Z\nu1,b,2024-05-02T10:00:00Z\nu2,a,2024-05-03T10:00:00Z\n"
ITEMS = "item_id,title,genre\na,First,jazz\nb,Second,rock\n"
TABLE = {"user_id": ["u1", "u1", "u2"], "item_id": ["a", "b", "a"], "at": [1_700_000_000, 1_700_000_060, 1_700_000_120]}


def folder(tmp_path: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        path = tmp_path / name.replace("__", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return tmp_path


def finding(dataset: Dataset, check: str) -> Finding:
    return next(f for f in dataset.findings if f.check == check)


def at(dataset: Dataset) -> list[datetime | None]:
    return dataset.interactions.table["at"].to_list()


def events(**columns: list[object]) -> Dataset:
    return from_tables(pl.DataFrame(TABLE | columns, strict=False))


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl", "ndjson", "csv.gz", "tsv.gz", "jsonl.gz"])
def test_every_format_gives_the_same_events(tmp_path: Path, ending: str) -> None:
    table, path = pl.DataFrame(TABLE), tmp_path / f"events.{ending}"
    kind = ending.removesuffix(".gz")
    if kind == "parquet":
        table.write_parquet(path)
    else:
        text = table.write_ndjson() if "json" in kind else table.write_csv(separator="\t" if kind == "tsv" else ",")
        path.write_bytes(gzip.compress(text.encode()) if ending.endswith(".gz") else text.encode())
    found = read(DataConfig(path=tmp_path))
    assert found.interactions.table.equals(from_tables(table).interactions.table)
    assert found.interactions.table.schema == INTERACTION_SCHEMA
    assert found.catalog.item_ids == ["a", "b"]


def test_a_json_array_and_a_folder_of_files_are_read(tmp_path: Path) -> None:
    parts = tmp_path / "clicks"
    parts.mkdir()
    pl.DataFrame(TABLE).head(1).write_parquet(parts / "0.parquet")
    (parts / "1.json").write_text(pl.DataFrame(TABLE).tail(2).write_json())
    assert read(DataConfig(path=tmp_path)).interactions.table["item_id"].to_list() == ["a", "b", "a"]


def test_path_may_be_the_file_of_events(tmp_path: Path) -> None:
    path = folder(tmp_path, mine__csv=EVENTS) / "mine.csv"
    assert len(read(DataConfig(path=path)).interactions) == 3


def test_pandas_polars_and_arrow_are_equal() -> None:
    frame = pl.DataFrame(TABLE)
    for table in (frame, frame.lazy(), frame.to_pandas(), frame.to_arrow(), pd.DataFrame(TABLE)):
        assert from_tables(table).interactions.table.equals(from_tables(frame).interactions.table)


def test_columns_are_mapped_and_users_kept(tmp_path: Path) -> None:
    folder(
        tmp_path,
        log__csv="who,what,when,user_id,did,stars,words\n7,a,1700000000,x,Like ,5,好\n8,b,1700000001,y,,2,\n",
        shop__csv="sku,name,genre\na,First,jazz\nb,Second,rock\n",
        people__csv="who,age,zip\n7,31,02134\n8,40,10001\n",
    )
    columns = {"user_id": "who", "item_id": "what", "at": "when", "kind": "did", "value": "stars", "text": "words"}
    found = read(
        DataConfig(
            path=tmp_path,
            interactions="log.csv",
            items="shop.csv",
            users="people.csv",
            columns=columns,
            item_columns={"item_id": "sku", "title": "name"},
            user_columns={"user_id": "who"},
            default_kind="View",
        )
    )
    table = found.interactions.table
    assert table["user_id"].to_list() == ["7", "8"]
    assert table["kind"].to_list() == ["like", "view"]
    assert table["value"].to_list() == [5.0, 2.0]
    assert table["text"].to_list() == ["好", None]
    assert found.catalog.titles() == ["First", "Second"]
    assert found.users is not None
    assert found.users.table["age"].to_list() == [31, 40]
    assert found.users.table["zip"].to_list() == ["02134", "10001"]


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([1_714_557_600, 1_714_557_601, None], "seconds"),
        ([1_714_557_600_000, 1_714_557_601_000, None], "milliseconds"),
        ([1_714_557_600_000_000, 1_714_557_601_000_000, None], "microseconds"),
        ([1_714_557_600_000_000_000, 1_714_557_601_000_000_000, None], "nanoseconds"),
        ([1_714_557_600.0, 1_714_557_601.0, float("nan")], "seconds"),
        (["1714557600", " 1714557601", None], "seconds"),
    ],
)
def test_numbers_become_times_by_their_size(values: list[object], unit: str) -> None:
    found = events(at=values)
    assert at(found) == [datetime(2024, 5, 1, 10, 0, 0, tzinfo=UTC), datetime(2024, 5, 1, 10, 0, 1, tzinfo=UTC), None]
    assert unit in finding(found, "events.time_unit").advice
    assert "its user's oldest" in finding(found, "events.no_time").advice


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-01T10:00:00Z",
        "2024-05-01 10:00:00",
        "2024-05-01 10:00",
        "2024/05/01 18:00:00+08:00",
        "2024-05-01T18:00:00.000+0800",
        "2024-05-01 10:00:00 UTC",
    ],
)
def test_iso_text_becomes_utc(text: str) -> None:
    assert at(events(at=[text, "2024-05-02", None])) == [
        datetime(2024, 5, 1, 10, tzinfo=UTC),
        datetime(2024, 5, 2, tzinfo=UTC),
        None,
    ]


def test_datetimes_with_and_without_zone_become_utc() -> None:
    naive = pd.to_datetime(["2024-05-01 10:00", "2024-05-01 11:00", None])
    zoned = naive.tz_localize("UTC").tz_convert("Asia/Shanghai")
    for times in (naive, zoned):
        found = from_tables(pd.DataFrame(TABLE | {"at": times}))
        assert at(found)[:2] == [datetime(2024, 5, 1, 10, tzinfo=UTC), datetime(2024, 5, 1, 11, tzinfo=UTC)]


def test_sequence_numbers_are_told_apart_from_times() -> None:
    note = finding(events(at=[1, 2, 3]), "events.time_unit")
    assert note.severity == "warning"
    assert "positions in a sequence" in note.advice


def test_missing_times_are_allowed() -> None:
    found = from_tables(pl.DataFrame(TABLE).drop("at"))
    assert at(found) == [None] * 3
    assert "only random" in finding(found, "events.no_time").advice


def test_ids_that_differ_by_spaces_or_unicode_form_are_one() -> None:
    found = events(user_id=["Zoë", "Zoe\u0308 ", "\u3000Zoë"], item_id=["a", " a", "b"])
    assert found.interactions.table["user_id"].to_list() == ["Zoë"] * 3
    assert found.interactions.table["item_id"].to_list() == ["a", "a", "b"]
    notes = [f for f in found.findings if f.check == "ids.spelling"]
    assert [f.count for f in notes] == [2, 1]
    assert "2 of them became another's" in notes[0].advice
    assert notes[1].examples == ("interactions row 1, column item_id: ' a'",)


def test_whole_numbers_lose_their_point_and_codes_keep_their_zeros(tmp_path: Path) -> None:
    folder(tmp_path, events__csv="user_id,item_id\n12.0,007\n3.0,010\n12,007\n")
    table = read(DataConfig(path=tmp_path)).interactions.table
    assert table["user_id"].to_list() == ["12", "3", "12"]
    assert table["item_id"].to_list() == ["007", "010", "007"]
    assert events(user_id=[12.0, 3.0, 12.0]).interactions.table["user_id"].to_list() == ["12", "3", "12"]
    assert events(user_id=["A1", "12.0", "12"]).interactions.table["user_id"].to_list() == ["A1", "12.0", "12"]


def test_rows_without_an_id_are_dropped_and_counted() -> None:
    found = from_tables(pl.DataFrame({"user_id": ["u", None, " ", "v"], "item_id": list("abcd")}))
    note = finding(found, "ids.missing")
    assert (note.count, note.total, note.action) == (2, 4, "dropped")
    assert note.examples[0] == "interactions row 1, column user_id or item_id"
    assert len(found.interactions) == 2


def test_parts_are_read_under_their_many_names() -> None:
    found = from_tables(
        pl.DataFrame(TABLE | {"split": ["Train", "val", "test"]}), config=DataConfig(columns={"part": "split"})
    )
    assert found.interactions.table["part"].to_list() == ["train", "validation", "test"]


def test_small_values_and_rare_ones_are_left_out() -> None:
    table = pl.DataFrame({"user_id": list("aabbc"), "item_id": list("xyxyz"), "value": [5, 4, 4, 5, 5]})
    found = from_tables(table, config=DataConfig(min_interactions=2))
    assert sorted(set(found.interactions.table["user_id"])) == ["a", "b"]
    assert finding(found, "events.core").count == 1
    found = from_tables(table, config=DataConfig(min_value=5))
    assert finding(found, "events.low_value").count == 2
    rated = from_tables(
        table.with_columns(value=pl.Series([5.0, 4, float("nan"), None, 6])), config=DataConfig(min_value=5)
    )
    assert rated.interactions.table["value"].to_list() == [5, 6]
    assert finding(rated, "events.low_value").count == 3
    with pytest.raises(DataError, match="None of 5 events is left"):
        from_tables(table, config=DataConfig(min_value=9))
    with pytest.raises(DataError, match="No users and items are left that have 3 events each"):
        from_tables(table, config=DataConfig(min_interactions=3))


def test_roles_of_columns_are_guessed_and_told() -> None:
    rows = 40
    items = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(rows)],
            "title": [f"T{n}" for n in range(rows)],
            "plot": [f"A rather long story about the number {n}" for n in range(rows)],
            "剧情": [f"第{n}个关于城市与河流的很长的故事" for n in range(rows)],
            "poster": [f"p/{n}.JPG" for n in range(rows)],
            "clip": [f"{n}.ogg" if n % 2 else None for n in range(rows)],
            "web": [f"https://example.org/pictures/{n}.jpg" for n in range(rows)],
            "genre": ["jazz|blues" if n % 2 else "" for n in range(rows)],
            "price": [n / 2 for n in range(rows)],
            "sku": [f"s{n}" for n in range(rows)],
        }
    )
    log = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["i0", "i1"]})
    found = from_tables(log, items, config=DataConfig(lists={"genre": "|"}))
    catalog = found.catalog
    assert catalog.text_columns == ("title", "plot", "剧情")
    assert catalog.media_columns == {"image": "poster", "audio": "clip"}
    assert catalog.attribute_columns == ("genre", "price")
    assert catalog.table["genre"].to_list()[:2] == [None, ["jazz", "blues"]]
    told = finding(found, "items.roles").examples
    assert "attributes: genre, price" in told
    assert "not used: web, sku" in told


def test_named_roles_are_taken_as_they_are(tmp_path: Path) -> None:
    folder(tmp_path, events__csv=EVENTS, items__csv=ITEMS)
    found = read(DataConfig(path=tmp_path, text=["title"], media={}, attributes=["genre"], media_folder="media"))
    assert found.catalog.text_columns == ("title",)
    assert found.catalog.attribute_columns == ("genre",)
    assert found.catalog.media_root == tmp_path / "media"
    assert not [f for f in found.findings if f.check == "items.roles"]


def test_chinese_and_western_files_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    text = "item_id,title\na,红楼梦与西游记\nb,水浒传\n"
    folder(tmp_path, events__csv=EVENTS, items__csv=text.encode("gb18030"))
    found = read(DataConfig(path=tmp_path))
    assert found.catalog.titles() == ["红楼梦与西游记", "水浒传"]
    note = finding(found, "files.encoding")
    assert "GB 18030" in note.advice
    assert note.examples == ("items.csv: a,红楼梦与西游记",)
    folder(tmp_path, items__csv="item_id,title\na,Amélie\nb,Señor\n".encode("latin-1"))
    found = read(DataConfig(path=tmp_path))
    assert found.catalog.titles() == ["Amélie", "Señor"]
    assert "Latin-1" in finding(found, "files.encoding").advice
    folder(tmp_path, items__csv=text.encode("utf-16"))
    assert read(DataConfig(path=tmp_path)).catalog.titles()[1] == "水浒传"
    folder(tmp_path, items__csv=text.encode("utf-8-sig"))
    assert read(DataConfig(path=tmp_path)).catalog.item_ids == ["a", "b"]


def test_one_user_and_one_instant_are_noted_and_one_item_is_refused() -> None:
    assert finding(events(user_id=["u"] * 3), "events.one_user").severity == "warning"
    note = finding(events(at=[1_700_000_000] * 3), "events.one_instant")
    assert note.severity == "warning"
    assert "no split by time is possible" in note.advice
    with pytest.raises(DataError, match="All events name one item, 'a': there is nothing to choose from"):
        events(item_id=["a"] * 3)


@pytest.mark.parametrize(
    ("files", "settings", "message", "place", "fix"),
    [
        ({}, {}, "There is no file of events.", "", 'interactions = "your_file.csv"'),
        ({"events__csv": ""}, {}, "The file is empty.", "events.csv", "export it again"),
        ({"events__jsonl": "\n"}, {}, "The file is empty.", "events.jsonl", "export it again"),
        ({"events__csv": "user_id,item_id\n"}, {}, "The file has no rows.", "events.csv", "export it again"),
        ({"events__csv": EVENTS}, {"items": "shop.csv"}, "There is no file 'shop.csv'.", "", "correct [data] items"),
        (
            {"events__csv": EVENTS.replace("user_id", "userid")},
            {},
            "There is no column 'user_id'.",
            "events.csv",
            "Did you mean 'userid'",
        ),
        (
            {"events__csv": EVENTS},
            {"columns": {"at": "timme"}},
            "There is no column 'timme' (named in [data.columns] at).",
            "events.csv",
            "Known names: at, item_id, user_id.",
        ),
        (
            {"events__csv": EVENTS, "items__csv": ITEMS},
            {"text": ["titel"]},
            "There is no column 'titel' (named in [data] text).",
            "items.csv",
            "Did you mean 'title'",
        ),
        (
            {"events__csv": EVENTS.replace("2024-05-02T10:00:00Z", "yesterday")},
            {},
            "'yesterday' is not a time",
            "events.csv row 3, column at",
            "leave the cell empty",
        ),
        (
            {"events__csv": "user_id,item_id,value\n,a,1\nu,b,2\nu,a,five\n"},
            {},
            "'five' is not a number.",
            "events.csv row 4, column value",
            "leave the cell empty",
        ),
        (
            {"events__csv": "user_id,item_id,part\nu,a,train\nu,b,later\n"},
            {},
            "'later' is not a part of a split.",
            "events.csv row 3, column part",
            "train, validation and test",
        ),
        (
            {"events__csv": EVENTS, "items__csv": "item_id,title\nA-1,x\n"},
            {},
            "No event names an item of the catalog (events: 'a', items: 'A-1').",
            "events.csv and items.csv",
            "[data.item_columns]",
        ),
        (
            {"events__csv": "user_id,item_id\nu,a\nu,b,c,d\n"},
            {},
            "A row has 4 cells, the header has 2.",
            "events.csv row 3",
            "quotation marks",
        ),
        (
            {"events__jsonl": '{"user_id": "u", "item_id": "a"}\n{"user_id": \n'},
            {},
            'A line is not a JSON object: {"user_id":',
            "events.jsonl line 2",
            "correct that line",
        ),
        ({"events__csv": b"PK\x03\x04\0\0\0"}, {}, "The file is not text.", "events.csv", "check its ending"),
        ({"events__parquet": b"nothing"}, {}, "cannot be read as a table", "events.parquet", "format and ending"),
        ({"events__csv__gz": b"nothing"}, {}, "cannot be read as a table", "events.csv.gz", "format and ending"),
    ],
)
def test_bad_files_are_answered_with_what_where_and_fix(
    tmp_path: Path, files: dict[str, str | bytes], settings: dict[str, object], message: str, place: str, fix: str
) -> None:
    folder(tmp_path, **files)
    with pytest.raises(DataError) as caught:
        read(DataConfig.model_validate({"path": tmp_path, **settings}))
    assert message in caught.value.message
    assert place in caught.value.where
    assert fix in caught.value.fix


def test_bad_tables_paths_and_formats_are_answered() -> None:
    with pytest.raises(DataError, match="dict is not a table"):
        from_tables({"user_id": []})
    with pytest.raises(DataError, match="The table has no rows"):
        from_tables(pl.DataFrame(TABLE).head(0))
    mixed = pd.DataFrame({"user_id": [1, "u"], "item_id": ["a", "b"]})
    with pytest.raises(DataError, match="A column cannot be read"):
        from_tables(mixed)
    with pytest.raises(DataError, match="There is no folder 'nowhere'"):
        read(DataConfig(path=Path("nowhere")))
    with pytest.raises(ConfigError, match="There is no source 'movielense'"):
        read(DataConfig(format="movielense"))


@pytest.mark.parametrize("name", ["date", "Order Date", "t_dat", "下单时间"])
def test_a_column_of_times_is_recognised_by_name_and_values(name: str) -> None:
    table = pl.DataFrame(TABLE).drop("at").with_columns(pl.Series(name, ["2024-05-01", "2024-05-02", "2024-05-03"]))
    found = from_tables(table)
    assert at(found)[0] == datetime(2024, 5, 1, tzinfo=UTC)
    note = finding(found, "events.recognised_time")
    assert note.examples == (name,)
    assert not [f for f in found.findings if f.check == "events.unused_columns"]


@pytest.mark.parametrize("values", [["soon", "later", "never"], [1, 2, 3], [None, None, None]])
def test_a_column_that_is_only_called_date_is_not_read_as_times(values: list[object]) -> None:
    found = from_tables(pl.DataFrame(TABLE).drop("at").with_columns(pl.Series("date", values)))
    assert at(found) == [None] * 3
    assert finding(found, "events.unused_columns").examples == ("date",)


def test_a_named_column_of_times_comes_before_a_recognised_one() -> None:
    dated = pl.DataFrame(TABLE).with_columns(date=pl.lit("2001-01-01"))
    assert at(from_tables(dated))[0] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    context = from_tables(dated.drop("at"), config=DataConfig(context=["date"]))
    assert at(context) == [None] * 3
