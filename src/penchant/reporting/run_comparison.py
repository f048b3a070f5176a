"""Two runs side by side.

In: the written reports of two recommenders. Out: their metrics, the second minus the first list by list where both were measured on the same test,
and what else differs: popularity, baselines, members, modalities, time, settings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import polars as pl

from penchant.core.artifacts import MANIFEST
from penchant.core.errors import ConfigError
from penchant.core.messages import Message, Translator, message
from penchant.metrics.intervals import BootstrapMeans, Difference, Interval
from penchant.reporting import number_format
from penchant.reporting.labels import metric_label, size_label
from penchant.reporting.report import BY_REQUEST, USER
from penchant.reporting.written import WrittenReport

SHOWN = ("recall", "ndcg", "mrr", "hit_rate")
"""Metrics that are compared, at the cutoff of the first run."""
POPULARITY = (message("Popularity"), message("Recent popularity"))
"""Baselines that are shown beside both runs, whichever is the best."""
NO_SETTINGS = ("name", "settings", "version")
"""Facts of a manifest that are no settings of the run."""
MAX_CHANGES, MAX_VALUE = 40, 60
"""Settings that differ, shown at most, and characters of a value."""
OTHER_TEST = message(
    "The runs were measured on different tests: their numbers do not compare, and no difference is given."
)
NO_LISTS = message(
    "A run lacks the metrics of its single lists (an earlier version wrote it, or a user was erased): differences have no interval."
)
PAIRED = message(
    "Both were measured on the same {count} lists. Intervals of differences are 95 %, paired over users, and allow for the number of metrics."
)


@dataclass(frozen=True)
class MetricPair:
    """One metric of both runs.

    Attributes:
        metric: For example "ndcg@20".
        scores: Of the first and the second run.
        difference: Second minus first; None where the tests differ. Without an interval where single lists are missing.
    """

    metric: str
    scores: tuple[Interval, Interval]
    difference: Difference | None


@dataclass(frozen=True)
class RunComparison:
    """Two runs side by side.

    Attributes:
        names: Of the runs.
        note: What the differences are worth.
        metrics: The deciding one of the first run is among them.
        facts: What else is known of both: label, first, second.
    """

    names: tuple[str, str]
    note: Message
    metrics: tuple[MetricPair, ...]
    facts: tuple[tuple[str, str, str], ...]

    @staticmethod
    def said(pair: MetricPair, translate: Translator) -> str:
        """Return a difference with its outcome; "" where there is none."""
        gap = pair.difference
        return "" if gap is None else f"{number_format.difference(gap)} {translate(gap.outcome)}".strip()


def compare_runs(first: WrittenReport, second: WrittenReport, translate: Translator) -> RunComparison:
    """Return two recommenders side by side.

    Raises:
        ConfigError: A report is not that of a recommender, or they have no metric in common.
    """
    reports = (first.read(), second.read())
    boards = [_board(report, written) for report, written in zip(reports, (first, second), strict=True)]
    scores = [_ours(board)["scores"] for board in boards]
    at = boards[0]["metric"].partition("@")[2]
    metrics = [m for m in (f"{name}@{at}" for name in SHOWN) if m in scores[0] and m in scores[1]]
    if not metrics:
        raise ConfigError(
            f"The runs have no metric at {at} in common.",
            where="compare",
            fix="run both with the same evaluation.ks and evaluation.cutoff",
        )
    marks = [report.get("test_mark", "") for report in reports]
    is_same = bool(marks[0]) and marks[0] == marks[1]
    lists = [_by_request(one) for one in (first, second)] if is_same else []
    note: Message
    found: list[Difference | None]
    if not is_same:
        note, found = OTHER_TEST, [None] * len(metrics)
    elif lists[0] is None or lists[1] is None or len(lists[0]) != len(lists[1]):
        note, found = NO_LISTS, [_plain(scores[0][m], scores[1][m]) for m in metrics]
    else:
        note = message(PAIRED.msgid, count=number_format.count(len(lists[0])))
        found = _paired(lists[0], lists[1], metrics)
    pairs = tuple(
        MetricPair(m, (_interval(scores[0][m]), _interval(scores[1][m])), difference)
        for m, difference in zip(metrics, found, strict=True)
    )
    facts = [*_facts(reports, boards, translate), *_changed_settings(first.folder.parent, second.folder.parent)]
    return RunComparison((reports[0]["name"], reports[1]["name"]), note, pairs, tuple(facts))


def _board(report: Mapping[str, Any], written: WrittenReport) -> dict[str, Any]:
    board: dict[str, Any] | None = report.get("leaderboard")
    if not board or not any(row["role"] == "ours" for row in board["rows"]):
        raise ConfigError(
            "This is not the report of a recommender.",
            where=str(written.json),
            fix="compare two bundles of recommendation runs",
        )
    return board


def _ours(board: Mapping[str, Any]) -> dict[str, Any]:
    return next(row for row in board["rows"] if row["role"] == "ours")


def _by_request(written: WrittenReport) -> pl.DataFrame | None:
    path = written.folder / BY_REQUEST
    return pl.read_parquet(path) if path.is_file() else None


def _paired(first: pl.DataFrame, second: pl.DataFrame, metrics: list[str]) -> list[Difference | None]:
    values = np.hstack([part.select(metrics).to_numpy().astype(np.float64) for part in (first, second)])
    means = BootstrapMeans(values, users=first[USER].cast(pl.String))
    return [*means.differences([(len(metrics) + n, n) for n in range(len(metrics))])]


def _plain(first: Mapping[str, Any], second: Mapping[str, Any]) -> Difference:
    """Return a difference of two means without an interval."""
    nan = math.nan
    return Difference(second["mean"] - first["mean"], nan, nan, nan, "", 0)


def _interval(score: Mapping[str, Any]) -> Interval:
    mean, low, high = (math.nan if score[end] is None else score[end] for end in ("mean", "low", "high"))
    return Interval(mean, low, high, score.get("num_users") or 0)


def _facts(
    reports: tuple[dict[str, Any], dict[str, Any]], boards: list[dict[str, Any]], translate: Translator
) -> Iterator[tuple[str, str, str]]:
    """Yield label, first and second of what may explain a difference; what neither has is left out."""

    def both(label: str, values: list[str]) -> Iterator[tuple[str, str, str]]:
        if any(values):
            yield label, values[0] or number_format.MISSING, values[1] or number_format.MISSING

    for name in ("users", "items", "train", "test"):
        sizes = [report.get("sizes", {}).get(name) for report in reports]
        yield from both(size_label(translate, name), ["" if s is None else number_format.count(s) for s in sizes])
    metric = boards[0]["metric"]
    bases = [next((r for r in b["rows"] if r["name"] == b["best_baseline"]), None) for b in boards]
    yield from both(
        translate("best baseline") + translate(", ") + metric_label(translate, metric),
        [
            ""
            if r is None or metric not in r["scores"]
            else f"{r['name']} {number_format.number(r['scores'][metric]['mean'])}"
            for r in bases
        ],
    )
    for name in POPULARITY:
        rows = [next((r for r in b["rows"] if r["name"] == name), None) for b in boards]
        means = [None if r is None or metric not in r["scores"] else r["scores"][metric]["mean"] for r in rows]
        label = translate(message("{name}, {metric}", name=translate(name), metric=metric_label(translate, metric)))
        yield from both(label, ["" if mean is None else number_format.number(mean) for mean in means])
    for channel in dict.fromkeys(p["channel"] for r in reports for p in (r.get("ablation") or {}).get("payoffs", ())):
        yield from both(translate.channel(channel), [_payoff(report, channel, translate) for report in reports])
    weights = [report.get("weights") or {} for report in reports]
    for member in sorted({m for one in weights for m in one}, key=lambda m: -max(one.get(m, 0.0) for one in weights)):
        if any(one.get(member, 0.0) > 0 for one in weights):
            values = [number_format.number(one[member]) if member in one else "" for one in weights]
            yield from both(translate("{member}, weight", member=member), values)
    spent = [sum(stage["seconds"] for stage in report.get("stages", ())) for report in reports]
    yield from both(translate("Time"), [number_format.seconds(s) if s else "" for s in spent])


def _changed_settings(first: Path, second: Path) -> Iterator[tuple[str, str, str]]:
    """Yield each setting that two bundles state and that differs: its name and both values."""
    stated = [_flat(_stated(folder)) for folder in (first, second)]
    names = [n for n in dict.fromkeys([*stated[0], *stated[1]]) if stated[0].get(n) != stated[1].get(n)]
    for name in names[:MAX_CHANGES]:
        one, other = (shorten(s.get(name, number_format.MISSING), MAX_VALUE, placeholder="…") for s in stated)
        yield name, one, other
    if len(names) > MAX_CHANGES:
        yield "…", f"+{len(names) - MAX_CHANGES}", f"+{len(names) - MAX_CHANGES}"


def _stated(folder: Path) -> dict[str, Any]:
    """Return what a bundle states of its settings: the facts of its manifest, and the tables of its members."""
    found: dict[str, Any] = {}
    for file, part in ((MANIFEST, "facts"), ("ensemble.json", "members")):
        try:
            stated = json.loads((folder / file).read_text(encoding="utf-8")).get(part, {})
        except (OSError, ValueError):
            continue
        found |= {part: stated} if part == "members" else {n: v for n, v in stated.items() if n not in NO_SETTINGS}
    return found


def _flat(value: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return nested tables as one, names joined by dots."""
    found: dict[str, str] = {}
    for name, one in value.items():
        if isinstance(one, Mapping):
            found |= _flat(one, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = str(one)
    return found


def _payoff(report: Mapping[str, Any], channel: str, translate: Translator) -> str:
    for payoff in (report.get("ablation") or {}).get("payoffs", ()):
        if payoff["channel"] == channel:
            return f"{translate(payoff['outcome'])} {number_format.signed(payoff['gain']['mean'])}"
    return ""
