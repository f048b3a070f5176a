"""From everyone's lists to the table.

In: a split's folder with rows of lists and facts. Out: one section of `RESULTS.md`, replaced if it is there, and `scores.json`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from penchant.core.schema import Histories, Recommendations
from penchant.metrics.comparison import per_user
from penchant.metrics.intervals import BootstrapMeans, Difference, Interval
from penchant.metrics.ranking import measure
from penchant.metrics.slices import GroupLabels, Slice, slice_users

METRICS = ("ndcg@10", "recall@10", "ndcg@20", "recall@20")
DECIDES = "ndcg@10"
HOUR = 3_600_000_000
GAPS = ("tie", "up to 1 h", "over 1 h")
OURS = "penchant"
RECENCY = "recency_popularity"
FEWEST = 20
"""Users of a slice that is shown."""


@dataclass(frozen=True)
class Scored:
    """One row that has lists.

    Attributes:
        key: Folder of the row.
        title: In the table.
        facts: What it cost, and how it ended.
        scores: Metric to mean with interval.
        ahead: Metric to ours minus this row; empty for ours.
    """

    key: str
    title: str
    facts: Mapping[str, Any]
    scores: Mapping[str, Interval]
    ahead: Mapping[str, Difference]

    @property
    def is_ours(self) -> bool:
        return self.key.startswith(OURS)


def write(folder: Path, titles: Mapping[str, str], results: Path) -> None:
    """Score every row of a folder; write the section and `scores.json`."""
    facts = {path.parent.name: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("rows/*/facts.json"))}
    truth = _truth(folder)
    tables = {key: _measured(folder, key, truth) for key, said in facts.items() if "reason" not in said}
    if not tables:
        sys.exit("No row has lists; see log.txt below " + str(folder / "rows"))
    scored = _compare(tables, facts, titles)
    slices = _slices(folder, tables, truth, scored)
    split = json.loads((folder / "split.json").read_text("utf-8"))
    missing = {titles.get(key, key): said["reason"] for key, said in facts.items() if "reason" in said}
    section = "\n".join(_section(folder.name, split, scored, slices, missing, truth))
    _replace(results, section)
    saved = {
        "split": split,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": _hardware(),
        "rows": [asdict(row) for row in scored],
        "slices": [asdict(one) for one in slices],
        "missing": missing,
    }
    (folder / "scores.json").write_text(json.dumps(saved, indent=2, default=float), encoding="utf-8")
    print(section)


def _truth(folder: Path) -> Histories:
    """Return the choices of the test users, in the order of their lists."""
    users, items = pl.read_parquet(folder / "users.parquet"), pl.read_parquet(folder / "items.parquet")
    test = pl.read_parquet(folder / "test.parquet").sort("user", "order")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(test["user"].to_numpy(), minlength=users.height))])
    every = Histories(
        users["user_id"].to_list(),
        offsets.astype(np.int64),
        test["item"].to_numpy().astype(np.int32),
        test["at"].to_numpy(),
        test["weight"].to_numpy(),
        items.height,
    )
    return every.take(np.flatnonzero(users["is_test_user"].to_numpy()))


def _measured(folder: Path, key: str, truth: Histories) -> pl.DataFrame:
    users = pl.read_parquet(folder / "users.parquet")
    test_users = np.flatnonzero(users["is_test_user"].to_numpy())
    row = np.full(users.height, -1)
    row[test_users] = np.arange(len(test_users))
    lists = pl.read_parquet(folder / "rows" / key / "lists.parquet")
    width = max(50, int(lists["rank"].max() or 0) + 1)  # type: ignore[arg-type]
    ranked = np.full((len(test_users), width), -1, np.int32)
    ranked[row[lists["user"].to_numpy()], lists["rank"].to_numpy()] = lists["item"].to_numpy()
    score = np.where(ranked < 0, -np.inf, -np.arange(width, dtype=np.float32)).astype(np.float32)
    found = Recommendations(truth.user_ids, ranked, score)
    return measure(found, truth, ks=(10, 20), metrics=("recall", "ndcg", "hit_rate"))


def _compare(tables: Mapping[str, pl.DataFrame], facts: Mapping[str, Any], titles: Mapping[str, str]) -> list[Scored]:
    """Return the rows, best first; outcomes of one metric allow for the number of peers (Holm)."""
    keys = list(tables)
    means = BootstrapMeans(np.hstack([per_user(tables, key, METRICS) for key in keys]))
    column = {(key, m): i for i, (key, m) in enumerate((key, m) for key in keys for m in METRICS)}
    others = [key for key in keys if key != OURS]
    ahead: dict[str, dict[str, Difference]] = {key: {} for key in keys}
    if OURS in tables:
        for m in METRICS:
            found = means.differences([(column[OURS, m], column[key, m]) for key in others])
            for key, difference in zip(others, found, strict=True):
                ahead[key][m] = difference
    rows = [
        Scored(key, titles.get(key, key), facts[key], {m: means.interval(column[key, m]) for m in METRICS}, ahead[key])
        for key in keys
    ]
    return sorted(rows, key=lambda one: -one.scores[DECIDES].mean)


def _slices(folder: Path, tables: Mapping[str, pl.DataFrame], truth: Histories, scored: list[Scored]) -> list[Slice]:
    """Return ours (or the best row) against the two best peers and recency, by how long after the last known event the test begins."""
    peers = [one for one in scored if not one.is_ours]
    first = OURS if OURS in tables else scored[0].key
    gaps = _gaps(folder, truth)
    if gaps is None or not peers:
        return []
    found = []
    others = [one for one in peers if one.key != first]
    for peer in others[:2] + [one for one in others[2:] if one.key == RECENCY]:
        labels = {f"{peer.title}": gaps}
        found += slice_users(tables[first], tables[peer.key], labels, metric=DECIDES)
    return found


def _gaps(folder: Path, truth: Histories) -> GroupLabels | None:
    facts = json.loads((folder / "split.json").read_text("utf-8"))
    if not facts["has_time"]:
        return None
    names = ("train", "validation") if facts["refit"] else ("train",)
    known = pl.concat([pl.read_parquet(folder / f"{name}.parquet") for name in names])
    ids = pl.read_parquet(folder / "users.parquet")["user_id"]
    last = known.filter(pl.col("at") > 0).group_by("user").agg(pl.col("at").max())
    last = last.with_columns(user_id=ids.gather(last["user"]))
    first = pl.DataFrame({"user_id": truth.user_ids, "first": truth.at[truth.offsets[:-1]]})
    both = first.join(last, on="user_id", how="left", maintain_order="left")
    gap = (both["first"] - both["at"]).fill_null(-1).to_numpy()
    return GroupLabels(GAPS, np.where(gap < 0, -1, np.where(gap == 0, 0, np.where(gap <= HOUR, 1, 2))))


def _section(
    name: str,
    split: Mapping[str, Any],
    scored: list[Scored],
    slices: list[Slice],
    missing: Mapping[str, str],
    truth: Histories,
) -> list[str]:
    versions = {k: v for one in scored for k, v in one.facts["versions"].items()}
    ranked = "held-out items" if split["protocol"] == "cold_among" else "the whole catalog"
    return [
        f"## {name}",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {_hardware()}, seed {split['seed']}. {split['users']:,} users, "
        f"{split['items']:,} items, {split['events']:,} events (train {split['train']:,}, validation "
        f"{split['validation']:,}, test {split['test']:,}); {len(truth):,} test users. Protocol {split['protocol']}, ties in a "
        f"seeded random order, {ranked} ranked without known items. "
        "Settings, epochs and early stopping by validation. [95 % intervals], paired over users, outcomes after Holm.",
        "",
        "| recommender | NDCG@10 | HR@10 / Recall@10 | NDCG@20 | Recall@20 | ours ahead, NDCG@10 | validation NDCG@10 |"
        " tune s | fit s | recommend s | CPU s | peak GB | epochs | ended by |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_row(one) for one in scored),
        *(f"| {title} | not run: {reason.replace('|', '/')} |" + " |" * 12 for title, reason in missing.items()),
        "",
        *_against_best(scored),
        *_by_gap(slices, scored),
        "Settings and notes:",
        "",
        *(f"- {one.title}: {_settings(one)}" for one in scored),
        "",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in sorted(versions.items())) + ".",
        "",
    ]


def _against_best(scored: list[Scored]) -> list[str]:
    """Return ours against the best peer of each metric; nothing where there is no row of ours or no peer."""
    ours = next((one for one in scored if one.key == OURS), None)
    peers = [one for one in scored if not one.is_ours]
    if ours is None or not peers:
        return []
    lines = ["Against the best peer of each metric (picked on the test, which favours it):", ""]
    for metric in METRICS:
        best = max(peers, key=lambda one: one.scores[metric].mean)
        ahead = best.ahead[metric]
        gain = ours.scores[metric].mean / max(best.scores[metric].mean, 1e-12) - 1
        lines.append(f"- {metric}: {_signed(ahead)} ({gain:+.1%}) against {best.title}: {ahead.outcome}")
    return [*lines, ""]


def _by_gap(slices: list[Slice], scored: list[Scored]) -> list[str]:
    if not slices:
        return []
    first = next((one for one in scored if one.key == OURS), scored[0])
    return [
        "By the gap between the last known event and the first of the test, NDCG@10:",
        "",
        f"| against | gap | users | {first.title} | peer | difference |",
        "|---|---|---|---|---|---|",
        *(
            f"| {s.dimension} | {s.group} | {s.num_users:,} | {s.ours.mean:.4f} | {s.baseline.mean:.4f} | "
            f"{_signed(s.difference)} {s.difference.outcome} |"
            for s in slices
            if s.num_users >= FEWEST
        ),
        "",
    ]


def _row(one: Scored) -> str:
    facts = one.facts
    cells = [f"**{one.title}**" if one.is_ours else one.title]
    cells += [f"{one.scores[DECIDES].mean:.4f} [{one.scores[DECIDES].low:.4f}, {one.scores[DECIDES].high:.4f}]"]
    cells += [f"{one.scores[m].mean:.4f}" for m in METRICS[1:]]
    ahead = one.ahead.get(DECIDES)
    cells += [
        f"{_signed(ahead)} {ahead.outcome}" if ahead else "",
        f"{facts['validation']:.4f}" if facts["validation"] >= 0 else "not looked at",
    ]
    cells += [f"{facts[name]:.1f}" for name in ("tune_seconds", "fit_seconds", "recommend_seconds", "cpu_seconds")]
    epochs = "" if facts["epochs"] is None else f"{facts['epochs']:g}"
    cells += [f"{facts['peak_bytes'] / 1e9:.1f}", epochs, facts["stopped"]]
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

Every peer and Penchant on the same split files, scored by `penchant.metrics`. `make leaderboard` runs one section;
`python benchmarks/leaderboard.py --help` lists sets, protocols and limits. Every row has one thread, and all times are CPU seconds, so that
other load on the machine favours no row. "clock" under "ended by" means that `--minutes` ended it: such a row says what the minutes buy, not how
good the model is.
"""
