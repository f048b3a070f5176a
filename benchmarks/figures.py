"""The figures of README.md, README.zh-CN.md and benchmarks/README.md, from the reports of runs.

In: the folder of runs (RUNS/NAME/report/report.json). Out: the marked blocks of the documents with the runs' numbers; a row or block
whose run is not there stays as it is and is named.

    make figures                                        # rewrite from runs/
    python benchmarks/figures.py --runs FOLDER --check  # change nothing; exit code 1 where a figure differs
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "README.zh-CN.md", "benchmarks/README.md")
README_RUNS = ("movielens", "movielens-cold", "tiktok", "baby")
"""Runs of the rows of `<!-- results -->`, in order."""
ROWS = {"**Penchant**": "Penchant", "EASE": "EASE", "ItemKNN": "ItemKNN", "Popularity": "Popularity"}
"""Recommender in benchmarks/README.md to its name in a report; other rows are measured otherwise and left alone."""

Report = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--check", action="store_true", help="change nothing, fail where a figure differs")
    options = parser.parse_args()
    reports = {p.parents[1].name: json.loads(p.read_text()) for p in sorted(options.runs.glob("*/report/report.json"))}
    stale = False
    for name in DOCUMENTS:
        old = (ROOT / name).read_text()
        new = rewritten(old, reports)
        stale |= new != old
        if new != old and not options.check:
            (ROOT / name).write_text(new)
        for line in unified_diff(old.splitlines(), new.splitlines(), name, name, n=0, lineterm=""):
            print(line)
    missing = sorted({*README_RUNS, "demo"} - set(reports))
    print(f"unchecked, no report in {options.runs}: {', '.join(missing) or 'none'}")
    sys.exit(int(stale and options.check))


def rewritten(text: str, reports: dict[str, Report]) -> str:
    """Return a document with the figures of the runs there are."""
    for name, fill in (("results", results), ("table", table), ("demo", demo)):
        pattern = rf"(<!-- {name} -->\n)(.*?)(<!-- /{name} -->)"
        text = re.sub(pattern, lambda m, fill=fill: m[1] + fill(m[2], reports) + m[3], text, flags=re.DOTALL)
    return text


def results(block: str, reports: dict[str, Report]) -> str:
    """Fill `| set | **.263 / .193** | .159 / .102 |`: ours and EASE, among new items content kNN."""
    runs = iter(README_RUNS)

    def fill(cells: list[str]) -> list[str]:
        report = reports.get(next(runs))
        names = {row["name"] for row in report["leaderboard"]["rows"]} if report else set()
        for cell, name in ((1, "Penchant"), (2, "EASE" if "EASE" in names else "Content kNN")):
            if report:
                pair = " / ".join(short(score(report, name, metric)["mean"], 3) for metric in ("recall@20", "ndcg@20"))
                cells[cell] = re.sub(r"-?\.\d+ / -?\.\d+", pair, cells[cell])
        return cells

    return by_row(block, fill)


def table(block: str, reports: dict[str, Report]) -> str:
    """Fill `| run | recommender | Recall@20 | NDCG@20 | ...`, of which an empty first cell repeats the run above."""
    run = ""

    def fill(cells: list[str]) -> list[str]:
        nonlocal run
        run = cells[0].split(",")[0] or run
        report, name = reports.get(run), ROWS.get(cells[1])
        if report and name:
            for cell, metric in ((2, "recall@20"), (3, "ndcg@20")):
                bold = "**" if cells[cell].startswith("**") else ""
                cells[cell] = interval(score(report, name, metric), bold)
        return cells

    return by_row(block, fill)


def by_row(block: str, fill: Callable[[list[str]], list[str]]) -> str:
    """Apply a function to the cells of each row of a Markdown table, its head left out."""
    lines = []
    for number, line in enumerate(block.splitlines()):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        lines.append(
            f"| {' | '.join(fill(cells))} |".replace("|  |", "| |") if line[:1] == "|" and number > 1 else line
        )
    return "\n".join(lines) + "\n"


def demo(block: str, reports: dict[str, Report]) -> str:
    """Write the rows of the sample world, and which modality is worth something to which users."""
    report = reports.get("demo")
    if report is None:
        return block
    return "\n".join(demo_lines(report)) + "\n"


def demo_lines(report: Report) -> Iterator[str]:
    best = report["leaderboard"]["best_baseline"]
    yield f"| recommender | Recall@20 | NDCG@20 | NDCG@20 against {best} |"
    yield "|---|---|---|---|"
    for name in ROWS.values():
        found = next(row for row in report["leaderboard"]["rows"] if row["name"] == name)
        gain = found["differences"].get("ndcg@20")
        scores = " | ".join(interval(found["scores"][metric]) for metric in ("recall@20", "ndcg@20"))
        yield f"| {name} | {scores} | {interval(gain, sign='+') if gain else 'chosen on ' + report['leaderboard']['chosen_on']} |"
    gains = [g for g in report["group_gains"] if g["gain"]["outcome"] != "not distinguishable"]
    said = (f"{g['channel']} for {g['group']} {interval(g['gain'], sign='+')}" for g in gains)
    yield ""
    yield f"Gain of a modality by group of users, {len(gains)} of {len(report['group_gains'])} cells distinguishable from 0:"
    yield f"{'; '.join(said)}."


def score(report: Report, name: str, metric: str) -> dict[str, float]:
    return next(row["scores"][metric] for row in report["leaderboard"]["rows"] if row["name"] == name)


def interval(value: dict[str, float], bold: str = "", sign: str = "") -> str:
    ends = ", ".join(short(value[end], 4) for end in ("low", "high"))
    return f"{bold}{sign if value['mean'] >= 0 else ''}{short(value['mean'], 4)}{bold} [{ends}]"


def short(value: float, digits: int) -> str:
    """Return .0621 for 0.0621."""
    return f"{value:.{digits}f}".replace("0.", ".", 1)


if __name__ == "__main__":
    main()
