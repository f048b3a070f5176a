"""From everyone's lists to the table.

In: the folders of one split under several draws, with rows of lists and facts. Out: one section of `RESULTS.md`, replaced if it is there, and
`scores.json`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leaderboard_split import KNOWN_TIME, PROTOCOLS
from penchant.core.schema import Histories, Recommendations
from penchant.metrics.intervals import (
    Difference,
    DrawnDifference,
    Interval,
    IntervalConfig,
    corrected,
    hierarchical,
    interval_ends,
)
from penchant.metrics.ranking import measure

METRICS = ("ndcg@10", "recall@10", "ndcg@20", "recall@20")
DECIDES = "ndcg@10"
HOUR = 3_600_000_000
GAPS = ("tie", "up to 1 h", "over 1 h")
OURS = "penchant"
RECENCY = "recency_popularity"
FEWEST = 20
"""Requests of a group that is shown."""
INTERVALS = IntervalConfig()


@dataclass(frozen=True)
class Measured:
    """Every request under every draw.

    Attributes:
        keys: Rows that have lists in every draw.
        values: Row to metric to (draws, requests); NaN where a draw does not have the request.
        users: (requests,) the user of each.
        gap: (draws, requests) place in `GAPS` of the time between the last known event and the choice, -1 where it is not known.
    """

    keys: tuple[str, ...]
    values: Mapping[str, Mapping[str, np.ndarray]]
    users: pl.Series
    gap: np.ndarray


@dataclass(frozen=True)
class Scored:
    """One row that has lists.

    Attributes:
        key: Folder of the row.
        title: In the table.
        facts: What it cost, and how it ended: of the first draw, seconds summed over draws.
        scores: Metric to mean with interval, over users and draws.
        deviation: Standard deviation of the deciding metric over draws; NaN with one.
        ahead: Ours minus this row in the deciding metric, corrected for the number of rows; None for ours.
        rests_on: Share of that difference by gap, in the order of `GAPS`; empty where there is no difference or no time.
    """

    key: str
    title: str
    facts: Mapping[str, Any]
    scores: Mapping[str, Interval]
    deviation: float
    ahead: Difference | None
    rests_on: tuple[float, ...]

    @property
    def is_ours(self) -> bool:
        return self.key.startswith(OURS)


def write(folders: Sequence[Path], titles: Mapping[str, str], results: Path, command: str = "") -> None:
    """Score every row of some draws; write the section and `scores.json`."""
    facts = [
        {path.parent.name: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("rows/*/facts.json"))}
        for folder in folders
    ]
    complete = [key for key in facts[0] if all("reason" not in one.get(key, {"reason": ""}) for one in facts)]
    if not complete:
        sys.exit("No row has lists in every draw; see log.txt below " + ", ".join(str(f / "rows") for f in folders))
    measured = _measured(folders, complete)
    scored = _compare(measured, facts, titles)
    split = json.loads((folders[0] / "split.json").read_text("utf-8"))
    name = re.sub(r"-\d+(?=$|-users)", "", folders[0].name)
    section = "\n".join(
        _section(name, split, len(folders), scored, measured, _missing(facts, complete, titles), command)
    )
    _replace(results, section)
    saved = {
        "split": split,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": _hardware(),
        "draws": [folder.name for folder in folders],
        "rows": [asdict(row) for row in scored],
        "missing": _missing(facts, complete, titles),
    }
    (folders[0] / "scores.json").write_text(json.dumps(saved, indent=2, default=float), encoding="utf-8")
    print(section)


def _missing(facts: Sequence[Mapping[str, Any]], complete: Sequence[str], titles: Mapping[str, str]) -> dict[str, str]:
    """Return the rows without lists in some draw, and why."""
    keys = sorted({key for one in facts for key in one} - set(complete))
    found = {}
    for key in keys:
        reasons = [one[key]["reason"] for one in facts if "reason" in one.get(key, {})]
        done = sum("reason" not in one.get(key, {"reason": ""}) for one in facts)
        failed = any(one.get(key, {}).get("failed") for one in facts)
        said = (
            ("failed: " if failed else "not run: ") + reasons[0]
            if reasons
            else f"finished on {done} of {len(facts)} draws"
        )
        found[titles.get(key, key)] = said
    return found


def _measured(folders: Sequence[Path], keys: Sequence[str]) -> Measured:
    parts = [_of_draw(folder, keys) for folder in folders]
    every = pl.concat([part.select("user", "at") for part in parts]).unique().sort("user", "at").with_row_index("place")
    values = {key: {m: np.full((len(folders), every.height), np.nan) for m in METRICS} for key in keys}
    gap = np.full((len(folders), every.height), -1)
    for draw, part in enumerate(parts):
        place = part.join(every, on=["user", "at"], how="left", maintain_order="left")["place"].to_numpy()
        gap[draw, place] = part["gap"].to_numpy()
        for key in keys:
            for m in METRICS:
                values[key][m][draw, place] = part[f"{key}/{m}"].to_numpy()
    return Measured(tuple(keys), values, every["user"], gap)


def _of_draw(folder: Path, keys: Sequence[str]) -> pl.DataFrame:
    """Return one row for each request of a draw: its user, its time where users ask more than once, its gap, and every row's metrics."""
    facts = json.loads((folder / "split.json").read_text("utf-8"))
    ids = pl.read_parquet(folder / "users.parquet")["user_id"]
    users, at, gaps, items, rows, start = [], [], [], [], [], 0
    for number in range(facts["stages"]):
        place = folder / "stages" / f"test-{number}"
        asked, history = pl.read_parquet(place / "requests.parquet"), pl.read_parquet(place / "history.parquet")
        chosen = pl.read_parquet(folder / "truth" / f"test-{number}.parquet").sort("request", "order")
        last, first = np.zeros(asked.height, np.int64), np.full(asked.height, np.iinfo(np.int64).max)
        np.maximum.at(last, history["request"].to_numpy(), history["at"].to_numpy())
        np.minimum.at(first, chosen["request"].to_numpy(), chosen["at"].to_numpy())
        gap = np.where((last > 0) & (first > 0), first - last, -1)
        gaps.append(np.where(gap < 0, -1, np.where(gap == 0, 0, np.where(gap < HOUR, 1, 2))))
        users.append(ids.gather(asked["user"]))
        at.append(asked["at"].to_numpy() if facts["protocol"] == "rolling_time" else np.zeros(asked.height, np.int64))
        rows.append(chosen["request"].to_numpy() + start)
        items.append(chosen["item"].to_numpy())
        start += asked.height
    offsets = np.concatenate([[0], np.cumsum(np.bincount(np.concatenate(rows), minlength=start))]).astype(np.int64)
    item, names = np.concatenate(items).astype(np.int32), [str(row) for row in range(start)]
    truth = Histories(
        names, offsets, item, np.zeros(len(item), np.int64), np.ones(len(item), np.float32), facts["catalog"]
    )
    columns = {"user": pl.concat(users), "at": np.concatenate(at), "gap": np.concatenate(gaps)}
    for key in keys:
        table = _scores(folder / "rows" / key / "lists.parquet", truth)
        columns |= {f"{key}/{m}": table[m] for m in METRICS}
    return pl.DataFrame(columns)


