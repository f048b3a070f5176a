"""The trial page: variants with the intervals of their metrics.

In: the state of the service's trial. Out: rows of a table and of a chart; or how to start one.
"""

from __future__ import annotations

import math
from typing import Any

from fastapi import APIRouter, Response

from penchant.core.messages import unpacked
from penchant.service.trial import TrialConfig
from penchant.service.trial_results import TrialResults
from penchant.studio import charts
from penchant.studio.language import PageTranslator
from penchant.studio.page_context import Context
from penchant.studio.rendering import render

ROLES = {"better": "pays", "worse": "does not pay", "not distinguishable": "not distinguishable"}
"""Outcome to the role that colours a row of the chart."""


def add_trial(router: APIRouter) -> None:
    """Add the page of the trial."""

    @router.get("/studio/trial")
    def show_trial(context: Context) -> Response:
        context.require("read")
        trial = context.service.trial
        if trial is None:
            return render(context, "trial", results=None)
        results = trial.results()
        return render(
            context,
            "trial",
            results=results,
            rows=_rows(results, context.translate),
            ended=[(one.name, context.translate.said(unpacked(one.ended))) for one in results.variants if one.ended],
            chart=_chart(results, context.translate),
            explored=_explored(trial.config, context.translate),
            rails=[(rail.metric, rail.worse_by) for rail in trial.config.guardrails],
            hours={name: metric.hours for name, metric in trial.config.metrics.items()},
        )


def _rows(results: TrialResults, translate: PageTranslator) -> list[dict[str, Any]]:
    """Return a row for each variant and metric."""
    found = []
    for variant in results.variants:
        for one in variant.metrics:
            gap = one.against_first
            is_known = gap is not None and not math.isnan(gap.low)
            found.append(
                {
                    "variant": variant.name,
                    "users": variant.num_users,
                    "metric": one.metric,
                    "mean": None if math.isnan(one.mean) else one.mean,
                    "counted": one.num_users,
                    "gap": f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]" if gap and is_known else "",
                    "outcome": _outcome(gap.outcome if gap and is_known else None, gap is None, translate),
                }
            )
    return found


def _outcome(outcome: str | None, is_first: bool, translate: PageTranslator) -> str:
    if is_first:
        return translate("what the others are compared with")
    return translate("too few users or events yet") if outcome is None else translate.said(outcome)


def _chart(results: TrialResults, translate: PageTranslator) -> dict[str, Any] | None:
    """Return the differences to the first variant as dots with intervals; None while there are none."""
    rows = []
    for variant in results.variants:
        for one in variant.metrics:
            gap = one.against_first
            if gap is not None and not math.isnan(gap.low):
                name = variant.name if len(variant.metrics) == 1 else f"{variant.name}: {one.metric}"
                ends = {"mean": gap.mean, "low": gap.low, "high": gap.high}
                rows.append({"name": name, **ends, "role": ROLES[str(gap.outcome)]})
    title = translate("difference to {variant}", variant=results.variants[0].name)
    return charts.ranges(rows, title, zero=True) if rows else None


def _explored(config: TrialConfig, translate: PageTranslator) -> list[tuple[str, str]]:
    """Return how the lists of each variant explore."""
    found = []
    for name in config.names:
        own = config.exploration_of(name)
        words = {
            "none": translate("shows the best items"),
            "epsilon": translate(
                "shows {share} of lists in random order of the best {count} items",
                share=f"{own.epsilon:.0%}",
                count=own.candidates,
            ),
            "thompson": translate(
                "draws the weights of the members for each list, and shows {share} of lists in random order of the best {count} items",
                share=f"{own.epsilon:.0%}",
                count=own.candidates,
            ),
        }
        found.append((name, words[own.policy]))
    return found
