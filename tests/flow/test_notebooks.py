"""The notebooks run from the first cell to the last, and their .ipynb files are those of their scripts, without outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

import notebook_files
from penchant.core.logs import logger
from penchant.encoders import ENCODERS
from penchant.models import MODELS
from penchant.world import WorldConfig, make_world

SCRIPTS = sorted(notebook_files.FOLDER.glob("*.py"))
LONG = ("is_multimodal_worth_it",)
"""Notebooks that fit every arm of an ablation."""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a working directory with a small world that the notebooks find instead of generating theirs."""
    home = tmp_path_factory.mktemp("notebooks")
    make_world(home / "world", WorldConfig(size="tiny", media=False, num_users=80, num_items=60))
    return home


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch):
    """Undo what a notebook changes in its process: names it adds, log lines it shows."""
    monkeypatch.setattr(ENCODERS, "_added", {})
    monkeypatch.setattr(MODELS, "_added", {})
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


def test_there_are_four() -> None:
    assert len(SCRIPTS) == 4


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.stem)
def test_the_notebook_file_is_that_of_its_script(script: Path) -> None:
    made = notebook_files.as_file(script.read_text(encoding="utf-8"))
    assert script.with_suffix(".ipynb").read_text(encoding="utf-8") == made, "run `make notebooks`"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.stem)
def test_every_heading_is_in_both_languages(script: Path) -> None:
    for kind, text in notebook_files.cells_of(script.read_text(encoding="utf-8")):
        for line in text.splitlines() if kind == "markdown" else ():
            if line.startswith("#"):
                assert any("\u4e00" <= c <= "\u9fff" for c in line), line
                assert any(c.isascii() and c.isalpha() for c in line), line


@pytest.mark.parametrize(
    "script",
    [pytest.param(file, marks=[pytest.mark.slow] if file.stem in LONG else []) for file in SCRIPTS],
    ids=lambda file: file.stem,
)
def test_it_runs(script: Path, worlds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(worlds)
    notebook_files.run(script.read_text(encoding="utf-8"), script.stem)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.stem)
def test_it_runs_as_it_is(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the world that it generates itself, pictures and sounds included."""
    monkeypatch.chdir(tmp_path)
    notebook_files.run(script.read_text(encoding="utf-8"), script.stem)
