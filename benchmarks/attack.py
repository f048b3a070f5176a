"""Attack a service of one's own: kills, malformed requests, hostile media, floods, slow clients, an erasure, faults of disk and database, fuzzing.

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
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from attacked_service import Measurement

HERE = Path(__file__).resolve().parent
FOLDERS = [str(HERE), str(HERE.parent / "tests")]
"""Of modules that processes started here need: the shop, and the hostile media."""
sys.path[:0] = FOLDERS
PARTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "kills": ("attack_kills", "attack_kills", ("kills", "seed", "seconds")),
    "cases": ("attack_requests", "attack_cases", ("cases", "seed", "seconds")),
    "media": ("attack_requests", "attack_media", ("at_once",)),
    "flood": ("attack_requests", "attack_flood", ("searches", "flood_seconds")),
    "slow": ("attack_requests", "attack_slow", ("slow_clients",)),
    "erasure": ("attack_erasure", "attack_erasure", ()),
    "faults": ("attack_faults", "attack_faults", ()),
    "fuzz": ("attack_fuzz", "attack_fuzz", ("minutes", "seed")),
}
"""Module, function, and the options it takes after the scratch folder; imported when run, since every process that is started imports this file."""


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
    parser.add_argument("--minutes", type=float, default=8, help="of fuzzing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/attack"))
    told = parser.parse_args()
    unknown = set(told.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    os.environ["PYTHONPATH"] = os.pathsep.join([*FOLDERS, *filter(None, [os.environ.get("PYTHONPATH")])])
    rows: list[Measurement] = []
    for part in told.parts or PARTS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="penchant-attack-") as scratch:
            module, function, options = PARTS[part]
            run = getattr(import_module(module), function)
            found: list[Measurement] = run(Path(scratch), *(getattr(told, option) for option in options))
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
