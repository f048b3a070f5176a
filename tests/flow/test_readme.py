"""The README's example does what it says, on a shop whose columns have other names than ours."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import polars as pl
import pytest

import penchant
from penchant.world import WorldConfig, make_world

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    make_world(folder / "data", WorldConfig(size="tiny"))
    events = pl.read_csv(folder / "data" / "interactions.csv")
    renamed = {"user_id": "customer", "item_id": "sku", "at": "time", "kind": "event"}
    events.rename(renamed).write_csv(folder / "data" / "interactions.csv")
    items = pl.read_csv(folder / "data" / "items.csv")
    media = next(c for c in items.columns if items[c].cast(pl.String).str.ends_with(".jpg").any())
    items.rename({"item_id": "sku", "title": "name", media: "photo"}).write_csv(folder / "data" / "items.csv")
    return folder


def example(page: str) -> str:
    """Return the first settings of a page."""
    found = re.search(r"```toml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


def test_both_languages_show_the_same_settings() -> None:
    chinese, english = (tomllib.loads(example(page)) for page in ("README.zh-CN.md", "README.md"))
    assert chinese.pop("evaluation") == {"language": "zh"}
    assert chinese["content"]["words"].pop("encoder") == "e5"
    assert english["content"]["words"].pop("encoder") == "minilm"
    assert chinese == english


def test_example_runs_and_answers(shop: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(shop)
    Path("shop.toml").write_text(example("README.md"), encoding="utf-8")
    bundle = penchant.run("shop.toml")
    user, item = bundle.histories.user_ids[0], bundle.catalog.item_ids[0]
    assert len(penchant.load("runs/shop").recommend(user, k=10)) == 10
    assert bundle.recommend(bundle.history_of(bundle.catalog.item_ids[:2]))
    assert bundle.profile(user).user_id == user
    assert bundle.explain(user, item).item_id == item
