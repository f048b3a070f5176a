"""The summary printed after a run.

In: the recommender or classifiers that were written. Out: their scores beside others, their folders, and a command to try, printed.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from penchant.cli.printing import columns_table, out, print_answer, shell_word
from penchant.cli.speaking import said, said_source, spoken
from penchant.core.messages import message

if TYPE_CHECKING:
    from penchant.metrics.classification_results import ClassificationResults


def print_results(finished: Any, as_json: bool) -> None:
    """Print the scores and the folder of one result, or of each in a list."""
    summaries = []
    for one in finished if isinstance(finished, list) else [finished]:
        report = one.report.read()
        part = next(name for name in SUMMARIES if report.get(name))
        results = report if part == "leaderboard" else report[part]
        summaries.append({"bundle": str(one.folder), "report": str(one.report.html), "results": results})
        if not as_json:
            with spoken(report.get("language", "en")):
                _print_summary(one, report, part)
    if as_json:
        print_answer(summaries if isinstance(finished, list) else summaries[0], as_json)


def _print_summary(one: Any, report: dict[str, Any], part: str) -> None:
    """Print the scores of one result, and where it is."""
    command = SUMMARIES[part](one, report[part])
    places = message(
        "bundle  {bundle}\nreport  {report}\ntry     {command}",
        bundle=str(one.folder),
        report=str(one.report.html),
        command=f"penchant {command}",
    )
    out.print(said(places), markup=False)


def results_lines(found: ClassificationResults) -> list[str]:
    """Return the scores of a classifier on labelled content as lines of text."""
    load = found.review_load
    lines = [f"{found.num_samples:,} samples, {found.num_units:,} independent units"]
    lines += [
        f"{name}: {_cell(asdict(score) | {'low': _known(score.low), 'high': _known(score.high)})}"
        for name, score in found.ours.scores.items()
    ]
    lines.append(f"calibration error: {found.reliability.error:.3f}")
    lines.append(
        f"unsure: {load.share:.1%}; right among the others {load.accuracy:.1%}, among all {load.accuracy_of_all:.1%}"
    )
    return [*lines, *found.notes]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _recommender(trained: Any, leaderboard: dict[str, Any]) -> str:
    """Print a recommender's scores beside the baselines', and return a command to try."""
    table = columns_table("recommender", "recall", "NDCG", "against the best baseline")
    at = leaderboard["metric"].partition("@")[2]
    for row in leaderboard["rows"]:
        if row["role"] in ("ours", "baseline"):
            scores = [row["scores"][f"{metric}@{at}"] for metric in ("recall", "ndcg")]
            change = row["differences"].get(f"ndcg@{at}")
            comparison = (
                f"{change['mean']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}] {said_source(change['outcome'])}"
                if change
                else "–"
            )
            table.add_row(
                row["name"], *[f"{s['mean']:.4f} [{s['low']:.4f}, {s['high']:.4f}]" for s in scores], comparison
            )
    users = f"{leaderboard['num_users']:,}"
    out.print(said(message("At {length} items, {count} test users:", length=at, count=users)), markup=False)
    out.print(table)
    return f"recommend {shell_word(trained.folder)} --user {shell_word(trained.histories.user_ids[0])}"


def _classifier(trained: Any, labelled: dict[str, Any]) -> str:
    """Print a classifier's scores beside those of each modality alone, and return a command to try."""
    table = columns_table("classifier", "accuracy", "macro F1", "AUC", f"ours minus it, {labelled['metric']}")
    for row in labelled["rows"]:
        scores = [row["scores"][metric] for metric in ("accuracy", "macro_f1", "auc")]
        gap = row["difference"]
        comparison = f"{gap['mean']:+.4f} {said_source(gap['outcome'])}" if gap else "–"
        table.add_row(f"{row['name']} ({' + '.join(row['uses']) or row['role']})", *map(_cell, scores), comparison)
    samples = f"{labelled['num_samples']:,}"
    out.print(said(message("{count} test samples:", count=samples)), markup=False)
    out.print(table)
    for note in labelled["notes"]:
        out.print(note, markup=False)
    return f"predict {shell_word(trained.folder)} --{trained.inputs.modalities[0]} ..."


def _screening(trained: Any, screening: dict[str, Any]) -> str:
    """Print how many pictures were blocked, and return a command to try."""
    if screening["num_pictures"]:
        blocked, doubtful = screening["num_blocked"], screening["num_doubtful"]
        out.print(f"{screening['num_pictures']:,} pictures: {blocked:,} blocked, {doubtful:,} for review", markup=False)
    return f"predict {shell_word(trained.folder)} --image ..."


def _cell(score: dict[str, Any]) -> str:
    ends = "" if score["low"] is None else f" [{score['low']:.3f}, {score['high']:.3f}]"
    return f"{score['mean']:.3f}{ends}"


SUMMARIES = {"leaderboard": _recommender, "labelled": _classifier, "screening": _screening}
"""Part of a report to the function that prints it."""
