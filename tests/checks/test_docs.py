"""Documents name what exists: links and anchors, commands and their options, settings of tables, pages of the site, names in Python examples."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

import penchant
from penchant.cli import app

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


def commands(page: Path) -> list[list[str]]:
    """Return the words of each `penchant COMMAND ...` in the code of a page; a comment, a pipe or a second command ends it."""
    found = []
    joined = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^(?: {4}|`{0,3}\$ )?(penchant [a-z].*)$", joined, re.MULTILINE):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        found.append(words[1 : next((n for n, word in enumerate(words) if word in ("|", "&&", ";")), len(words))])
    for span in re.findall(r"`(penchant [a-z][^`]*)`", joined):
        try:
            found.append(shlex.split(span)[1:])
        except ValueError:
            continue
    return found


def _options(command: Any) -> set[str]:
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in ("CHANGELOG.md", "LOG.md")], ids=name_of)
def test_commands_and_options_exist(page: Path) -> None:
    top: Any = typer.main.get_command(app)
    for words in commands(page):
        command, rest = top, words
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, f"penchant {' '.join(words)}"
            command, rest = command.commands[rest[0]], rest[1:]
        for word in rest:
            if re.match(r"^--?[a-z][a-z-]*$", word):
                assert word in _options(command), f"penchant {' '.join(words)}: there is no {word}"


def test_the_check_of_commands_sees_what_is_there() -> None:
    found = commands(ROOT / "README.md")
    assert ["recommend", "runs/demo", "--user", "u0001"] in found
    assert len(found) > 10


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
