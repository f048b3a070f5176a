"""Run every configuration on real data and print one table.

In: the configurations, and the real sets they name. Out: Markdown rows of quality, time and memory, for `benchmarks/README.md`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ("movielens", "movielens-cold", "movielens-cold-llm", "tiktok", "baby", "emotify")


def main() -> None:
    chosen = sys.argv[1:] or CONFIGS
    print("| run | recommender | Recall@20 | NDCG@20 | against best baseline | seconds | peak GB |")
    print("|---|---|---|---|---|---|---|")
    for name in chosen:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "penchant", "run", str(ROOT / "configs" / f"{name}.toml"), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            print(f"| {name} | failed: {done.stdout[:200] or done.stderr[-200:]} |")
            continue
        report = json.loads(done.stdout)["results"]
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        for row in report["leaderboard"]["rows"]:
            if row["role"] in ("ours", "baseline"):
                print(line(name, row, seconds, peak), flush=True)
        for row in report["classified"]:
            auc = row["auc"]
            print(f"| {name} | {row['name']} | AUC {auc['mean']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}] | | | | |")


def line(name: str, row: dict, seconds: float, peak: float) -> str:
    recall, ndcg = (row["scores"][f"{metric}@20"] for metric in ("recall", "ndcg"))
    change = row["differences"].get("ndcg@20")
    said = (
        f"{change['mean']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}] {change['outcome']}"
        if change
        else "is it"
    )
    shown = [f"{s['mean']:.4f} [{s['low']:.4f}, {s['high']:.4f}]" for s in (recall, ndcg)]
    return f"| {name} | {row['name']} | {shown[0]} | {shown[1]} | {said} | {seconds:.0f} | {peak:.1f} |"


if __name__ == "__main__":
    main()
