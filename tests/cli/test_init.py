"""`penchant init` on folders as people have them: the settings it writes pass the check, and say what was supposed."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from labelled_media import write_picture
from penchant.cli import app
from penchant.data.read.sources import DataConfig, read
from penchant.pipelines import tasks

KINDS = ["浏览", "点击", "加购", "购买", "点踩"]


def chinese_shop(folder: Path) -> Path:
    """Write events, items and members as a Chinese shop exports them: GB 18030, semicolons, decimal commas, the day first."""
    draw = random.Random(0)
    folder.mkdir()
    items = [
        f"{n:05};小米手机{n};{'手机图书'[2 * (n % 2) :][:2]};{n},50;这是第{n}件商品的一段很长的描述文字"
        for n in range(40)
    ]
    (folder / "商品表.csv").write_bytes("\n".join(["商品编号;标题;类目;价格;描述", *items, ""]).encode("gb18030"))
    events = [
        f"会员{user};{draw.randrange(40):05};{1 + place:02}.03.2024 1{place % 10}:05;{draw.choice(KINDS)};{draw.choice(['小程序', '网页'])}"
        for user in range(30)
        for place in range(15)
    ]
    (folder / "行为日志.csv").write_bytes("\n".join(["用户;商品;时间;行为;渠道", *events, ""]).encode("gb18030"))
    (folder / "会员.csv").write_text(
        "会员编号;城市\n" + "".join(f"会员{u};北京\n" for u in range(30)), encoding="utf-8"
    )
    (folder / "说明.csv").write_text("字段;含义\n用户;会员\n", encoding="utf-8")
    return folder


def init(*words: object) -> str:
    result = CliRunner().invoke(app, ["init", *map(str, words)], env={"COLUMNS": "400"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


def settings(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def test_a_chinese_folder_becomes_settings_that_pass_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chinese_shop(tmp_path / "商城")
    shown = init("商城", "--language", "zh")
    assert "30 位用户的 450 个事件，40 件物品" in shown
    file = tmp_path / "商城.toml"
    written = settings(file)
    assert written["data"] == {
        "path": "商城",
        "interactions": "行为日志.csv",
        "columns": {"user_id": "用户", "item_id": "商品", "at": "时间", "kind": "行为"},
        "items": "商品表.csv",
        "item_columns": {"item_id": "商品编号", "title": "标题"},
        "users": "会员.csv",
        "user_columns": {"user_id": "会员编号"},
    }
    assert written["histories"]["kinds"] == {"浏览": 0.5, "点击": 0.5, "加购": 0.8, "购买": 1.0, "点踩": -1.0}
    assert written["evaluation"] == {"language": "zh"}
    text = file.read_text(encoding="utf-8")
    for comment in (
        "# 未读取：渠道",
        '# context = ["渠道"]',
        "不会读取的文件：说明.csv",
        "小数点",
        "GB 18030",
        "单元格以“;”分隔",
    ):
        assert comment in text
    assert not [line for line in text.splitlines() if line.startswith("# ") and "was" in line]
    found = tasks.check(file)
    assert found.problems == []
    data = read(tasks.read_settings(file).data)  # type: ignore[attr-defined]
    assert data.interactions.table["at"].max().strftime("%Y-%m-%d") == "2024-03-15"  # type: ignore[union-attr]
    assert data.catalog.table["价格"].dtype == pl.Float64
    assert data.catalog.titles()[0] == "小米手机0"


def test_init_offers_a_column_of_few_values_as_circumstance(tmp_path: Path) -> None:
    rows = "".join(f"u{n % 9},i{n % 7},2024-05-{n % 28 + 1:02},{n // 3},{n % 2},GBP\n" for n in range(90))
    (tmp_path / "events.csv").write_text("user_id,item_id,at,invoice,store,currency\n" + rows)
    file = tmp_path / "shop.toml"
    init(tmp_path, "--output", file)
    assert '# context = ["store"]' in file.read_text()


def test_tables_with_english_names_and_pictures_are_recognised(tmp_path: Path) -> None:
    shop = tmp_path / "my shop"
    (shop / "photos" / "large").mkdir(parents=True)
    for n in range(12):
        write_picture(shop / "photos" / "large", n, n % 2 == 0, np.random.default_rng(n))
    products = pl.DataFrame(
        {
            "Product ID": [f"p{n}" for n in range(12)],
            "Name": [f"Product {n}" for n in range(12)],
            "Tags": ["red|small" if n % 2 else "blue|large" for n in range(12)],
            "Picture": [f"large/{n}.png" for n in range(12)],
        }
    )
    products.write_csv(shop / "products.tsv", separator="\t")
    orders = pl.DataFrame(
        {
            "Customer ID": [u for u in range(10) for _ in range(6)],
            "Product ID": [f"p{(u * 5 + n) % 12}" for u in range(10) for n in range(6)],
            "Order Date": [f"3/{n + 1}/2024 5:0{n} PM" for _ in range(10) for n in range(6)],
            "price": [19.99] * 60,
            "stars": [n % 5 + 1 for _ in range(10) for n in range(6)],
        }
    )
    orders.write_csv(shop / "orders.csv")
    file = tmp_path / "shop.toml"
    init(shop, "--output", file)
    data = settings(file)["data"]
    assert data["columns"] == {"user_id": "Customer ID", "item_id": "Product ID", "at": "Order Date", "value": "stars"}
    assert (data["interactions"], data["items"]) == ("orders.csv", "products.tsv")
    assert (data["lists"], data["media_folder"]) == ({"Tags": "|"}, "photos")
    assert data["time_format"] == "%d/%m/%Y %I:%M %p"
    assert "CHECK THIS: no value says whether the day or the month is first" in file.read_text()
    dataset = read(tasks.read_settings(file).data)  # type: ignore[attr-defined]
    assert dataset.catalog.media_columns == {"image": "Picture"}
    assert (dataset.catalog.media_root / "large/3.png").is_file()  # type: ignore[operator]


def test_ids_without_known_names_are_found_in_the_other_table(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("who,customer\n" + "".join(f"k{n % 7},c{n % 5}\n" for n in range(60)))
    (tmp_path / "things.csv").write_text("key,label\n" + "".join(f"k{n},x\n" for n in range(7)))
    file = tmp_path / "run.toml"
    init(tmp_path, "--output", file)
    written = settings(file)
    assert written["data"]["columns"] == {"user_id": "customer", "item_id": "who"}
    assert written["data"]["item_columns"] == {"item_id": "key"}
    assert written["split"] == {"kind": "random"}


def test_what_cannot_be_guessed_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("foo,bar\n1,2\n")
    shown = init(tmp_path)
    said = " ".join(shown.split())
    assert "No table has a column of users and one of items by a known name (a.csv: foo, bar)." in said
    assert "rename the two columns to user_id and item_id" in shown
    assert "There is no 'nowhere'." in init(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "The folder holds no table." in init(tmp_path / "empty")


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("mine")
    assert "is there already" in init(chinese_shop(tmp_path / "商城"), "--output", file)
    assert file.read_text() == "mine"
    init(tmp_path / "商城", "--output", file, "--force")
    assert settings(file)["data"] == {**settings(file)["data"], "path": "商城"}


def test_settings_of_one_file_and_odd_names_are_toml(tmp_path: Path) -> None:
    name = 'we"ird\\ 名.csv'
    (tmp_path / name).write_text(
        "user,item,date\n" + "".join(f"u{n % 9},i{n % 7},2024-01-{n % 28 + 1:02}\n" for n in range(90))
    )
    file = tmp_path / "run.toml"
    init(tmp_path / name, "--output", file)
    assert settings(file)["data"]["interactions"] == name
    assert isinstance(tasks.read_settings(file).data, DataConfig)  # type: ignore[attr-defined]
