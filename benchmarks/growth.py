"""How cost grows with events and items, and what that says about sizes that this machine cannot hold.

In: sizes. Out: CPU seconds, peak memory and bytes of what was learned at each size, slopes with 95 % intervals, a projection, a plot.

    python benchmarks/growth.py --events 1e5 1e6 1e7 --items 1e3 1e4 1e5 1e6 --out runs/growth
    python benchmarks/growth.py --flow 1e5 3e5 1e6 3e6 --out runs/growth

Each size runs in a process of its own, so that its peak memory is its own. Members and lists are measured on drawn histories, `--flow` on the
whole run from files to the report (with one item for 200 events, 2,000 test users, settings of `benchmarks/large.py`). Sizes that were
measured are kept in the folder and not measured again. CPU seconds are of one thread: on a machine with other work they are longer by a
quarter or so, but not by the waiting.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from penchant.core.schema import Histories
from penchant.fusion.late import EnsembleWeights
from penchant.models.ensemble import Ensemble
from penchant.models.member import Member, make_member
from penchant.recommender.candidates import FROM_ITEMS, Shortlist

PER_USER = 50
MEMBERS = ("popularity", "item_knn", "rp3beta", "graph_filter", "transitions")
LISTS = 50
TARGET_EVENTS, TARGET_ITEMS = 1e9, 1e8
CORE_HOUR, GIGABYTE_HOUR = 0.04, 0.005
"""Dollars for a core and for a gigabyte of memory for an hour: what clouds ask for machines of general use, late 2026, about."""
PROGRAM_GB = 0.23
"""Memory of a process that has imported the program and fitted nothing."""
FOLDERS = Path(__file__).parent


def drawn(events: int, items: int, seed: int = 0) -> Histories:
    """Return users of 50 events each: some topics a user, popular items more often, an order that follows the topics."""
    rng = np.random.default_rng(seed)
    users = max(2, events // PER_USER)
    topics = max(4, items // 200)
    size = items // topics
    own = rng.integers(topics, size=(users, 4))
    topic = np.take_along_axis(own, np.sort(rng.integers(4, size=(users, PER_USER)), axis=1), 1)
    item = (topic * size + (rng.random((users, PER_USER)) ** 3 * size).astype(np.int64)).astype(np.int32).ravel()
    at = np.sort(rng.integers(10**15, 10**15 + 366 * 86_400_000_000, (users, PER_USER)), axis=1).ravel()
    offsets = np.arange(0, len(item) + 1, PER_USER)
    return Histories([str(n) for n in range(users)], offsets, item, at, np.ones(len(item), np.float32), items)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    found = work()
    return found, time.process_time() - began


def measure_members(events: int, items: int) -> dict[str, float]:
    """Return the CPU seconds of fitting each member and of a list, and bytes."""
    for name in MEMBERS:  # what the first fit imports is not its cost
        make_member(name, {"model": name}).fit(drawn(2000, 200))
    histories, steps = drawn(events, items), dict[str, float]()
    fitted: dict[str, Member] = {}
    for name in MEMBERS:
        fitted[name], steps[f"fit {name}"] = timed(lambda name=name: make_member(name, {"model": name}).fit(histories))
    steps["bytes learned"] = float(sum(a.nbytes for one in fitted.values() for a in one.arrays().values()))
    weights = {name: 1 / len(fitted) for name in fitted}
    ensemble = Ensemble(fitted, EnsembleWeights(weights), dict.fromkeys(fitted, ("behaviour",)))
    users = np.linspace(0, len(histories) - 1, LISTS).astype(int)
    drawn_users = [histories.rows(int(user), int(user) + 1) for user in users]
    _, seconds = timed(lambda: [ensemble.score(one) for one in drawn_users])
    steps["list, every item"] = seconds / LISTS
    shortlist = Shortlist(ensemble, histories, histories, items)
    if items > FROM_ITEMS:
        shortlist.build()
        steps["recall of candidates"] = shortlist.found.recall if shortlist.found else 0.0
    if shortlist.found is not None:
        few, every = shortlist.found, np.ones(items, bool)

        def listed(one: Histories) -> None:
            found = few.for_list(one, 10, every)
            assert found is not None
            found[0].of(found[1])

        _, seconds = timed(lambda: [listed(one) for one in drawn_users])
        steps["list, candidates"] = seconds / LISTS
    return steps


def measure_flow(events: int, items: int) -> dict[str, float]:
    """Return the CPU seconds of each step of a run from files to the report: its wall time times the share of the run that was computed."""
    from penchant.pipelines.recommendation import RecommendationConfig, run
    from penchant.world import WorldConfig, make_world

    sys.path.insert(0, str(FOLDERS))
    from large import SETTINGS

    with tempfile.TemporaryDirectory() as scratch:
        world = Path(scratch) / "world"
        make_world(world, WorldConfig(size="large", num_users=events // PER_USER, num_items=items))
        settings = {
            **SETTINGS,
            "evaluation": {"max_users": 2000, "examples": 1},
            "data": {"path": world},
            "output": f"{scratch}/out",
            "cache": f"{scratch}/cache",
        }
        config = RecommendationConfig.read(settings, where="benchmarks/growth.py")
        began, computed = time.perf_counter(), time.process_time()
        recommender = run(config)
        wall, computed = time.perf_counter() - began, time.process_time() - computed
        assert recommender.folder is not None
        stages = json.loads((recommender.folder / "report" / "report.json").read_text())["stages"]
        stored = sum(file.stat().st_size for file in recommender.folder.glob("*.safetensors"))
    steps = {one["name"]: one["seconds"] * computed / wall for one in stages}
    return {**steps, "whole run": computed, "bytes learned": float(stored)}


MEASURES: dict[str, Callable[[int, int], dict[str, float]]] = {"members": measure_members, "flow": measure_flow}


def point(kind: str, events: int, items: int, folder: Path) -> dict[str, Any]:
    """Return one size's measurement, from the folder or from a process of its own."""
    file = folder / f"{kind}-{events}-{items}.json"
    if not file.is_file():
        subprocess.run([sys.executable, __file__, "--one", kind, str(events), str(items), str(file)], check=True)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def one_point(kind: str, events: int, items: int, file: Path) -> None:
    steps = MEASURES[kind](events, items)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    file.write_text(json.dumps({"events": events, "items": items, "peak": peak, "steps": steps}))
    print(f"{kind}: {events:,} events, {items:,} items: {json.dumps(steps)} peak {peak / 1e9:.2f} GB", flush=True)


