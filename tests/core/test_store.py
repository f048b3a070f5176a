"""Several processes may write, read and join one store at once; each row read is one that was written, and the newest stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from penchant.core import store as module
from penchant.core.store import ParquetStore


def rows(*pairs: tuple[str, str]) -> pa.Table:
    return pa.table({"key": [key for key, _ in pairs], "text": [text for _, text in pairs]})


def everything(folder: Path) -> dict[str, str]:
    return {row["key"]: row["text"] for part in ParquetStore(folder, "texts").read() for row in part.to_pylist()}


def test_newest_of_two_rows_with_one_key_is_read_and_stays_when_files_are_joined(tmp_path: Path) -> None:
    store = ParquetStore(tmp_path, "texts")
    store.append(rows(("a", "old"), ("b", "only")))
    store.append(rows(("a", "new")))
    assert everything(tmp_path) == {"a": "new", "b": "only"}
    store.compact()
    store.append(rows(("c", "later")))
    assert everything(tmp_path) == {"a": "new", "b": "only", "c": "later"}
    assert sum(len(part) for part in store.read()) == 3
    store.append(rows(("b", "newest")))
    store.compact()
    assert everything(tmp_path)["b"] == "newest"


def test_files_with_many_rows_are_not_copied_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 4)
    store = ParquetStore(tmp_path, "texts")
    store.append(rows(*((f"k{n}", "") for n in range(4))))
    (large,) = tmp_path.iterdir()
    for n in range(3):
        store.append(rows((f"s{n}", "")))
    store.compact()
    assert large in tmp_path.iterdir()
    assert len(list(tmp_path.iterdir())) == 2
    assert len(everything(tmp_path)) == 7


def test_read_goes_on_when_another_process_joins_the_files(tmp_path: Path) -> None:
    store = ParquetStore(tmp_path, "texts")
    for n in range(6):
        store.append(rows((f"k{n}", str(n))))
    reading = store.read()
    first = next(reading).to_pylist()
    ParquetStore(tmp_path, "texts").compact()
    found = first + [row for part in reading for row in part.to_pylist()]
    assert {row["key"] for row in found} == {f"k{n}" for n in range(6)}


def test_join_that_another_process_was_faster_at_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ParquetStore(tmp_path, "texts")
    for n in range(6):
        store.append(rows((f"k{n}", str(n))))
    newest = ParquetStore._newest

    def overtaken(self, paths):
        monkeypatch.setattr(ParquetStore, "_newest", newest)
        ParquetStore(tmp_path, "texts").compact()
        yield from newest(self, paths)

    monkeypatch.setattr(ParquetStore, "_newest", overtaken)
    store.compact()
    assert len(everything(tmp_path)) == 6
    assert [path.suffix for path in tmp_path.iterdir()] == [".parquet"]


WRITER = """
import sys
from pathlib import Path
import pyarrow as pa
from penchant.core import store
store.MAX_SMALL_FILES = 8
cache = store.ParquetStore(Path(sys.argv[1]), "texts")
for n in range(int(sys.argv[3])):
    key = f"{sys.argv[2]}-{n}"
    cache.append(pa.table({"key": [key], "text": [key * 50]}))
    print(key, flush=True)
"""


def test_two_processes_and_a_killed_one_write_into_one_store(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    endless = subprocess.Popen([*command, "x", "1000000"], stdout=subprocess.PIPE, text=True)
    others = [subprocess.Popen([*command, name, "60"], stdout=subprocess.DEVNULL) for name in "ab"]
    results = [process.wait(60) for process in others]
    os.kill(endless.pid, signal.SIGKILL)
    written, _ = endless.communicate(timeout=60)
    assert results == [0, 0]
    found = everything(tmp_path)
    expected = {f"{name}-{n}" for name in "ab" for n in range(60)} | set(written.splitlines()[:-1])
    assert expected <= set(found)
    assert all(text == key * 50 for key, text in found.items())


def test_unfinished_file_of_a_killed_run_is_cleared_away_once_it_is_old(tmp_path: Path) -> None:
    store = ParquetStore(tmp_path, "texts")
    for name in ("old.tmp", "new.tmp"):
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / "old.tmp", (0, time.time() - module.STALE_SECONDS - 60))
    store.compact()
    assert [path.name for path in tmp_path.iterdir()] == ["new.tmp"]
