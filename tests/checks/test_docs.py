"""Documents name what exists: links and anchors, commands and their options, settings of tables, pages of the site, names in Python examples."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

import penchant
from penchant.classifiers import CLASSIFIERS
from penchant.cli import app
from penchant.core.errors import ConfigError
from penchant.encoders import ENCODERS
from penchant.experiment.selection import each_value
from penchant.language.screen import LanguageConfig
from penchant.learning.settings import LearningConfig
from penchant.models import MODELS
from penchant.pipelines.tasks import TASKS, find_task
from penchant.service.trial import TrialConfig
from penchant.streams.settings import StreamsConfig

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    file
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "deploy/*.md", "requirements/*.md")
    for file in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
TRANSLATED = ROOT / "docs" / "zh"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return a page without its fenced code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def slug(heading: str) -> str:
    """Return the anchor that a heading gets on the repository's pages."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain))


@cache
def anchors(page: Path) -> frozenset[str]:
    return frozenset(slug(found) for found in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: there is no such heading in {target.name}"


def test_the_check_of_links_sees_a_wrong_one() -> None:
    assert (
        slug("What users write, show and say, and what they are") == "what-users-write-show-and-say-and-what-they-are"
    )
    assert slug("`fit.ship` and [more](x.md)") == "fitship-and-more"
    assert "erasing-a-user" in anchors(ROOT / "docs" / "service.md")
    assert "erasing-users" not in anchors(ROOT / "docs" / "service.md")


def commands(page: Path, *, spans: bool = True) -> list[list[str]]:
    """Return the words of each `penchant COMMAND ...` in the code of a page; a comment, a pipe or a second command ends it.

    Args:
        page: Of the documentation.
        spans: Take those within sentences, too, which may leave out what a command needs.
    """
    found = []
    joined = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^(?: {4}|`{0,3}\$ )?(penchant [a-z-].*)$", joined, re.MULTILINE):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        found.append(words[1 : next((n for n, word in enumerate(words) if word in ("|", "&&", ";")), len(words))])
    for span in re.findall(r"`(penchant [a-z-][^`]*)`", joined) if spans else []:
        try:
            found.append(shlex.split(span)[1:])
        except ValueError:
            continue
    return found


def _options(command: Any) -> set[str]:
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}


def _resolved(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command of some words, and the words after it."""
    command: Any = typer.main.get_command(app)
    rest = words[2:] if words[:1] == ["--language"] else words
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"penchant {' '.join(words)}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


SHOWN = [page for page in PAGES if page.name not in ("CHANGELOG.md", "LOG.md")]


@pytest.mark.parametrize("page", SHOWN, ids=name_of)
def test_commands_and_options_exist(page: Path) -> None:
    for words in commands(page):
        command, rest = _resolved(words)
        for word in rest:
            if re.match(r"^--?[a-z][a-z-]*$", word):
                assert word in _options(command), f"penchant {' '.join(words)}: there is no {word}"


@pytest.mark.parametrize("page", SHOWN, ids=name_of)
def test_commands_have_what_they_need(page: Path) -> None:
    """The command line takes each of them as it stands: every argument is there, every value is of its type."""
    for words in commands(page, spans=False):
        if (words[0].startswith("-") and words[0] != "--language") or {"--help", "..."} & set(words):
            continue
        command, rest = _resolved(words)
        command.make_context("penchant", list(rest))


def test_the_check_of_commands_sees_what_is_there() -> None:
    found = commands(ROOT / "README.md")
    assert ["recommend", "runs/demo", "--user", "u0001"] in found
    assert len(found) > 10


def tables(page: Path) -> list[str]:
    """Return each TOML text of a page: fenced, or indented and beginning with a table or a setting."""
    text = page.read_text(encoding="utf-8")
    indented = re.findall(r"(?:^(?: {4}.*|[ \t]*)\n)+", FENCE.sub("", text), re.MULTILINE)
    begins = re.compile(r"\s*(#.*\n)*(\[[\w.\"]+\]|[a-z_.]+ = )")
    return [
        *re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL),
        *(
            block.partition("\n    penchant ")[0]
            for block in indented
            if begins.match(re.sub("^ {4}", "", block, flags=re.M))
        ),
    ]


def _wrong(table: dict[str, Any]) -> list[str]:
    """Return why a table is no settings of a run, a trial, a learner, a stream, an assistant; nothing where one of them takes it."""
    if "language" in table and isinstance(table["language"], dict):
        LanguageConfig.read(table["language"], where="language")
        return []
    for name, kind in {"learning": LearningConfig, "streams": StreamsConfig}.items():
        if name in table:
            kind.read(table[name], where=name)
            return []
    if "exploration" in table or "variants" in table:
        TrialConfig.read(table, where="trial")
        return []
    wrong = []
    for name in [table["task"]] if "task" in table else TASKS:
        whole = {"name": "x", **table, "data": {"path": "data", **table.get("data", {})}}
        try:
            find_task(name).settings.read(whole, where=name)
            for kinds, part in ((MODELS, "members"), (CLASSIFIERS, "classifiers")):
                for key, options in table.get(part, {}).items():
                    for one in each_value(options) if kinds is MODELS else [options]:
                        kinds.make(key, one, where=f"{part}.{key}")
            for key, options in {**table.get("content", {}), **table.get("user_content", {})}.items():
                encoder = ENCODERS.load(options["encoder"])
                encoder.config_class.read(options.get("options", {}), where=key)
            return []
        except ConfigError as error:
            wrong.append(f"{name}: {error.message} {error.where}")
    return wrong


@pytest.mark.parametrize("page", [page for page in SHOWN if tables(page)], ids=name_of)
def test_settings_are_taken_as_they_stand(page: Path) -> None:
    for text in tables(page):
        wrong = _wrong(tomllib.loads(re.sub("^ {4}", "", text, flags=re.MULTILINE)))
        assert not wrong, f"{text}\n{wrong}"


def test_every_page_is_in_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = set(re.findall(r"[\w./-]+\.md", nav))
    for page in sorted((ROOT / "docs").rglob("*.md")):
        assert str(page.relative_to(ROOT / "docs")) in listed, f"mkdocs.yml lacks {page.name}"


@pytest.mark.parametrize("page", sorted(TRANSLATED.glob("*.md")), ids=lambda page: page.name)
def test_a_translated_page_names_its_english_one(page: Path) -> None:
    assert (TRANSLATED.parent / page.name).exists()
    assert f"(../{page.name})" in page.read_text(encoding="utf-8").partition("\n## ")[0]


def test_python_examples_use_names_that_exist() -> None:
    """Each `penchant.NAME` and `from penchant... import NAME` in the page about Python."""
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("penchant"):
                module = __import__(node.module, fromlist=["_"])
                for name in node.names:
                    assert hasattr(module, name.name), f"{node.module}.{name.name}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "penchant":
                assert hasattr(penchant, node.attr), node.attr


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    mkdocs = ROOT / ".venv-docs" / "bin" / "mkdocs"
    if not mkdocs.exists():
        pytest.skip("`make site` sets up MkDocs")
    (ROOT / ".build").mkdir(exist_ok=True)
    page = [sys.executable, "-m", "typer", "penchant.cli", "utils", "docs", "--name", "penchant", "--output"]
    subprocess.run([*page, ".build/cli.md"], check=True, cwd=ROOT)
    done = subprocess.run(
        [mkdocs, "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING -" not in done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 20
    assert 'id="penchant.run"' in (tmp_path / "reference" / "index.html").read_text(encoding="utf-8")
    for built in pages:  # nothing is loaded from another host
        loaded = re.findall(
            r"<(?:script|img|link rel=\"stylesheet\")[^>]+(?:src|href)=\"(https?:[^\"]+)", built.read_text()
        )
        assert not loaded, built