@dataclass(frozen=True)
class Growth:
    """cost = exp(level) x events ^ by_events x items ^ by_items, with 95 % intervals of the exponents, and how well it fits."""

    level: float
    by_events: float
    by_items: float
    intervals: tuple[tuple[float, float], tuple[float, float]]
    largest_error: float

    @classmethod
    def fit(cls, events: Sequence[float], items: Sequence[float], cost: Sequence[float]) -> Growth | None:
        """Return the least-squares fit of logarithms; None from fewer than four sizes, or where one of the two does not vary."""
        rows = np.column_stack([np.ones(len(events)), np.log(events), np.log(items)])
        if len(rows) < 4 or np.linalg.matrix_rank(rows) < 3:
            return None
        logs = np.log(np.maximum(cost, 1e-6))
        found = np.linalg.lstsq(rows, logs, rcond=None)[0]
        left = logs - rows @ found
        free = max(len(rows) - 3, 1)
        spread = np.sqrt(np.diag(np.linalg.inv(rows.T @ rows)) * (left @ left) / free) * stats.t.ppf(0.975, free)
        ends = tuple((float(found[n] - spread[n]), float(found[n] + spread[n])) for n in (1, 2))
        return cls(*map(float, found), (ends[0], ends[1]), float(np.exp(np.abs(left).max())))


def exponent(sizes: Sequence[float], cost: Sequence[float]) -> tuple[float, float, float]:
    """Return the slope of log cost over log size with its 95 % interval."""
    found = stats.linregress(np.log(sizes), np.log(np.maximum(cost, 1e-6)))
    half = found.stderr * stats.t.ppf(0.975, max(len(sizes) - 2, 1))
    return float(found.slope), float(found.slope - half), float(found.slope + half)


def fits_of(one: dict[str, Any]) -> float:
    """Return the CPU seconds of fitting all members."""
    return sum(value for name, value in one["steps"].items() if name.startswith("fit "))


def costs_of(points: list[dict[str, Any]]) -> dict[str, list[float]]:
    names = [name for name in points[0]["steps"] if name.startswith("fit ")]
    costs = {name: [one["steps"][name] for one in points] for name in names}
    costs["all members"] = [fits_of(one) for one in points]
    costs["list, every item"] = [one["steps"]["list, every item"] for one in points]
    costs["memory above that of the program, GB"] = [max(one["peak"] / 1e9 - PROGRAM_GB, 0.01) for one in points]
    costs["learned, GB"] = [one["steps"]["bytes learned"] / 1e9 for one in points]
    return costs


def report_members(points: list[dict[str, Any]]) -> None:
    """Print the exponents of events and of items over the whole grid."""
    events, items = ([one[key] for one in points] for key in ("events", "items"))
    print("\n| cost | exponent of events | of items | largest error of the fit |\n|---|---|---|---|")
    for name, values in costs_of(points).items():
        found = Growth.fit(events, items, values)
        if found is None:
            continue
        slopes = zip((found.by_events, found.by_items), found.intervals, strict=True)
        ends = [f"{slope:.2f} [{low:.2f}, {high:.2f}]" for slope, (low, high) in slopes]
        print(f"| {name} | {ends[0]} | {ends[1]} | x {found.largest_error:.1f} |")


