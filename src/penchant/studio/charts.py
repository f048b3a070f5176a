"""Charts as Vega-Lite specifications.

In: plain rows and words. Out: specifications without colours of their own: "@accent" and the like are read from the style sheet when a chart
is drawn, so that a chart follows the theme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penchant.studio.language import PageTranslator

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
MAX_STEPS = 9
"""Past events with a bar of their own in a waterfall; the others are summed."""
MAX_LABEL = 34
SILENT = {"aria": False}
"""For marks without information: Vega would announce them to screen readers as unnamed images."""

Spec = dict[str, Any]
Rows = list[dict[str, Any]]


def interest_map(rows: Rows, map_names: Sequence[tuple[float, float, str]], translate: PageTranslator) -> Spec:
    """Return the catalog as points, warm where the user's scores are high, with their events and their list marked."""
    place: Spec = {
        "x": {"field": "x", "type": "quantitative", "axis": None, "scale": {"domain": [-1.14, 1.14]}},
        "y": {"field": "y", "type": "quantitative", "axis": None, "scale": {"domain": [-1.14, 1.14]}},
    }
    tip = [{"field": "title", "title": translate("Item")}]
    warmth: Spec = {"field": "warmth", "type": "quantitative", "legend": None}
    marks: dict[str, tuple[Spec, Spec]] = {
        "catalog": (
            {"type": "circle", "size": 30},
            {
                "color": {**warmth, "scale": {"domain": [-1, 3], "range": ["@cold", "@warm"]}},
                "opacity": {**warmth, "scale": {"domain": [-1, 3], "range": [0.35, 0.95]}},
            },
        ),
        "seen": ({"type": "point", "size": 90, "stroke": "@ink", "strokeWidth": 1.6}, {}),
        "suggested": (
            {
                "type": "point",
                "shape": "diamond",
                "filled": True,
                "size": 130,
                "color": "@accent",
                "opacity": 1,
                "stroke": "@card",
                "strokeWidth": 1.4,
            },
            {},
        ),
    }
    present = {row["role"] for row in rows}  # a screen reader would announce a layer without marks as an unnamed image
    points: list[Spec] = [
        {
            "transform": [{"filter": f"datum.role == '{role}'"}],
            "mark": {**mark, "cursor": "pointer"},
            "encoding": {**place, **more, "tooltip": tip},
        }
        for role, (mark, more) in marks.items()
        if role in present
    ]
    words = [{"x": x, "y": y, "name": name} for x, y, name in map_names]
    names: list[Spec] = [
        {
            "data": {"values": words},
            "mark": {"type": "text", "fontSize": 11, "fontWeight": 600, "baseline": "bottom", **ink},
            "encoding": {**place, "text": {"field": "name"}},
        }
        for ink in ({"stroke": "@card", "strokeWidth": 3, "color": "@card"}, {"color": "@soft"})
    ]
    return _spec(rows, 340, {"view": {"stroke": None}, "layer": [*points, *names]})


def steps_of(explanation: Mapping[str, Any], translate: PageTranslator) -> Rows:
    """Return the summands of one score, in the order of a waterfall: the prior, events by size, the rest, the sum."""
    events = sorted(explanation["by_event"], key=lambda e: -abs(e["contribution"]))
    large, small = events[:MAX_STEPS], events[MAX_STEPS:]
    parts = [(translate("Prior, equal for every user"), explanation["prior"], "")]
    parts += [(e["title"], e["contribution"], e["item_id"]) for e in large]
    if small:
        parts.append((translate("{count} other events", count=len(small)), sum(e["contribution"] for e in small), ""))
    rows, level = [], 0.0
    for order, (name, value, item_id) in enumerate(parts):
        rows.append(_step(order, name, level, level + value, item_id))
        level += value
    return [*rows, {**_step(len(rows), translate("Score"), 0.0, explanation["score"], ""), "sign": "total"}]


def waterfall(steps: Rows, translate: PageTranslator) -> Spec:
    """Return the bars from summand to sum."""
    y = _names("label", 230, sort={"field": "order"})
    sign = {"domain": ["for", "against", "total"], "range": ["@good", "@bad", "@accent"]}
    return _spec(
        steps,
        {"step": 30},
        {
            "encoding": {"y": y},
            "layer": [
                {
                    "mark": {"type": "bar", "height": 17, "cornerRadius": 2},
                    "encoding": {
                        "x": {"field": "start", "type": "quantitative", "title": translate("Score")},
                        "x2": {"field": "end"},
                        "color": {"field": "sign", "type": "nominal", "scale": sign, "legend": None},
                        "tooltip": [
                            {"field": "name", "title": translate("Because of")},
                            {"field": "value", "title": translate("adds"), "format": "+.4f"},
                        ],
                    },
                },
                {
                    "mark": {"type": "text", "align": "left", "dx": 5, "fontSize": 11, "color": "@soft"},
                    "encoding": {
                        "x": {"field": "right", "type": "quantitative"},
                        "text": {"field": "value", "type": "quantitative", "format": "+.3f"},
                    },
                },
            ],
        },
    )


