"""Two runs side by side: paired where the test is the same, no difference where it is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from penchant.cli import app
from penchant.cli.printing import out
from penchant.core.errors import ConfigError
from penchant.core.messages import Translator
from penchant.metrics.comparison import compare
from penchant.metrics.intervals import BETTER, SAME, IntervalConfig
from penchant.reporting.report import ReportData, StepTime, write_report
from penchant.reporting.run_comparison import NO_LISTS, OTHER_TEST, compare_runs
from penchant.reporting.written import WrittenReport

EN = Translator("en")
USERS = 200
WIDE = CliRunner()


def run(folder: Path, lift: float, *, mark: str = "same", noise: int = 0) -> WrittenReport:
    base = np.random.default_rng(0).uniform(0.1, 0.5, USERS)
    own = base + lift + np.random.default_rng(noise).normal(0, 0.05, USERS)
    table = pl.DataFrame({"user_id": [f"u{n}" for n in range(USERS)], "recall@20": own, "ndcg@20": own / 2})
    other = table.with_columns(pl.lit(0.1).alias("recall@20"), pl.lit(0.05).alias("ndcg@20"))
    board = compare(
        {"Penchant": table, "EASE": other},
        {"Penchant": "ours", "EASE": "baseline"},
        metric="ndcg@20",
        config=IntervalConfig(resamples=100),
    )
    data = ReportData(
        folder.name,
        datetime(2026, 1, 2, tzinfo=UTC),
        0,
        sizes={"users": USERS},
        leaderboard=board,
        weights={"ease": 0.5, "content": lift},
        stages=(StepTime("fit", 65.0),),
        by_request=table.drop("user_id").with_columns(pl.int_range(pl.len(), dtype=pl.Int32).alias("user")),
        test_mark=mark,
    )
    write_report(data, folder / "report")
    return WrittenReport(folder / "report")


def test_same_test_gives_paired_differences(tmp_path: Path) -> None:
    first, second = run(tmp_path / "first", 0.0, noise=1), run(tmp_path / "second", 0.03, noise=2)
    found = compare_runs(first, second, EN)
    assert found.names == ("first", "second")
    recall, ndcg = found.metrics
    assert (recall.metric, ndcg.metric) == ("recall@20", "ndcg@20")
    assert recall.difference is not None
    assert recall.difference.mean == pytest.approx(recall.scores[1].mean - recall.scores[0].mean)
    assert recall.difference.outcome == BETTER
    # paired: the users differ by .4, so that two separate intervals would be three times as wide
    assert recall.difference.high - recall.difference.low < 0.03
    assert "200 lists" in found.note
    assert ("users", "200", "200") in found.facts
    assert ("content, weight", "0.000", "0.030") in found.facts
    assert ("Time", "1 min 5 s", "1 min 5 s") in found.facts
    reverse = compare_runs(second, first, EN).metrics[0].difference
    assert reverse is not None
    assert reverse.mean == pytest.approx(-recall.difference.mean)


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    found = compare_runs(run(tmp_path / "a", 0.0), run(tmp_path / "b", 0.0), EN)
    assert [pair.difference.outcome for pair in found.metrics if pair.difference] == [SAME, SAME]


def test_another_test_gives_no_difference(tmp_path: Path) -> None:
    found = compare_runs(run(tmp_path / "a", 0.0), run(tmp_path / "b", 0.5, mark="other"), EN)
    assert found.note == OTHER_TEST
    assert [pair.difference for pair in found.metrics] == [None, None]


def test_without_single_lists_a_difference_has_no_interval(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a", 0.0), run(tmp_path / "b", 0.03)
    (second.folder / "by_request.parquet").unlink()
    found = compare_runs(first, second, EN)
    assert found.note == NO_LISTS
    (recall, _) = found.metrics
    assert recall.difference is not None
    assert (recall.difference.outcome, found.said(recall, EN)) == ("", "+0.030")


def test_popularity_and_changed_settings_are_on_the_page(tmp_path: Path) -> None:
    written = [run(tmp_path / name, 0.0) for name in ("a", "b")]
    for one, factor, exponent in zip(written, (5.0, 4.0), (1, 2), strict=True):
        facts = {"name": one.folder.parent.name, "histories": {"full_value": factor, "values": False}}
        (one.folder.parent / "manifest.json").write_text(json.dumps({"facts": facts}))
        (one.folder.parent / "ensemble.json").write_text(json.dumps({"members": {"ease": {"alpha": exponent}}}))
        report = one.read()
        rows = report["leaderboard"]["rows"]
        rows.append({**rows[-1], "name": "Popularity", "role": "baseline"})
        one.json.write_text(json.dumps(report))
    facts = {label: (first, second) for label, first, second in compare_runs(*written, EN).facts}
    assert facts["histories.full_value"] == ("5.0", "4.0")
    assert facts["members.ease.alpha"] == ("1", "2")
    assert "histories.values" not in facts
    assert facts["Popularity, NDCG@20"] == ("0.050", "0.050")


def test_other_reports_are_refused(tmp_path: Path) -> None:
    first = run(tmp_path / "a", 0.0)
    write_report(ReportData("empty", datetime(2026, 1, 2, tzinfo=UTC), 0), tmp_path / "b")
    with pytest.raises(ConfigError, match="not the report of a recommender"):
        compare_runs(first, WrittenReport(tmp_path / "b"), EN)
    found = compare_runs(first, first, Translator("zh"))
    assert found.facts[0][0] == "用户"


def test_command_prints_both_runs_and_their_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "_width", 300)  # a terminal that is called dumb has 80 columns whatever COLUMNS says
    monkeypatch.setattr(out, "_height", 50)
    run(tmp_path / "a", 0.0, noise=1)
    run(tmp_path / "b", 0.03, noise=2)
    called = WIDE.invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert called.exit_code == 0, called.output
    lines = [" ".join(line.split()) for line in called.stdout.splitlines()]
    assert any(line.startswith("Recall@20 0.") and line.endswith("better") for line in lines)
    assert "content, weight 0.000 0.030 ≠" in lines
    assert "200 lists" in called.stdout
    plain = WIDE.invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
    assert json.loads(plain.stdout)["metrics"][0]["difference"]["outcome"] == BETTER
    chinese = WIDE.invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--language", "zh"])
    assert "第二个减第一个" in chinese.stdout
    missing = WIDE.invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "none"), "--json"])
    assert missing.exit_code == 1
    assert "There is no report." in missing.stdout
