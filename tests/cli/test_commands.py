"""Commands refuse what they cannot mean, and say all there is to say."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penchant.cli import app
from penchant.cli.printing import plain_text, shell_word, toml_text
from penchant.core.errors import MAX_LISTED, nearest
from penchant.recommender.recommender import Recommender
from shop import LOW, make_bundle, tone


def told(*words: object) -> str:
    """Return what a command prints, in one line: the console wraps it."""
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "400"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return make_bundle(tmp_path_factory.mktemp("shop") / "bundle")


def test_only_one_option_says_whom_the_answer_is_for(bundle: Recommender, tmp_path: Path) -> None:
    user, item = bundle.histories.user_ids[0], bundle.catalog.item_ids[0]
    both = told("recommend", bundle.folder, "--user", user, "--history", item)
    assert "ConfigError --user and --history are given" in both
    assert "leave out --user or --history" in both
    every = told("recommend", bundle.folder, "--user", user, "--all-users", tmp_path / "lists.parquet")
    assert "--user and --all-users are given" in every
    assert not (tmp_path / "lists.parquet").exists()
    for command in (["profile"], ["explain", "--item", item]):
        assert "--user and --history are given" in told(*command, bundle.folder, "--user", user, "--history", item)


def test_explain_shows_the_strongest_terms_and_sums_the_rest(bundle: Recommender) -> None:
    user = max(range(len(bundle.histories)), key=lambda row: int(bundle.histories.lengths()[row]))
    name, item = bundle.histories.user_ids[user], bundle.catalog.item_ids[0]
    found = bundle.explain(name, item)
    assert len(found.by_event) > 3
    values = sorted((value for *_, value in found.by_event), key=abs, reverse=True)
    shown = told("explain", bundle.folder, "--user", name, "--item", item, "--top", 2)
    assert f"for any user {found.prior:+.4f}" in shown
    assert shown.count("event: ") == 2
    assert f"{len(values) - 2} weaker events (--top {len(values)}) {sum(values[2:]):+.4f}" in shown
    assert all(f"{value:+.4f}" in shown for value in values[:2])
    assert told("explain", bundle.folder, "--user", name, "--item", item).count("event: ") == len(values)
    assert sum(values) + found.prior == pytest.approx(found.score, abs=1e-5)


def test_explain_tells_what_would_have_to_be_different(bundle: Recommender) -> None:
    user = bundle.histories.user_ids[0]
    last = bundle.recommend(user, 5, reasons=False)[4].item_id
    found = bundle.counterfactual(user, last, 5)
    assert found.removal is not None
    words = ("explain", bundle.folder, "--user", user, "--item", last, "--counterfactual", "-k", 5)
    assert told(*words) == found.text
    assert json.loads(told(*words, "--json")) == json.loads(json.dumps(found.as_dict()))
    assert "不会进入前 5 名" in told("--language", "zh", *words)
    assert "NotFoundError There is no item 'i99'" in told(*words[:5], "i99", *words[6:])


def test_run_of_a_folder_says_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    shown = told("run", folder)
    assert "'my data' is a folder, and settings are a file." in shown
    assert f"`penchant init {shell_word(folder)}`" in shown


def test_unknown_names_list_few_of_many() -> None:
    names = [f"item {n:04}" for n in range(1400)]
    assert nearest("zzz", names).endswith(f"{names[MAX_LISTED - 1]}, and 1,360 more.")
    assert nearest("zzz", names[:3]) == "Known names: item 0000, item 0001, item 0002."


def test_plain_text_has_no_escapes() -> None:
    assert plain_text(r"x86\_64 \[1, 2\] &lt; 0.1 \(EASE\) a\b") == r"x86_64 [1, 2] < 0.1 (EASE) a\b"


@pytest.mark.parametrize("text", ["商店", 'a "b" \\ c', "tab\tand\x7f"])
def test_toml_text_is_read_back(text: str) -> None:
    assert tomllib.loads(f"x = {toml_text(text)}") == {"x": text}


def test_list_names_every_table() -> None:
    assert "ease" in told("list", "models")
    assert "minilm" in json.loads(CliRunner().invoke(app, ["list", "encoders", "--json"]).output)


@pytest.mark.slow  # test_slim.py runs the demo by default, without encoders
def test_demo_writes_settings_that_pass_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "try penchant recommend runs/demo" in told("demo", "--size", "tiny")
    written = tomllib.loads(Path("runs/demo.toml").read_text(encoding="utf-8"))
    assert written["output"] == "runs/demo"
    assert "nothing is wrong: penchant run runs/demo.toml" in told("check", "runs/demo.toml")
    shown = told("evaluate", "runs/demo")
    assert "\\" not in shown.partition("At 20 items")[0]
    assert "recommender recall NDCG" in shown
    assert "| Recall@20 |" not in shown
    assert "| Recall@20 |" in told("evaluate", "runs/demo", "--markdown")


def test_doctor_says_that_voice_notes_were_not_transcribed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(8):
        tone(tmp_path / f"note{i}.wav", LOW + 40 * i, i)
    rows = "".join(f"u{u},i{i},2024-05-{i + 1:02}T10:00:00Z,note{i}.wav\n" for u in range(9) for i in range(8))
    (tmp_path / "interactions.csv").write_text("user_id,item_id,at,audio\n" + rows)
    (tmp_path / "run.toml").write_text("[reviews]\nbuilt_in = true\n[reviews.transcript]\n")
    assert "72 voice notes were not transcribed; `penchant run` does" in told("doctor", "run.toml")
    assert "transcribed" not in told("doctor", tmp_path)


def test_commands_show_no_bars_of_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    code = (
        "from penchant.cli.printing import reported_errors\n"
        "with reported_errors(False):\n    from tqdm.auto import tqdm\n    list(tqdm(range(3)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
