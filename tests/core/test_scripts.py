"""Chinese text with the punctuation of Chinese."""

import polars as pl
import pytest

from penchant.core.schema import Catalog
from penchant.core.scripts import wide_punctuation


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("那年冬天,我学会了包饺子", "那年冬天，我学会了包饺子"),
        ("真的吗? 是的!", "真的吗？是的！"),
        ("第3,4章", "第3,4章"),
        ("Bread, butter: 面包", "Bread, butter: 面包"),
    ],
)
def test_marks_after_a_chinese_character_are_wide(text: str, shown: str) -> None:
    assert pl.Series([text]).to_frame("t").select(wide_punctuation(pl.col("t"))).item() == shown


def test_titles_are_shown_with_wide_marks_and_ids_stay() -> None:
    table = pl.DataFrame({"item_id": ["编号,1", "b"], "title": [None, "早餐,很好"]})
    assert Catalog(table, title_column="title").titles() == ["编号,1", "早餐，很好"]
