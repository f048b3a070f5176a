"""What a run came to.

In: the bundle or classifiers that were written. Out: their worth beside others, where they are, and what to try next, printed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from penchant.classifiers.bundle import TrainedClassifier
from penchant.cli.printing import columns_table, out, say
from penchant.recommender.recommender import Recommender


def tell_recommender(bundle: Recommender, as_json: bool) -> None:
    """Say where everything is and what it is worth."""
    folder = bundle.folder or Path()
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    if as_json:
        say({"bundle": str(folder), "report": str(folder / "report" / "report.html"), "results": report}, as_json)
        return
    table = columns_table("recommender", "recall", "NDCG", "against the best baseline")
    at = report["league"]["metric"].partition("@")[2]
    for row in report["league"]["rows"]:
        if row["role"] in ("ours", "baseline"):
            scores = [row["scores"][f"{metric}@{at}"] for metric in ("recall", "ndcg")]
            change = row["differences"].get(f"ndcg@{at}")
            said = (
                f"{change['mean']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}] {change['verdict']}"
                if change
                else "is it"
            )
            table.add_row(row["name"], *[f"{s['mean']:.4f} [{s['low']:.4f}, {s['high']:.4f}]" for s in scores], said)
    out.print(f"At {at} items, {report['league']['num_users']:,} test users:", markup=False)
    out.print(table)
    out.print(f"bundle  {folder}\nreport  {folder / 'report' / 'report.html'}", markup=False)
    out.print(f"try     penchant recommend {folder} --user {bundle.histories.user_ids[0]}", markup=False)


def tell_classifiers(trained: list[TrainedClassifier], as_json: bool) -> None:
    """Say where each classifier is and what it is worth beside each modality alone."""
    found = []
    for one in trained:
        folder = one.folder or Path()
        report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))["labelled"]
        found.append({"bundle": str(folder), "report": str(folder / "report" / "report.html"), "results": report})
        if as_json:
            continue
        table = columns_table("classifier", "accuracy", "macro F1", "AUC", f"ours minus it, {report['metric']}")
        for row in report["rows"]:
            scores = [row["scores"][metric] for metric in ("accuracy", "macro_f1", "auc")]
            gap = row["difference"]
            said = f"{gap['mean']:+.4f} {gap['verdict']}" if gap else "is it"
            table.add_row(f"{row['name']} ({' + '.join(row['uses']) or row['role']})", *map(_cell, scores), said)
        out.print(f"{report['num_samples']:,} test samples:", markup=False)
        out.print(table)
        for note in report["notes"]:
            out.print(note, markup=False)
        out.print(f"bundle  {folder}\nreport  {folder / 'report' / 'report.html'}", markup=False)
        out.print(f"try     penchant predict {folder} --{one.inputs.modalities[0]} ...", markup=False)
    if as_json:
        say(found, as_json)


def tell_screening(trained: TrainedClassifier, as_json: bool) -> None:
    """Say where the classifier is and what was held back."""
    folder = trained.folder or Path()
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))["screening"]
    page = folder / "report" / "report.html"
    if as_json:
        say({"bundle": str(folder), "report": str(page), "results": report}, as_json)
        return
    if report["num_pictures"]:
        out.print(
            f"{report['num_pictures']:,} pictures: {report['num_held']:,} held back, {report['num_doubtful']:,} for a person",
            markup=False,
        )
    out.print(f"bundle  {folder}\nreport  {page}\ntry     penchant predict {folder} --image ...", markup=False)


def _cell(score: dict[str, Any]) -> str:
    ends = "" if score["low"] is None else f" [{score['low']:.3f}, {score['high']:.3f}]"
    return f"{score['mean']:.3f}{ends}"
