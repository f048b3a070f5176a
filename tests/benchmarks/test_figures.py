"""Figures of documents are those of the reports."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import figures

TEXT = """before .1 / .2
<!-- results -->
| set | Penchant | EASE |
|---|---|---|
| MovieLens | **.263 / .193** | .159 / .102 |
| cold | **.374 / .297** | .140 / .076 (no content) |
<!-- /results -->
<!-- table -->
| run | recommender | Recall@20 | NDCG@20 | |
|---|---|---|---|---|
| movielens, last | **Penchant** | **.2630** [.2555, .2704] | **.1934** [.1882, .1989] | +.1 |
| | another | .2 | .3 | |
| | EASE | .1 | .1 | |
<!-- /table -->
<!-- demo -->
<!-- /demo -->
"""


def interval(mean: float) -> dict[str, Any]:
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01, "outcome": "better"}


def report() -> dict[str, Any]:
    rows = [
        {
            "name": name,
            "scores": {"recall@20": interval(mean), "ndcg@20": interval(mean / 2)},
            "differences": {"ndcg@20": interval(0.05)} if name != "EASE" else {},
        }
        for name, mean in (("Penchant", 0.3), ("EASE", 0.2), ("ItemKNN", 0.15), ("Popularity", 0.1))
    ]
    gains = [{"channel": "image", "group": "motif", "gain": interval(0.02)}]
    board = {"best_baseline": "EASE", "chosen_on": "validation", "rows": rows}
    return {"leaderboard": board, "group_gains": gains}


def test_blocks_take_the_numbers_of_their_runs_and_nothing_else_changes() -> None:
    found = figures.rewritten(TEXT, {"movielens": report()}).splitlines()
    expected = TEXT.splitlines()
    expected[4] = "| MovieLens | **.300 / .150** | .200 / .100 |"
    expected[10] = "| movielens, last | **Penchant** | **.3000** [.2900, .3100] | **.1500** [.1400, .1600] | +.1 |"
    expected[12] = "| | EASE | .2000 [.1900, .2100] | .1000 [.0900, .1100] | |"
    assert found == expected


def test_the_sample_world_is_written_whole() -> None:
    found = figures.rewritten(TEXT, {"demo": report()})
    assert "| Penchant | .3000 [.2900, .3100] | .1500 [.1400, .1600] | +.0500 [.0400, .0600] |" in found
    assert "image for motif +.0200 [.0100, .0300]." in found
    assert figures.rewritten(found, {"demo": report()}) == found
    assert figures.rewritten(TEXT, {}) == TEXT


def test_among_new_items_content_stands_where_ease_does_not() -> None:
    among_new = report()
    rows = among_new["leaderboard"]["rows"]
    rows[1]["name"] = "Content kNN"
    block = "| set | Penchant | compared |\n|---|---|---|\n| MovieLens | **.1 / .1** | .2 / .2 (content kNN) |\n"
    found = figures.results(block, {"movielens": among_new})
    assert found.splitlines()[2] == "| MovieLens | **.300 / .150** | .200 / .100 (content kNN) |"
