"""Files as spreadsheets and shops export them: other separators, commas in numbers, short and long rows, equal headers."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from penchant.core.errors import DataError
from penchant.data.read.tables import RawTable, read_table

ROWS = [["用户", "商品", "备注"], ["u1", "a", "好, 很好"], ["u2", "b", "x|y"], ["u3", "c", ""]]


def written(path: Path, text: str) -> RawTable:
    path.write_text(text, encoding="utf-8")
    return read_table(path)


def checks(raw: RawTable) -> list[str]:
    return [finding.check for finding in raw.findings]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize("mark", [";", "\t", "|", ","])
def test_the_separator_is_found(tmp_path: Path, mark: str, ending: str) -> None:
    rows = [[f'"{cell}"' if mark in cell else cell for cell in row] for row in ROWS]
    raw = written(tmp_path / f"events.{ending}", "\n".join(mark.join(row) for row in rows) + "\n")
    assert raw.table.rows() == [("u1", "a", "好, 很好"), ("u2", "b", "x|y"), ("u3", "c", None)]
    assert raw.table.columns == ROWS[0]
    usual = {"csv": ",", "tsv": "\t"}[ending]
    assert ("files.separator" in checks(raw)) == (mark != usual)


def test_one_column_and_texts_with_other_separators_stay_as_they_are(tmp_path: Path) -> None:
    assert written(tmp_path / "a.csv", "user_id\nu1\nu2\n").table.columns == ["user_id"]
    raw = written(tmp_path / "b.csv", "id,a;b;c\n1,x;y;z\n2,;;\n")
    assert raw.table.columns == ["id", "a;b;c"]
    assert checks(raw) == []


def test_decimal_commas_are_read_where_semicolons_separate(tmp_path: Path) -> None:
    raw = written(tmp_path / "a.csv", "id;price;size;code\n1;1.234,50;3;1,2,3\n2;0,5;4;7\n3;;5;8\n")
    assert raw.table["price"].to_list() == ["1234.50", "0.5", None]
    assert raw.table["size"].to_list() == ["3", "4", "5"]
    assert raw.table["code"].to_list() == ["1,2,3", "7", "8"]
    (noticed,) = [f for f in raw.findings if f.check == "files.decimal_comma"]
    assert noticed.examples == ("a.csv: price",)
    quoted = written(tmp_path / "b.csv", 'id,price\n1,"1,5"\n2,"2,5"\n')
    assert quoted.table["price"].to_list() == ["1,5", "2,5"]  # thousands or decimals: nothing decides


def test_short_rows_are_told_by_line(tmp_path: Path) -> None:
    raw = written(tmp_path / "a.csv", 'u,i,text\nu1,a,"two\nlines"\nu2\n\nu3,b\nu4,c,\n')
    (noticed,) = [f for f in raw.findings if f.check == "files.short_row"]
    assert (noticed.count, noticed.severity) == (2, "warning")
    assert noticed.examples == ("a.csv line 4: 1 of 3 cells", "a.csv line 6: 2 of 3 cells")


def test_long_rows_are_refused_by_row_and_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"A row has 3 cells, the header has 2") as caught:
        written(tmp_path / "a.csv", 'u,text\nu1,"two\nlines"\nu2,x,y\n')
    assert caught.value.where.endswith("a.csv row 3 (line 4)")
    with pytest.raises(DataError) as caught:
        written(tmp_path / "b.csv", "u,i\nu1,a\nu2,x,y\n")
    assert caught.value.where.endswith("b.csv row 3")


def test_columns_of_one_name_are_told_apart(tmp_path: Path) -> None:
    raw = written(tmp_path / "a.csv", " id ,price,price,,price\n1,2,3,4,5\n")
    assert raw.table.row(0, named=True) == {
        "id": "1",
        "price": "2",
        "price (2)": "3",
        "column 4": "4",
        "price (3)": "5",
    }
    (noticed,) = [f for f in raw.findings if f.check == "files.duplicate_header"]
    assert noticed.examples == ("a.csv line 1, column 3: price (2)", "a.csv line 1, column 5: price (3)")
    assert isinstance(raw.table, pl.DataFrame)