def _scores(path: Path, truth: Histories) -> pl.DataFrame:
    lists = pl.read_parquet(path)
    width = max(50, int(lists["rank"].max() or 0) + 1)  # type: ignore[arg-type]
    ranked = np.full((len(truth), width), -1, np.int32)
    ranked[lists["request"].to_numpy(), lists["rank"].to_numpy()] = lists["item"].to_numpy()
    score = np.where(ranked < 0, -np.inf, -np.arange(width, dtype=np.float32)).astype(np.float32)
    return measure(Recommendations(truth.user_ids, ranked, score), truth, ks=(10, 20), metrics=("recall", "ndcg"))


def _compare(measured: Measured, facts: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> list[Scored]:
    """Return the rows, best first; ours is compared with each, intervals and outcomes allow for their number (Holm)."""
    others = [key for key in measured.keys if key != OURS] if OURS in measured.keys else []
    gains = {key: measured.values[OURS][DECIDES] - measured.values[key][DECIDES] for key in others}
    ahead = dict(zip(others, corrected([_drawn(gains[key], measured) for key in others], INTERVALS), strict=True))
    rows = []
    for key in measured.keys:
        own = measured.values[key]
        draws = np.nanmean(own[DECIDES], axis=1)
        rows.append(
            Scored(
                key,
                titles.get(key, key),
                _summed([one[key] for one in facts]),
                {m: _interval(own[m], measured) for m in METRICS},
                float(draws.std(ddof=1)) if len(draws) > 1 else float("nan"),
                ahead.get(key),
                _rests_on(gains[key], measured.gap) if key in gains else (),
            )
        )
    return sorted(rows, key=lambda one: -one.scores[DECIDES].mean)


def _drawn(values: np.ndarray, measured: Measured) -> DrawnDifference:
    return hierarchical(values, measured.users, INTERVALS)


def _interval(values: np.ndarray, measured: Measured) -> Interval:
    found = _drawn(values, measured)
    return Interval(found.mean, *interval_ends(found.draws, found.num_users, INTERVALS), found.num_users)


def _rests_on(gain: np.ndarray, gap: np.ndarray) -> tuple[float, ...]:
    total = np.nansum(gain)
    known = gap >= 0
    if not known.any() or total == 0:
        return ()
    return tuple(float(np.nansum(gain[gap == group]) / total) for group in range(len(GAPS)))


def _summed(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the facts of the first draw, with seconds summed, and the largest memory."""
    names = ("tune_seconds", "fit_seconds", "recommend_seconds", "cpu_seconds")
    out = {**facts[0], **{name: sum(one[name] for one in facts) for name in names}}
    out["peak_bytes"] = max(one["peak_bytes"] for one in facts)
    out["ranked"] = max(int(one.get("ranked", 1)) for one in facts)
    out["stopped"] = "clock" if any(one["stopped"] == "clock" for one in facts) else facts[0]["stopped"]
    out["validation"] = float(np.mean([one["validation"] for one in facts]))
    return out


def _section(
    name: str,
    split: Mapping[str, Any],
    draws: int,
    scored: list[Scored],
    measured: Measured,
    missing: Mapping[str, str],
    command: str,
) -> list[str]:
    versions = {k: v for one in scored for k, v in one.facts["versions"].items()}
    ranked = "the held-out items are" if split["protocol"] == "cold_among" else "the whole catalog is"
    moment = "known" if split["protocol"] in KNOWN_TIME and not split["hidden"] else "not known"
    later = 100 * float(np.mean(split["later"]))
    return [
        f"## {name}",
        "",
        f"`{command}`" if command else "",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {_hardware()}, {draws} draw{'s' * (draws > 1)} of ties and seeds. {split['users']:,} users, "
        f"{split['items']:,} items, {split['events']:,} events; learned from before validation {split['learned'][0]:,}, before the test "
        f"{split['learned'][1]:,}; {sum(split['requests'][1:]):,} requests of {measured.users.n_unique():,} users "
        f"({sum(split['without_history'][1:]):,} without history). Protocol {split['protocol']}: {PROTOCOLS[split['protocol']]}. The time of the "
        f"request is {moment}; {later:.0f} % of what is learned is later than the choice it is tested on (mean). {ranked.capitalize()} ranked "
        "without known items; a list that a model leaves empty or constant holds the most popular items. Settings, epochs and early stopping by "
        "validation requests with a history. [95 % intervals] over users and draws; differences corrected over the rows of this table (Holm), "
        "interval and outcome alike.",
        "",
        "| recommender | NDCG@10 | deviation over draws | Recall@10 | NDCG@20 | Recall@20 | ours ahead, NDCG@10 | could be seen |"
        f" rests on {' / '.join(GAPS)} | validation | CPU s | peak GB | epochs | ended by | commit | test ranked |",
        "|---" * 16 + "|",
        *(_row(one) for one in scored),
        *(f"| {title} | {reason.replace('|', '/')} |" + " |" * 14 for title, reason in missing.items()),
        "",
        *_against_best(scored, measured),
        *_by_gap(scored, measured),
        "Settings (first draw) and notes:",
        "",
        *(f"- {one.title}: {_settings(one)}" for one in scored),
        "",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in sorted(versions.items())) + ".",
        "",
    ]


def _against_best(scored: list[Scored], measured: Measured) -> list[str]:
    """Return ours against the best peer of each metric; nothing where there is no row of ours or no peer."""
    ours = next((one for one in scored if one.key == OURS), None)
    peers = [one for one in scored if not one.is_ours]
    if ours is None or not peers:
        return []
    best = {m: max(peers, key=lambda one: one.scores[m].mean) for m in METRICS}
    drawn = [_drawn(measured.values[OURS][m] - measured.values[best[m].key][m], measured) for m in METRICS]
    lines = [
        "Against the best peer of each metric (picked on the test, which favours it), corrected over the metrics:",
        "",
    ]
    for metric, ahead in zip(METRICS, corrected(drawn, INTERVALS), strict=True):
        gain = ours.scores[metric].mean / max(best[metric].scores[metric].mean, 1e-12) - 1
        lines.append(f"- {metric}: {_signed(ahead)} ({gain:+.1%}) against {best[metric].title}: {ahead.outcome}")
    return [*lines, ""]


def _by_gap(scored: list[Scored], measured: Measured) -> list[str]:
    """Return ours (or the best row) against the two best peers and recency, by how long after the last known event the choice came."""
    first = next((one for one in scored if one.key == OURS), scored[0])
    others = [one for one in scored if not one.is_ours and one.key != first.key]
    if not (measured.gap >= 0).any() or not others:
        return []
    lines = []
    for peer in others[:2] + [one for one in others[2:] if one.key == RECENCY]:
        ours, theirs = measured.values[first.key][DECIDES], measured.values[peer.key][DECIDES]
        groups = [g for g in range(len(GAPS)) if ((measured.gap == g) & ~np.isnan(ours)).sum() >= FEWEST]
        drawn = [_drawn(np.where(measured.gap == g, ours - theirs, np.nan), measured) for g in groups]
        for group, ahead in zip(groups, corrected(drawn, INTERVALS), strict=True):
            inside = measured.gap == group
            lines.append(
                f"| {peer.title} | {GAPS[group]} | {int(inside.any(axis=0).sum()):,} | {np.nanmean(ours[inside]):.4f} | "
                f"{np.nanmean(theirs[inside]):.4f} | {_signed(ahead)} {ahead.outcome} | {ahead.detectable:.4f} |"
            )
    return [
        "By the gap between the last known event and the choice, NDCG@10, corrected over the gaps:",
        "",
        f"| against | gap | requests | {first.title} | peer | difference | could be seen |",
        "|---|---|---|---|---|---|---|",
        *lines,
        "",
    ]


def _row(one: Scored) -> str:
    facts, ahead = one.facts, one.ahead
    cells = [f"**{one.title}**" if one.is_ours else one.title]
    cells += [f"{one.scores[DECIDES].mean:.4f} [{one.scores[DECIDES].low:.4f}, {one.scores[DECIDES].high:.4f}]"]
    cells += ["" if np.isnan(one.deviation) else f"{one.deviation:.4f}"]
    cells += [f"{one.scores[m].mean:.4f}" for m in METRICS[1:]]
    cells += [f"{_signed(ahead)} {ahead.outcome}", f"{ahead.detectable:.4f}"] if ahead else ["", ""]
    # shares of a difference that may be 0 say nothing
    shown = ahead is not None and one.rests_on and ahead.outcome != "not distinguishable"
    cells += [" / ".join(f"{share:.0%}" for share in one.rests_on) if shown else ""]
    cells += [f"{facts['validation']:.4f}", f"{facts['cpu_seconds']:.0f}", f"{facts['peak_bytes'] / 1e9:.1f}"]
    cells += ["" if facts["epochs"] is None else f"{facts['epochs']:g}"]
    stopped = "stopped by the clock" if facts["stopped"] == "clock" else facts["stopped"]
    cells += [
        stopped + (f" ({facts['minutes']:g} min)" if facts["stopped"] == "clock" and facts.get("minutes") else "")
    ]
    cells += [facts.get("commit", ""), {1: "once", 2: "twice"}.get(facts["ranked"], f"{facts['ranked']} times")]
    return "| " + " | ".join(cells) + " |"


def _settings(one: Scored) -> str:
    settings = one.facts["settings"].get("weights", one.facts["settings"])
    said = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in settings.items())
    return "; ".join([said or "none", *one.facts["notes"], f"load average {one.facts['load']:.1f}"])


def _signed(difference: Difference) -> str:
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def _hardware() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}"


def _replace(path: Path, section: str) -> None:
    """Put the section in the place of the one with the same heading, else at the end."""
    text = path.read_text("utf-8") if path.exists() else HEADER
    parts = re.split(r"(?m)^(?=## )", text)
    heading = section.splitlines()[0]
    kept = [part for part in parts if part.splitlines()[:1] != [heading]]
    place = next((i for i, part in enumerate(parts) if part.splitlines()[:1] == [heading]), len(kept))
    kept.insert(place, section + "\n")
    path.write_text("".join(part.rstrip("\n") + "\n\n" for part in kept).rstrip("\n") + "\n", encoding="utf-8")


HEADER = """# Leaderboard

Every peer and Penchant on the same split files, scored by `penchant.metrics`. The command under a heading makes its table; it may be
interrupted and goes on where it was. `python benchmarks/leaderboard.py --help` lists sets, protocols and limits.

- Every row has one thread, and all times are CPU seconds (tuning, fits and lists of all draws), so that other load on the machine favours no row.
- "could be seen": the smallest true difference to ours that this table would show with a probability of .8, after the correction. A difference
  that is not distinguishable is not equality.
- "rests on": which part of the difference comes from choices at the time of the last known event, within an hour of it, and later. The first is
  a random order of ties, the second the order inside a session, and only the third says anything about the next visit.
- "stopped by the clock": the limit of `--minutes` ended the search or the training. Such a row says what the minutes buy, not how good the model is.
- "test ranked": how often this row has ranked this test, as far as its folder knows.
- A grid whose edge was chosen is continued until the edge is not chosen, at most six times; where it still is, the notes say so.
- Intervals of one draw cover the choice of users, not the draw.
"""
