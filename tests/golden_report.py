"""The values of a report that must not move, in a form that can be stored.

In: a report.json. Out: tests/flow/golden_report.json, anew, after a change that is meant to move numbers:

    pytest tests/flow/test_recommendation.py --basetemp=/tmp/flow
    python tests/golden_report.py /tmp/flow/flow0/bundle/report/report.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

METRICS = ("recall@5", "recall@20", "precision@20", "hit_rate@20", "ndcg@20", "mrr@20", "map@20")

BINNED = "calibration error"


def golden(report: dict[str, Any]) -> dict[str, Any]:
    """Return what is compared: lists of numbers with a tolerance, everything else exactly."""
    board, ablation = report["leaderboard"], report["ablation"]
    found: dict[str, Any] = {
        "sizes": report["sizes"],
        "findings": {f["check"]: f["count"] for f in report["findings"] if f["count"]},
        "best baseline": f"{board['best_baseline']} chosen on {board['chosen_on']}",
        "weights": [report["weights"][name] for name in sorted(report["weights"])],
        "members": sorted(report["weights"]),
    }
    for row in board["rows"]:
        for metric in METRICS:
            found[f"leaderboard: {row['name']}: {metric}"] = ends(row["scores"][metric])
        if row["differences"]:
            difference = row["differences"][board["metric"]]
            found[f"difference: {row['name']}: {board['metric']}"] = ends(difference)
            found[f"outcome: {row['name']}"] = difference["outcome"]
    for row in ablation["rows"]:
        name = "+".join(row["uses"])
        found[f"ablation: {name}"] = ends(row["score"])
        for base in ("to_all", "to_behaviour"):
            found[f"ablation: {name}: {base}"] = ends(row[base]) if row[base] else None
    for payoff in ablation["payoffs"]:
        found[f"payoff: {payoff['channel']}"] = ends(payoff["gain"])
        found[f"payoff outcome: {payoff['channel']}"] = payoff["outcome"]
    for part in report["slices"]:
        name = f"{part['dimension']} {part['group']}"
        found[f"slice: {name}: Penchant"] = [*ends(part["ours"]), *ends(part["difference"])]
        found[f"slice: {name}: baseline"] = ends(part["baseline"])
        found[f"slice size: {name}"] = f"{part['num_users']} users, {part['num_pairs']} pairs"
    for row in report["variety"]:
        found[f"variety: {row['name']}"] = [row[name] for name in ("coverage", "novelty", "diversity", "gini")]
    for row in report["classified"]:
        found[f"interest: {row['name']}: auc"] = ends(row["auc"])
        names = ("threshold", "accuracy", "precision", "recall", "f1", "average_precision")
        found[f"interest: {row['name']}: scores"] = [row[name] for name in names]
        found[f"interest: {row['name']}: {BINNED}"] = [row["reliability"]["error"]]
    return json.loads(json.dumps(found))


def tolerance(name: str) -> float:
    """Return how far a stored number may be off: rounding moves an answer into the next bin, which depends on the number of threads."""
    return 5e-3 if name.endswith(BINNED) else 1e-4


def ends(interval: dict[str, float | None]) -> list[float]:
    """Return mean, low and high; an end that is not given (few users) is NaN."""
    return [float("nan") if interval[name] is None else round(interval[name], 6) for name in ("mean", "low", "high")]


if __name__ == "__main__":
    target = Path(__file__).parent / "flow/golden_report.json"
    values = golden(json.loads(Path(sys.argv[1]).read_text()))
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in values.items())
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n")
