"""Disk full and database away, as the tests of the service make them.

In: a scratch folder. Out: for each fault whether it lost nothing, said so to the client, and was over once its cause was.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from attacked_service import Measurement

TESTS = Path(__file__).resolve().parent.parent / "tests" / "service"
FAULTS = {
    "disk full while events are stored": "test_faults.py::test_disk_that_fills_up_loses_nothing_acknowledged_and_heals",
    "disk full during a request": "test_service.py::test_full_disk_is_told_and_stores_nothing",
    "disk full during an upload": "test_debris.py::test_full_disk_during_an_upload_is_a_507_without_a_partial_file",
    "database crashes under load": "test_faults.py::test_database_that_crashes_under_load_loses_nothing_acknowledged",
    "database away and back": "test_service.py::test_store_that_went_and_came_back_is_found_again",
}
LOST, SKIPPED = "something is lost, or an answer is wrong", "not run here: PostgreSQL is not installed"


def attack_faults(folder: Path) -> list[Measurement]:
    """Run each fault in a process of its own."""
    rows = []
    for what, test in FAULTS.items():
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--basetemp",
            str(folder / "tests"),
            str(TESTS / test),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=TESTS.parent.parent, env=dict(os.environ)
        )
        is_skipped = done.returncode == 0 and "skipped" in done.stdout and "passed" not in done.stdout
        if done.returncode:
            print(done.stdout[-2000:], flush=True)
        value = (
            SKIPPED
            if is_skipped
            else LOST
            if done.returncode
            else "nothing lost, told to the client, over with its cause"
        )
        rows.append(Measurement("faults", what, value, "nothing lost", None if is_skipped else done.returncode == 0))
    return rows
