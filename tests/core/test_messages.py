import ast
import copy
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import penchant
from message_catalogs import TRANSLATED, extracted, po_file, translated
from penchant.core.environment import hardware
from penchant.core.errors import ConfigError
from penchant.core.messages import LANGUAGES, Message, Translator, channel_names, message, packed, unpacked
from penchant.explanation.reasons import Reason

SOURCE = Path(penchant.__file__).parent
SHORT = message("The sound lasts {seconds} s, the least is {least} s.", seconds=0.01, least=0.1)
ALONE = message("{channels} alone", channels=channel_names(["text", "audio"]))


def sentences(node: ast.expr | None) -> Iterator[ast.expr]:
    """Yield every expression that makes a text."""
    if isinstance(node, ast.IfExp):
        yield from (text for branch in (node.body, node.orelse) for text in sentences(branch))
    elif isinstance(node, ast.Dict):
        yield from (text for value in node.values for text in sentences(value))
    elif (
        (isinstance(node, ast.Call) and ast.unparse(node.func) == "message")
        or isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    ):
        yield node


def spoken(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield what a file says to the reader of the report: the advice of findings, and why a model was chosen."""
    names = {"advice"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            given = [keyword.value for keyword in node.keywords if keyword.arg in ("advice", "without_media")]
            given += {"Finding": node.args[5:6], "findings": node.args[2:4], "note": node.args[:1]}.get(name, [])
            yield from given
            for value in given:  # a name, or a row of a table: its text stands where it is assigned
                table = value.value if isinstance(value, ast.Subscript) else value
                names |= {table.id} if isinstance(table, ast.Name) else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets = {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            if targets & names:
                yield from node.value.elts[:1] if isinstance(node.value, ast.Tuple) else [node.value]


def test_everything_a_finding_may_advise_is_a_message():
    found, left = 0, []
    for file in sorted(SOURCE.rglob("*.py")):
        if file.parent.name in ("cli", "studio"):
            continue
        for node in spoken(ast.parse(file.read_text("utf-8"))):
            for text in sentences(node):
                found += 1
                if not isinstance(text, ast.Call):
                    left.append(f"{file.name}:{text.lineno}: {ast.unparse(text)}")
    assert found > 80
    assert not left


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_catalog_has_the_messages_of_the_code_and_no_others(language):
    known = {(m.context, m.id) for m in translated(language) if m.id and m.string}
    wanted = {(m.context, m.id) for m in extracted() if m.id}
    assert len(wanted) > 400
    assert (sorted(wanted - known), sorted(known - wanted)) == ([], []), (
        "run `make messages`, and translate what is new"
    )


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_has_the_placeholders_of_its_message(language):
    def gaps(text: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(text) if name is not None}

    wrong = [m.id for m in translated(language) if m.id and "{" in m.id + m.string and gaps(m.id) != gaps(m.string)]
    assert not wrong


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_compiled_catalog_is_up_to_date(language):
    say = Translator(language)
    stale = [m.id for m in translated(language) if m.id and not m.context and say(m.id) != m.string]
    assert not stale, "run `make messages`"
    assert po_file(language).with_suffix(".mo").is_file()


def test_every_language_but_english_has_a_catalog():
    assert set(LANGUAGES) == {"en", *TRANSLATED}
    with pytest.raises(ConfigError, match="no report in 'fr'"):
        Translator("fr")


@pytest.mark.parametrize(
    ("text", "english", "chinese"),
    [
        (message("time runs forward for all {noun}", noun=message("users")), "time runs forward for all users", "所有用户的时间顺序均正确"),
        (
            message("{place}, {file}: {reason}", place=message("item {id}", id="i1"), file="a.flac", reason=SHORT),
            "item i1, a.flac: The sound lasts 0.01 s, the least is 0.1 s.",
            "物品 i1，a.flac：声音长 0.01 秒，至少需要 0.1 秒。",
        ),
        (ALONE, "text, audio alone", "仅文本、音频"),
        (message("{channels} of the true item", channels=channel_names(["poster"])), "poster of the true item", "真实物品的poster"),
        (Reason((0, 1), False).text(["You and I", "{0.real}"]), "because of “You and I” and “{0.real}”", "因为“You and I”和“{0.real}”"),
        (Reason((0,), False).text(["a"]), "because of “a”", "因为“a”"),
        ("what a reader wrote", "what a reader wrote", "what a reader wrote"),
        ("missing", "missing", "missing"),  # a class of the reader's own, though the report has that word too
    ],
)  # fmt: skip
def test_numbers_and_names_are_kept(text, english, chinese):
    assert (str(text), Translator("en").said(text), Translator("zh").said(text)) == (english, english, chinese)


def test_hardware_is_told_in_both_languages():
    assert Translator("zh").said(hardware()) == hardware().replace(" cores", " 核").replace(", ", "，")


def test_braces_in_a_value_are_only_text():
    assert Translator("en")("against {name}", name="{0.__class__}") == "against {0.__class__}"


@pytest.mark.parametrize(
    "again", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy, lambda m: unpacked(packed(m))]
)
def test_a_copied_or_stored_message_can_still_be_translated(again):
    assert isinstance(again(ALONE), Message)
    assert (again(ALONE), Translator("zh")(again(ALONE))) == ("text, audio alone", "仅文本、音频")


def test_json_holds_the_english_text():
    assert json.dumps({"advice": ALONE}) == '{"advice": "text, audio alone"}'
    assert packed("a name") == unpacked("a name") == "a name"
