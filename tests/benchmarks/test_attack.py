"""The short form of `make attack`: a few kills, a few generated requests, the search for an erased user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from attack_kills import Clients  # noqa: E402
from penchant.recommender.lists import Edit  # noqa: E402
from penchant.service.security import Secret  # noqa: E402
from penchant.service.store import WITHDRAWN, Event, Store, StoredItem  # noqa: E402


def attack(out: Path, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """Return the status and the rows of the table."""
    command = [sys.executable, str(ROOT / "benchmarks" / "attack.py"), *arguments, "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
    assert (out / "attack.json").is_file(), done.stderr
    return done.returncode, json.loads((out / "attack.json").read_text())


@pytest.mark.slow
def test_short_attack_finds_nothing(tmp_path: Path):
    status, rows = attack(tmp_path, "kills", "cases", "erasure", "--kills", "2", "--cases", "50")
    assert {row["what"]: row["value"] for row in rows if row["is_met"] is False} == {}
    assert {row["part"] for row in rows} == {"kills", "cases", "erasure"}
    assert status == 0
    assert "| erasure | " in (tmp_path / "attack.md").read_text()


def test_what_clients_find_missing_is_counted(tmp_path: Path):
    store, secret = Store.open(f"sqlite:///{tmp_path / 'store.db'}"), Secret.read(tmp_path / "secret.key")
    clients = Clients()
    clients.events["e0"] = {"0-0", "0-1", "0-2", "0-3", "0-4", "1-0"}  # the last was never stored
    clients.keyed["k0"] = {0.0, 1.0, 2.0, 3.0, 4.0}
    clients.edits = {("p0", "i1"): (1.0, 1.0), ("p0", "i2"): (1.0, 2.0), ("p0", "i3"): (None, 1.0)}
    clients.items |= {"new0": (3, 3), "new1": (0, 2), "new2": (4, 4)}
    clients.erased, clients.unanswered = {"g0-0", "g0-1"}, {"g0-2"}
    store.append([[Event("e0", "i1", "click", 1, None, f"0-{n}") for n in range(5)]])
    store.append([[Event("k0", "i1", "rating", 1, float(n % 5)) for n in range(8)]])  # three of five twice
    store.edit(
        "p0", [Edit("item", "i1", "more", 3.0), Edit("item", "i2", "more", 2.0)]
    )  # the first has an old strength
    store.put_item(StoredItem("new1", "waiting", '{"columns": {"title": "1"}}'))
    store.put_item(StoredItem("new2", WITHDRAWN, "{}"))
    store.erase("g0-0", secret.subject("g0-0"), "a", sign=secret.link)
    store.erase("g0-2", secret.subject("g0-2"), "b", sign=secret.link)
    store.append([[Event("g0-2", "i1", "click", 1)]])
    for turn in (0, None):
        clients.found.clear()
        clients.check(store, secret, turn)
        found = {what: n for what, n in clients.found.items() if n}
        assert found == {
            "lost events": 1,
            "doubled events": 3,
            "lost edits": 1,
            "lost items": 1,  # new0, whose title should be 3
            "lost erasures": 1,
            "erasures done by half": 1,
        }
    store.close()
