"""The model page: leaderboard, modality values, slices.

In: `report/report.json` of the bundle. Out: rows of the leaderboard, of the gain of each modality, and of the slices; and the report itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penchant.core.errors import NotFoundError
from penchant.core.messages import unpacked
from penchant.recommender.recommender import Recommender
from penchant.reporting.first_screen import verdict_of
from penchant.reporting.labels import metric_label
from penchant.reporting.report import MESSAGES
from penchant.reporting.written import without_examples
from penchant.studio import charts
from penchant.studio.language import PageTranslator

MAX_SLICES = 24
FEWEST = 20
"""A slice of fewer users has no point in the chart: its mean is mostly noise."""


def read_report(recommender: Recommender) -> dict[str, Any] | None:
    """Return what was measured; None for a bundle without a report."""
    path = _folder(recommender) / "report.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def report_page(recommender: Recommender, *, with_examples: bool) -> str:
    """Return the report's own page.

    Args:
        recommender: The bundle.
        with_examples: Whether to show the examples of users.

    Raises:
        NotFoundError: The bundle has none, or one of an earlier version whose examples cannot be left out.
    """
    path = _folder(recommender) / "report.html"
    if not path.is_file():
        raise NotFoundError("This bundle has no report.", where="the bundle", fix="make it with `penchant run`")
    page = path.read_text(encoding="utf-8")
    if with_examples:
        return page
    if recommender.report.has_unmarked_examples:
        raise NotFoundError(
            "This report names users.", where="the bundle", fix="use a key with the scope personal, or run it again"
        )
    return without_examples(page)


def read_messages(recommender: Recommender) -> dict[str, str]:
    """Return the messages of the report, by their English text; none for a bundle without them."""
    path = _folder(recommender) / MESSAGES
    if not path.is_file():
        return {}
    return {text: unpacked(stored) for text, stored in json.loads(path.read_text(encoding="utf-8")).items()}


def quality(report: dict[str, Any] | None, translate: PageTranslator) -> dict[str, str] | None:
    """Return whether the bundle is better than the best baseline, in a sentence, and the outcome; None where that was not measured."""
    board = (report or {}).get("leaderboard") or {}
    metric, best = board.get("metric"), board.get("best_baseline")
    rows = {row["name"]: row for row in board.get("rows", ())}
    ours = next((row for row in rows.values() if row["role"] == "ours"), None)
    gain = ((ours or {}).get("differences") or {}).get(metric)
    if gain is None or gain.get("mean") is None or metric is None or best is None or best not in rows:
        return None
    base = rows[best]["scores"][metric]["mean"]
    said = verdict_of(gain["outcome"], best, metric, gain["mean"], base, translate)
    ceiling = ((report or {}).get("ceiling") or {}).get(metric)
    if ceiling and ceiling.get("mean") and ours is not None:
        share = f"{ours['scores'][metric]['mean'] / ceiling['mean']:.0%}".replace("%", " %")
        more = translate("It reaches {share} of what can be reached on this data.", share=share)
        said = translate("{first} {second}", first=said, second=more)
    return {"sentence": said, "outcome": gain["outcome"]}


def measured(report: dict[str, Any], messages: Mapping[str, str], translate: PageTranslator) -> dict[str, Any]:
    """Return the rows and charts of a report; a part that was not measured is None."""
    return {
        "sizes": report.get("sizes") or {},
        "leaderboard": _leaderboard(report.get("leaderboard"), translate),
        "payoffs": _payoffs(report.get("ablation"), translate),
        "slices": _slices(report, messages, translate),
        "weights": sorted((report.get("weights") or {}).items(), key=lambda pair: -pair[1]),
        "created_at": str(report.get("created_at", ""))[:16].replace("T", " "),
    }


def _leaderboard(leaderboard: dict[str, Any] | None, translate: PageTranslator) -> dict[str, Any] | None:
    if leaderboard is None:
        return None
    metric, label = leaderboard["metric"], metric_label(translate, leaderboard["metric"])
    found = (_range(row["name"], row["role"], row["scores"].get(metric)) for row in leaderboard["rows"])
    rows = [row for row in found if row is not None]
    return {"metric": label, "rows": rows, "chart": charts.ranges(rows, label, zero=False)}


def _payoffs(ablation: dict[str, Any] | None, translate: PageTranslator) -> dict[str, Any] | None:
    if not ablation or not ablation.get("payoffs"):
        return None
    rows = []
    for payoff in ablation["payoffs"]:
        outcome = payoff["outcome"]
        row = _range(translate.channel(payoff["channel"]), outcome, payoff["gain"])
        if row is not None:
            rows.append({**row, "outcome": translate(outcome)})
    label = metric_label(translate, ablation["metric"])
    return {"metric": label, "rows": rows, "chart": charts.ranges(rows, label, zero=True)}


def _slices(report: dict[str, Any], messages: Mapping[str, str], translate: PageTranslator) -> dict[str, Any] | None:
    slices = (report.get("slices") or [])[:MAX_SLICES]
    if not slices:
        return None
    baseline = (report.get("leaderboard") or {}).get("best_baseline") or translate("baseline")
    rows, points = [], []

    def said(text: str) -> str:
        return translate.said(messages.get(text, text))

    for s in slices:
        name = f"{said(s['dimension'])}: {said(s['group'])}"
        outcome = (s.get("difference") or {}).get("outcome", "")
        values = (s["ours"]["mean"], s["baseline"]["mean"])
        rows.append((name, *values, s["num_users"], translate(outcome) if outcome else ""))
        if s["num_users"] >= FEWEST:
            sides = ((baseline, values[1]), (translate("ours"), values[0]))  # ours is drawn last, on top
            points += [{"group": name, "entry": entry, "value": value} for entry, value in sides]
    metric = metric_label(translate, slices[0]["metric"])
    chart = charts.pairs(points, translate, baseline, metric) if points else None
    return {"metric": metric, "rows": rows, "baseline": baseline, "chart": chart}


def _range(name: str, role: str, score: dict[str, Any] | None) -> dict[str, Any] | None:
    if score is None or score.get("mean") is None:
        return None
    mean = score["mean"]
    low, high = (mean if score.get(end) is None else score[end] for end in ("low", "high"))
    return {"name": name, "role": role, "mean": mean, "low": low, "high": high}


def _folder(recommender: Recommender) -> Path:
    return (recommender.folder or Path()) / "report"
