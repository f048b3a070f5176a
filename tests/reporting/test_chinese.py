import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import penchant
from penchant.reporting.chinese import SENTENCES, in_chinese
from penchant.reporting.messages import Words

CHINESE = re.compile("[\u4e00-\u9fff]")
SOURCE = Path(penchant.__file__).parent


def sentences(node: ast.expr | None, gap: str) -> Iterator[str]:
    """Yield every text an expression may be, its gaps filled with one and the same word."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else gap for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from (text for branch in (node.body, node.orelse) for text in sentences(branch, gap))
    elif isinstance(node, ast.Dict):
        yield from (text for value in node.values for text in sentences(value, gap))


def spoken(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield what a file says to the reader of the report: the advice of findings, and why a model was chosen."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            names = {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            if any(name == "advice" or name.endswith(("_ADVICE", "_LACKS")) for name in names):
                yield from node.value.elts[:1] if isinstance(node.value, ast.Tuple) else [node.value]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            yield from (keyword.value for keyword in node.keywords if keyword.arg == "advice")
            yield from node.args[5:6] if name == "Finding" else []
            yield from node.args[:1] if name == "say" else []


def test_everything_a_finding_may_advise_is_there_in_chinese():
    found, left = 0, []
    for file in sorted(SOURCE.rglob("*.py")):
        if "serving" in file.parts:
            continue
        for node in spoken(ast.parse(file.read_text("utf-8"))):
            for filled, empty in zip(sentences(node, "7"), sentences(node, ""), strict=True):
                found += 1
                if not any(CHINESE.search(in_chinese(text)) for text in (filled, empty)):
                    left.append(f"{file.name}: {filled}")
    assert found > 80
    assert not left


@pytest.mark.parametrize("english", SENTENCES)
def test_both_languages_have_the_same_gaps(english):
    gaps = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in (english, SENTENCES[english])]
    assert gaps[0] == gaps[1]


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("time runs forward for all users", "所有用户的时间顺序均正确"),
        ("item i1, a.flac: The sound lasts 0.01 s, the least is 0.1 s.", "物品 i1，a.flac：声音长 0.01 秒，至少需要 0.1 秒。"),
        ("text, audio alone", "仅文本、音频"),
        ("poster of the true item", "真实物品的poster"),
        ("because of “You and I” and “{0.real}”", "因为“You and I”和“{0.real}”"),
        ("x86_64, 2 cores, Python 3.11.7", "x86_64，2 核，Python 3.11.7"),
        ("what a reader wrote", "what a reader wrote"),
    ],
)  # fmt: skip
def test_numbers_and_names_are_kept(english, chinese):
    assert Words("zh").said(english) == chinese
    assert Words("en").said(english) == english
