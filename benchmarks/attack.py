"""Attack a service of one's own: kills, malformed requests, hostile media, floods, slow clients, and a search for an erased user.

In: the parts to run, all by default. Out: a table of what was measured, printed and in runs/attack/ as JSON and Markdown; status 1 where a
target is missed. Every server listens on 127.0.0.1, in a scratch folder that is deleted in the end.

    python benchmarks/attack.py kills cases --kills 20 --cases 500
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))  # the shop, and the hostile media

from attack_erasure import attack_erasure
from attack_kills import attack_kills
from attack_requests import attack_cases, attack_flood, attack_media, attack_slow
from attacked_service import Measurement

Part = Callable[[Path, argparse.Namespace], list[Measurement]]
PARTS: dict[str, Part] = {
    "kills": lambda folder, told: attack_kills(folder, told.kills, told.seed, told.seconds),
    "cases": lambda folder, told: attack_cases(folder, told.cases, told.seed, told.seconds),
    "media": lambda folder, told: attack_media(folder, told.at_once),
    "flood": lambda folder, told: attack_flood(folder, told.searches, told.flood_seconds),
    "slow": lambda folder, told: attack_slow(folder, told.slow_clients),
    "erasure": lambda folder, _: attack_erasure(folder),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--kills", type=int, default=200, help="over SQLite and PostgreSQL together")
    parser.add_argument("--cases", type=int, default=5000, help="generated requests")
    parser.add_argument("--at-once", type=int, default=8, help="hostile files sent at the same time")
    parser.add_argument("--searches", type=int, default=100, help="searches by media that run while events are sent")
    parser.add_argument("--flood-seconds", type=float, default=20)
    parser.add_argument("--slow-clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1200, help="of kills, and of cases, whatever their number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/attack"))
    told = parser.parse_args()
    unknown = set(told.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    rows: list[Measurement] = []
    for part in told.parts or PARTS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="penchant-attack-") as scratch:
            found = PARTS[part](Path(scratch), told)
        rows += found
        took = Measurement(
            part, "seconds, load of the machine", f"{time.monotonic() - began:.0f}, {os.getloadavg()[0]:.1f}"
        )
        for row in [*found, took]:
            print(f"{row.part:<8} {row.what:<66} {row.value:<40} {_verdict(row)}", flush=True)
    told.out.mkdir(parents=True, exist_ok=True)
    (told.out / "attack.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    (told.out / "attack.md").write_text(table(rows))
    sys.exit(any(row.is_met is False for row in rows))


def table(rows: list[Measurement]) -> str:
    """Return the rows in Markdown."""
    lines = ["| part | what | measured | target |", "|---|---|---|---|"]
    lines += [
        f"| {r.part} | {r.what} | {r.value}{' **missed**' if r.is_met is False else ''} | {r.target} |" for r in rows
    ]
    return "\n".join([f"{datetime.now(UTC):%d %B %Y}, {os.cpu_count()} cores", "", *lines, ""])


def _verdict(row: Measurement) -> str:
    return "" if row.is_met is None else f"target {row.target}: {'met' if row.is_met else 'MISSED'}"


if __name__ == "__main__":
    main()
