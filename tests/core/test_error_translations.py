"""Errors in Chinese: every text of the code has a translation, and a finished sentence finds the right one."""

from pathlib import Path
from string import Formatter

import pytest

from error_texts import ErrorTexts as SourceTexts
from message_catalogs import SOURCE, TRANSLATED, error_translations
from penchant.core.config import Settings, read_toml
from penchant.core.error_translations import ErrorTexts, translated_parts
from penchant.core.errors import ConfigError, MissingExtraError, NotFoundError, PenchantError
from penchant.data.media.limits import resolve
from penchant.models import MODELS


class Shop(Settings):
    name: str = "shop"
    size: int = 3


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_of_an_error_has_a_translation(language):
    known = {english for english, text in error_translations(language).items() if text}
    wanted = SourceTexts(SOURCE).templates()
    assert len(wanted) > 900
    assert (sorted(wanted - known), sorted(set(error_translations(language)) - wanted)) == ([], []), (
        "run `make messages`, and translate what is new in errors.json"
    )


def gaps(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_has_the_gaps_of_its_text(language):
    assert [english for english, text in error_translations(language).items() if gaps(english) != gaps(text)] == []


def test_texts_are_found_through_names_calls_and_parameters(tmp_path):
    (tmp_path / "shop.py").write_text(
        """
FIX = "close the shop"

class PenchantError(Exception): ...
class ShopError(PenchantError): ...

def _near(name):
    return f"Did you mean {name!r}?" if name else "Known names: " + ", ".join(KNOWN)

def sell(item, fix=None):
    noun = "sweet" if item else "salty"
    fix = fix or FIX
    raise ShopError(f"No {noun} thing {item!r}, {len(item):,} letters {{}}.", where=f"row {item.row}", fix=fix)

sell("a", fix=_near("b"))
""",
        "utf-8",
    )
    ours = SourceTexts(tmp_path).templates() - SourceTexts(tmp_path / "nothing").templates()
    assert ours == {
        *(
            "No sweet thing {0}, {1} letters {{}}.",
            "No salty thing {0}, {1} letters {{}}.",
            "row {0}",
            "close the shop",
        ),
        *("Did you mean {0}?", "Known names: {0}"),
    }


def raised(call, *arguments, **options) -> PenchantError:
    with pytest.raises(PenchantError) as found:
        call(*arguments, **options)
    return found.value


@pytest.mark.parametrize(
    ("error", "message", "where", "fix"),
    [
        (lambda p: raised(read_toml, p / "no.toml"), "没有设置文件 'no.toml'。", "{p}/no.toml", "给出 TOML 文件的路径；"),
        (lambda p: raised(read_toml, p), "是文件夹，而设置应是文件。", "{p}", "`penchant init {p}` 为其中的表写出设置"),
        (lambda p: raised(Shop.read, {"nam": 1}, where="a.toml"), "没有设置 'nam'。", "a.toml: nam", "您是否想写 'name'？"),
        (lambda p: raised(Shop.read, {"size": "x"}, where="a.toml"), "size = 'x' 不符合要求：应为整数，", "a.toml: size", "设为整数"),
        (lambda p: raised(MODELS.load, "eese"), "没有模型 'eese'。", "模型表", "您是否想写 'ease'"),
        (lambda p: raised(MODELS.load, "qqqq"), "没有模型 'qqqq'。", "模型表", "已知名称："),
        (lambda p: MissingExtraError("torch", "networks"), "未安装软件包 'torch'。", "可选部分 penchant[networks]", "pip install 'penchant[networks]'"),
        (lambda p: raised(resolve, p, "../a.png"), "'../a.png' 通向媒体文件夹之外。", "媒体文件夹 {p}", "把文件复制到媒体文件夹之下"),
        (lambda p: NotFoundError("There is no item 'There is no user.'.", where="items.csv row 3, column text", fix="fill it"), "没有物品 'There is no user.'。", "items.csv 第 3 行，列 text", "请填写"),
        (lambda p: PenchantError("A sentence of tomorrow.", where="somewhere else", fix="do that"), "A sentence of tomorrow.", "somewhere else", "do that"),
    ],
)  # fmt: skip
def test_errors_as_they_are_raised_are_told_in_chinese(tmp_path: Path, error, message, where, fix):
    parts = translated_parts(error(tmp_path), "zh")
    for shown, expected in zip(parts, (message, where, fix), strict=True):
        assert expected.format(p=tmp_path) in shown
    assert translated_parts(error(tmp_path), "en") == (
        error(tmp_path).message,
        error(tmp_path).where,
        error(tmp_path).fix,
    )


def test_of_several_templates_that_fit_the_one_with_most_words_is_taken():
    texts = ErrorTexts(
        {"No {0}.": "a{0}", "No item {0}.": "b{0}", "No item {0} of {1}.": "c{0},{1}", "{0} of {1}.": "d{0},{1}"}
    )
    assert [texts.translated(text) for text in ("No x.", "No item x.", "No item x of y.", "x of y.", "x")] == [
        *("ax", "bx", "cx,y", "dx,y", "x")
    ]


def test_a_captured_sentence_is_translated_and_a_captured_name_is_not():
    texts = ErrorTexts(
        {
            "It stopped: {0}": "停止：{0}",
            "the process of the node died": "进程已退出",
            "row {0}": "第 {0} 行",
            "item": "物品",
            "No {0}": "没有{0:words}",
        }
    )
    assert texts.translated("It stopped: the process of the node died") == "停止：进程已退出"
    assert texts.translated("It stopped: row 3") == "停止：row 3"
    assert texts.translated("No item") == "没有物品"


def test_a_path_with_the_words_of_a_template_stays():
    def shown(where: str) -> str:
        return translated_parts(ConfigError("There is no model.", where=where, fix="fill it"), "zh").where

    assert shown("/home/my row data/items.csv") == "/home/my row data/items.csv"
    assert shown("/home/my row data/items.csv row 3") == "/home/my row data/items.csv 第 3 行"