def report_projection(points: list[dict[str, Any]]) -> None:
    """Print what the target sizes would cost: from the largest size with as many events an item, and in proportion to the events.

    The exponents of small sizes are below 1, because a part of each cost does not depend on them; to go on with those would promise too much.
    """
    ratio = TARGET_EVENTS / TARGET_ITEMS
    along = sorted((one for one in points if one["events"] == ratio * one["items"]), key=lambda one: one["events"])
    if len(along) < 3:
        return
    sizes, last = [one["events"] for one in along], along[-1]
    times = TARGET_EVENTS / last["events"]
    print(f"\n{ratio:.0f} events an item, {sizes[0]:,} to {sizes[-1]:,} events, then {times:,.0f} times as many:\n")
    print(
        f"| cost | exponent | at {last['events']:,} events | in proportion at {TARGET_EVENTS:.0e} |\n|---|---|---|---|"
    )
    found = {}
    for name, values in costs_of(along).items():
        slope, low, high = exponent(sizes, values)
        unit = "GB" if "GB" in name else "s"
        found[name] = times * values[-1]
        print(f"| {name} | {slope:.2f} [{low:.2f}, {high:.2f}] | {values[-1]:.3g} {unit} | {found[name]:,.3g} {unit} |")
    hours, gigabytes = found["all members"] / 3600, found["memory above that of the program, GB"]
    money = hours * (CORE_HOUR + GIGABYTE_HOUR * gigabytes)
    price = f"${CORE_HOUR} a core hour and ${GIGABYTE_HOUR} a gigabyte hour"
    print(f"\nOne fit: {hours:,.1f} hours of one core, {gigabytes:,.0f} GB of memory, ${money:,.0f} at {price}")


def report_flow(points: list[dict[str, Any]]) -> None:
    sizes = [one["events"] for one in points]
    print("\n| step | " + " | ".join(f"{size:,} events" for size in sizes) + " | exponent |")
    print("|---" * (len(sizes) + 2) + "|")
    for name in points[0]["steps"]:
        values = [one["steps"][name] for one in points]
        slope = "" if len(sizes) < 3 else "{:.2f} [{:.2f}, {:.2f}]".format(*exponent(sizes, values))
        shown = [f"{value / 1e6:.0f} MB" if "bytes" in name else f"{value:.1f} s" for value in values]
        print(f"| {name} | {' | '.join(shown)} | {slope} |")
    peaks = [f"{one['peak'] / 1e9:.2f} GB" for one in points]
    print(f"| peak memory | {' | '.join(peaks)} | |")


def plot(series: dict[str, list[tuple[float, float]]], file: Path) -> None:
    """Write lines over two logarithmic axes."""
    wide, high, edge = 720, 420, 60
    places = [place for line in series.values() for place in line]
    (left, right), (low, top) = ((math.log10(min(v)), math.log10(max(v))) for v in zip(*places, strict=True))
    low, top = math.floor(low), math.ceil(top)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - left) / max(right - left, 1e-9)
        up = (math.log10(max(y, 10**low)) - low) / max(top - low, 1e-9)
        return edge + across * (wide - 200 - edge), high - edge - up * (high - 2 * edge)

    marks = []
    for power in range(low, top + 1):
        _, y = at(10**left, 10.0**power)
        marks.append(
            f'<path d="M{edge} {y:.0f}H{wide - 200}" stroke="#ddd"/><text x="{edge - 6}" y="{y + 4:.0f}" text-anchor="end">{10.0**power:g} s</text>'
        )
    for power in range(math.ceil(left), math.floor(right) + 1):
        x, _ = at(10.0**power, 10.0**low)
        marks.append(f'<text x="{x:.0f}" y="{high - edge + 18}" text-anchor="middle">10^{power}</text>')
    colours = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
    for number, (name, line) in enumerate(series.items()):
        colour, spots = colours[number % len(colours)], [at(x, y) for x, y in sorted(line)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in spots)
        marks.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/><g fill="{colour}">{dots}</g>')
        marks.append(f'<text x="{spots[-1][0] + 8:.0f}" y="{spots[-1][1] + 4:.0f}" fill="{colour}">{name}</text>')
    style = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" {style}><rect width="100%" height="100%" fill="#fff"/>'
    file.write_text(head + "".join(marks) + "</svg>\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=float, nargs="*", default=[])
    parser.add_argument("--items", type=float, nargs="*", default=[1e4])
    parser.add_argument("--flow", type=float, nargs="*", default=[], help="events of whole runs")
    parser.add_argument("--out", type=Path, default=Path("runs/growth"))
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.one:
        kind, events, items, file = told.one
        one_point(kind, int(events), int(items), Path(file))
        return
    told.out.mkdir(parents=True, exist_ok=True)
    grid = [(int(e), int(i)) for i in told.items for e in told.events]
    members = [point("members", e, i, told.out) for e, i in sorted(grid, key=lambda size: size[0] * size[1])]
    flow = [point("flow", int(e), int(e) // 200, told.out) for e in sorted(told.flow)]
    series: dict[str, list[tuple[float, float]]] = {}
    if members:
        report_members(members)
        report_projection(members)
        for items in sorted({one["items"] for one in members}):
            fits = [(one["events"], fits_of(one)) for one in members if one["items"] == items]
            series[f"members, {items:,} items"] = fits
    if flow:
        report_flow(flow)
        series["whole run"] = [(one["events"], one["steps"]["whole run"]) for one in flow]
    if series:
        plot(series, told.out / "growth.svg")
        print(f"\n{told.out / 'growth.svg'}")


if __name__ == "__main__":
    main()