def ranges(rows: Rows, title: str, *, zero: bool) -> Spec:
    """Return a dot and its interval for each row of name, mean, low, high, role; `zero` draws the line of no difference."""
    y = _names("name", 190)
    roles = ["ours", "baseline", "member", "pays", "does not pay", "not distinguishable"]
    colours = ["@accent", "@base", "@member", "@good", "@bad", "@base"]
    colour = {"field": "role", "type": "nominal", "legend": None, "scale": {"domain": roles, "range": colours}}
    x = {"type": "quantitative", "title": title, "scale": {"zero": zero}}
    tip = [{"field": f, "format": ".4f", "type": "quantitative"} for f in ("mean", "low", "high")]
    border: Spec = {"mark": {"type": "rule", "color": "@base", **SILENT}, "encoding": {"x": {"datum": 0}}}
    return _spec(
        rows,
        {"step": 27},
        {
            "layer": [
                *([border] if zero else []),
                {
                    "mark": {"type": "rule", "strokeWidth": 1.5, **SILENT},
                    "encoding": {"y": y, "x": {"field": "low", **x}, "x2": {"field": "high"}, "color": colour},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                    "encoding": {"y": y, "x": {"field": "mean", **x}, "color": colour, "tooltip": tip},
                },
            ]
        },
    )


def pairs(rows: Rows, translate: PageTranslator, baseline: str, metric: str) -> Spec:
    """Return ours and the baseline on the same users, for each slice."""
    y = _names("group", 230, labelPadding=12)
    colour = _legend("entry", [translate("ours"), baseline], ["@accent", "@base"])
    tip = [{"field": "entry", "title": translate("recommender")}, {"field": "value", "title": metric, "format": ".4f"}]
    return _spec(
        rows,
        {"step": 25},
        {
            "mark": {"type": "point", "filled": True, "size": 75, "opacity": 1},
            "encoding": {
                "y": y,
                "x": {"field": "value", "type": "quantitative", "title": metric},
                "color": colour,
                "tooltip": tip,
            },
        },
    )


def shift(rows: Rows, translate: PageTranslator) -> Spec:
    """Return the share of each kind of item, in the training events and in the events since."""
    colour = _legend("when", [translate("learned from"), translate("since")], ["@base", "@accent"])
    return _spec(
        rows,
        {"step": 11},
        {
            "mark": {"type": "bar", "cornerRadius": 1},
            "encoding": {
                "y": _names("topic", 200),
                "yOffset": {"field": "when", "sort": None},
                "x": {"field": "share", "type": "quantitative", "title": translate("share"), "axis": {"format": "%"}},
                "color": colour,
                "tooltip": [{"field": "topic", "title": translate("topic")}, {"field": "share", "format": ".1%"}],
            },
        },
    )


def live(translate: PageTranslator) -> Spec:
    """Return two lines over the last minutes; the page adds a point with each update."""
    colour = _legend("what", [translate("requests"), translate("events")], ["@base", "@accent"])
    x = {
        "field": "at",
        "type": "temporal",
        "title": None,
        "axis": {"format": "%H:%M:%S", "tickCount": 5, "grid": False},
    }
    y: Spec = {
        "type": "quantitative",
        "title": translate("per second"),
        "scale": {"zero": True},
        "axis": {"format": "~g"},
    }
    layers: list[Spec] = [
        {
            "mark": {"type": "line", "interpolate": "monotone", "strokeWidth": 2},
            "encoding": {"x": x, "y": {"field": "value", **y}, "color": colour},
        },
        {
            "mark": {"type": "rule", "opacity": 0, **SILENT},
            "encoding": {"y": {"datum": 1, **y}},
        },  # quiet minutes keep a scale
    ]
    spec = _spec([], 190, {"layer": layers})
    return {**spec, "data": {"name": "series", "values": []}}


def _names(field: str, label_limit: int, *, sort: Spec | None = None, **axis: Any) -> Spec:
    """Return the encoding of row names: a nominal axis without lines."""
    lines = {"labelLimit": label_limit, "ticks": False, "domain": False, **axis}
    return {"field": field, "type": "nominal", "sort": sort, "title": None, "axis": lines}


def _legend(field: str, names: list[str], colours: list[str]) -> Spec:
    """Return the encoding of colours by name, with a legend above the chart."""
    scale = {"domain": names, "range": colours}
    return {"field": field, "type": "nominal", "title": None, "scale": scale, "legend": {"orient": "top"}}


def _spec(rows: Rows, height: Any, rest: Spec) -> Spec:
    sizes = {"width": "container", "height": height, "autosize": {"type": "fit-x", "contains": "padding"}}
    return {"$schema": SCHEMA, "data": {"values": rows}, **sizes, **rest}


def _step(order: int, name: str, start: float, end: float, item_id: str) -> dict[str, Any]:
    short = name if len(name) <= MAX_LABEL else f"{name[: MAX_LABEL - 1]}…"
    return {
        "order": order,
        "name": name,
        "label": f"{order}. {short}" if item_id else short,  # two events may be of one item
        "item_id": item_id,
        "value": end - start,
        "start": start,
        "end": end,
        "right": max(start, end),
        "sign": "for" if end >= start else "against",
    }
