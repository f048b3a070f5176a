from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.clean.normalisation import language, normalise_column, words


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("cafÃ© l’été", "café l’été"),
        ("schÃ¶n â€“ gut", "schön – gut"),
        ("浣犲ソ涓栫晫", "你好世界"),  # UTF-8 read as GBK
        ("ÄãºÃÊÀ½ç", "你好世界"),  # GBK read as Latin-1
        ("联通", "联通"),  # its GBK bytes happen to be UTF-8, but not of Chinese
        ("Größe naïve éèàù", "Größe naïve éèàù"),
        ("éèàù", "éèàù"),
        ("Привет мир", "Привет мир"),
        ("<p>The <b>big</b> one<br/>next</p>", "The big one next"),
        ("H<sub>2</sub>O", "H2O"),
        ("<script>alert('x')</script>kept<!-- not -->", "kept"),
        ("I <3 this, a < b > c, <UNK>", "I <3 this, a < b > c, <UNK>"),
        ("AT&T R&amp;D &amp;nbsp;ok &notit; &#20320;", "AT&T R&D ok &notit; 你"),
        ("&lt;i&gt;twice&lt;/i&gt;", "twice"),
        ("\x00zero\u200bwidth\ufeff \u202eturned", "zerowidth turned"),
        ("👨\u200d👩\u200d👧 family", "👨\u200d👩\u200d👧 family"),
        ("ﬁne　１２３ＡＢ　ｶﾞ", "fine 123AB ガ"),
        ("cafe\u0301", "café"),
        (" many\n\n\tspaces\u00a0here ", "many spaces here"),
        ("<br>&nbsp;", ""),
        ("", ""),
    ],
)
def test_normalise_column_mends(raw: str, clean: str) -> None:
    assert normalise_column(pl.Series([raw])).values.to_list() == [clean or None]


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_normalise_column_is_in_one_line_whatever_comes(text: str) -> None:
    column = normalise_column(pl.Series("t", [None, text, "plain"])).values
    once = column[1] or ""
    assert column.to_list() == [None, once or None, "plain"]
    assert once == once.strip()
    assert not set(once) & set("\x00\n\t\ufeff")


def test_normalise_column_counts_each_change_once() -> None:
    text = normalise_column(pl.Series("plot", ["plain", "<b>bold</b>", "cafÃ©", "a\x00b", "<br>", "  ", None, "ＡＢ"]))
    assert text.values.to_list() == ["plain", "bold", "café", "ab", None, None, None, "AB"]
    assert {name: mask.arg_true().to_list() for name, mask in text.changed.items()} == {
        "html": [1, 4],
        "mojibake": [2],
        "control": [3],
    }
    assert text.emptied.arg_true().to_list() == [4, 5]
    assert normalise_column(pl.Series("none", [None, None], dtype=pl.Null)).values.to_list() == [None, None]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A little boy named Andy", "en"),
        ("我爱北京天安门", "zh"),
        ("iPhone 手机壳很好看", "zh"),
        ("とても面白い映画", "ja"),
        ("재미있는 영화", "ko"),
        ("Очень хороший фильм", "ru"),
        ("فيلم جميل", "ar"),
        ("हिन्दी फ़िल्म", "other"),
        ("12345 !!", "other"),
        ("", "other"),
    ],
)
def test_language_is_told_by_script(text: str, name: str) -> None:
    assert language(text) == name


def test_words_cut_chinese_and_keep_latin_whole() -> None:
    assert words("我爱北京天安门, iPhone 15 很好!") == ["我", "爱", "北京", "天安门", "iphone", "15", "很", "好"]
    assert words("Don’t STOP-me snake_case é") == ["don't", "stop-me", "snake", "case", "é"]
    assert words("") == []


def test_words_write_nothing_to_the_terminal_or_the_temporary_folder(tmp_path: Path) -> None:
    code = "from penchant.data.clean.normalisation import words; print(words('我爱北京天安门'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONIOENCODING": "utf-8"},
    )
    assert done.stdout.decode("utf-8").strip() == "['我', '爱', '北京', '天安门']"
    assert done.stderr == b""
    assert list(tmp_path.iterdir()) == []


def test_normalise_column_leaves_real_reviews_alone(shared_data: Path) -> None:
    reviews = pl.read_csv(shared_data / "zh_sentiment" / "online_shopping_10_cats.csv.gz", n_rows=20_000)["review"]
    text = normalise_column(reviews)
    assert int(text.changed["mojibake"].sum()) == 0
    assert reviews.filter(text.changed["html"]).str.contains(r"&#\d+;|&[a-z]+;").all()  # entities, every one
    assert int(text.emptied.sum()) == 0
