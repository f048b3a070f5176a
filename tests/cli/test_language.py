"""`--language zh`, before or after a command, speaks Chinese: answers, headings, help; without it, and in JSON, nothing changes."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from penchant import cli
from penchant.cli import speaking
from penchant.core.messages import Translator


@pytest.fixture(autouse=True)
def _english_afterwards():
    yield
    speaking._SPOKEN.set(None)


def output(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.stdout


def test_answers_are_chinese_where_it_is_asked(shop: Path) -> None:
    answer = ("recommend", str(shop), "--user", "u0", "-k", "2")
    english, chinese = output(*answer), output("--language", "zh", *answer)
    assert "title" in english
    assert "标题" in chinese
    assert "title" not in chinese
    assert "because of" in english
    assert "因为“" in chinese
    profile = output("--language", "zh", "profile", str(shop), "--user", "u0")
    assert "u0：" in profile
    assert "理由中各通道的占比" in profile
    assert ", " not in profile.partition("理由中各通道的占比")[2]
    explained = output("--language", "zh", "explain", str(shop), "--user", "u0", "--item", "i1")
    assert "成员：ease" in explained
    assert "通道：行为" in explained


def test_a_language_before_the_command_is_that_of_its_answer(shop: Path, tmp_path: Path) -> None:
    chinese = output("--language", "zh", "explain", str(shop), "--user", "u0", "--item", "i1", "--top", "1")
    assert "各通道之和等于得分" in chinese
    assert not any(english in chinese for english in ("add up", "mixed content", "weaker events"))
    words = output("--language", "zh", "profile", str(shop), "--user", "u0", "--words")
    assert "撰写者：固定句式" in words
    (tmp_path / "interactions.csv").write_text(
        "user_id,item_id,at\n" + "".join(f"u{n % 4},i{n},{1_600_000_000 + n}\n" for n in range(40))
    )
    written = tmp_path / "zh.toml"
    assert "个事件" in output("--language", "zh", "init", str(tmp_path), "--output", str(written))
    assert 'language = "zh"' in written.read_text(encoding="utf-8")


def test_names_and_numbers_are_the_same_in_both(shop: Path) -> None:
    plain = output("explain", str(shop), "--user", "u0", "--item", "i1").split()
    chinese = output("--language", "zh", "explain", str(shop), "--user", "u0", "--item", "i1").split()

    def numbers(words: list[str]) -> list[str]:
        return [word for word in words if word[0] in "+-" and word[-1].isdigit()]

    assert numbers(plain) == numbers(chinese)
    assert len(numbers(plain)) > 5


def test_json_is_the_same_in_every_language(shop: Path) -> None:
    answer = ("recommend", str(shop), "--user", "u0", "--json")
    assert json.loads(output("--language", "zh", *answer)) == json.loads(output(*answer))


def test_help_is_chinese_and_a_text_without_translation_stays(capsys: pytest.CaptureFixture[str]) -> None:
    command: Any = speaking.with_help_in(typer.main.get_command(cli.app), "zh")
    assert "推荐" in command.help or "学习" in command.help
    assert command.commands["recommend"].help == "打印一个用户的最佳物品及理由。"
    assert command.commands["keys"].commands["add"].help.startswith("建立一个密钥")
    user = next(option for option in command.commands["recommend"].params if option.name == "user")
    assert user.help == "用户的 ID。"
    again: Any = typer.main.get_command(cli.app)
    assert again.commands["recommend"].help.startswith("Print the best items")
    command.commands["recommend"].help = "A new one."
    assert speaking.with_help_in(command, "zh").commands["recommend"].help == "A new one."


def test_errors_are_chinese_where_it_is_asked_and_english_for_programs(shop: Path, tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        done = CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "200"})
        assert done.exit_code == 1
        return done.output

    asked = ("explain", str(shop), "--user", "u0", "--item", "i999")
    assert refused("--language", "zh", *asked).splitlines() == [
        "NotFoundError 没有物品 'i999'。",
        *("  位置: 目录", "  办法: 您是否想写 'i9' 或 'i19'？"),
    ]
    assert json.loads(refused("--language", "zh", *asked, "--json"))["message"] == "There is no item 'i999'."
    config = tmp_path / "a.toml"
    config.write_text('[data]\npath = "nowhere"\n', "utf-8")
    assert "没有文件夹 'nowhere'。" in refused("--language", "zh", "check", str(config))


@pytest.mark.parametrize(
    "command",
    [
        ("explain", "SHOP", "--user", "u0", "--item", "i1", "--top", "1"),
        ("doctor", "data.toml"),
        ("topics", "SHOP"),
        ("recommend", "SHOP", "--user", "u99999"),  # an error
        ("list", "models", "--user", "u0"),  # an option it does not have
    ],
)
def test_the_language_may_stand_before_or_after_every_command(
    command: tuple[str, ...], shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"u{n % 4},i{n % 9},{1_600_000_000 + n}\n" for n in range(40))
    Path("interactions.csv").write_text("user_id,item_id,at\n" + rows)
    Path("data.toml").write_text('[data]\npath = "."\n')
    name, *rest = (str(shop) if word == "SHOP" else word for word in command)
    places = (["--language", "zh", name, *rest], [name, *rest, "--language", "zh"], [name, "--language=zh", *rest])
    said = [CliRunner().invoke(cli.app, words, env={"COLUMNS": "200"}).output for words in places]
    assert said[0] == said[1] == said[2]
    plain = CliRunner().invoke(cli.app, [name, *rest], env={"COLUMNS": "200"}).output
    assert (plain != said[0]) == ("list" not in command)


def test_every_command_takes_the_one_option_of_the_language() -> None:
    group: Any = typer.main.get_command(cli.app)
    found = [group]
    for command in found:
        found += getattr(command, "commands", {}).values()
        assert [option for option in command.params if "--language" in option.opts] == [
            next(option for option in group.params if "--language" in option.opts)
        ]
    assert len(found) > 30


def test_most_help_texts_are_translated() -> None:
    """Not all: a new option is usable before its translation is written."""
    texts, known = set(), speaking.help_texts("zh")

    def walk(command: Any) -> None:
        texts.update(t for t in (command.help, *(getattr(p, "help", None) for p in command.params)) if t)
        for one in getattr(command, "commands", {}).values():
            walk(one)

    walk(typer.main.get_command(cli.app))
    missing = sorted(text for text in texts if text not in known)
    assert len(missing) <= 0.5 * len(texts), missing
    assert all(any("\u4e00" <= c <= "\u9fff" for c in text) or "、" in text for text in known.values())


@pytest.mark.parametrize(
    ("arguments", "language"),
    [
        (["--language", "zh", "topics"], "zh"),
        (["--language=zh", "--help"], "zh"),
        (["topics", "runs/x", "--language", "zh"], "zh"),
        (["--language", "zh", "topics", "--language", "en"], "en"),
        (["--language"], "en"),
        ([], "en"),
    ],
)
def test_the_language_of_help_is_the_last_one_named(arguments: list[str], language: str) -> None:
    assert speaking.named_language(arguments) == language


def test_the_entry_point_shows_chinese_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["penchant", "recommend", "--help", "--language", "zh"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert "打印一个用户的最佳物品及理由" in capsys.readouterr().out


def test_a_run_with_a_chinese_report_ends_in_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"u{user},i{item:02},{1_600_000_000 + item}" for user in range(30) for item in range(user % 3, 12, 2)]
    Path("interactions.csv").write_text("user_id,item_id,at\n" + "\n".join(rows), encoding="utf-8")
    settings = '[content]\n[members.ease]\nmodel = "ease"\n[fit]\nablation = false\n'
    Path("zh.toml").write_text(settings + '[evaluation]\nlanguage = "zh"\n', encoding="utf-8")
    Path("en.toml").write_text(settings, encoding="utf-8")
    chinese, english = output("run", "zh.toml"), output("run", "en.toml")
    assert "模型包" in chinese
    assert "与最佳基线相比" in chinese
    assert "bundle" in english
    folder = re.findall(r"bundle +(\S+)", english)[0]
    compared = output("--language", "zh", "compare", folder, folder)
    assert "best baseline" not in compared
    assert "second minus" not in compared
    assert "第二个减第一个" in compared
    checked = output("--language", "zh", "check", "zh.toml")
    assert "清洗之前" in checked
    assert "没有发现问题：penchant run zh.toml" in checked
    examined = output("--language", "zh", "doctor", "zh.toml")
    assert "警告，最有害的在前" in examined
    assert "解决办法：" in examined
    assert "事件的列" in examined
    assert "item_id：哪件物品" in examined
    assert "先后顺序" in examined
    for english in ("Columns of", "Kinds of event", "which item", "channel ", " of ", "dropped", "kept"):
        assert english not in examined


def test_an_unknown_language_says_what_there_is() -> None:
    for asked in (["--language", "fr", "list", "models"], ["list", "models", "--language", "fr"]):
        done = CliRunner().invoke(cli.app, asked)
        assert done.exit_code == 1
        assert "There is no language 'fr'." in done.output


def test_words_of_rows_are_translated_and_values_of_the_data_are_not() -> None:
    speaking.speak("zh")
    assert speaking.said_label("member: ease") == "成员：ease"
    assert speaking.said_label("channel: image") == f"通道：{Translator('zh').channel('image')}"
    assert speaking.said_label("Heat: the film") == "Heat: the film"
    assert speaking.said("title") == "title"
    assert speaking.said_source("not distinguishable") == "无显著差异"
