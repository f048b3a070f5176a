"""Content that is decoded in other processes: equal vectors, and a file that ends its decoder is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile

from penchant.core import worker_processes
from penchant.core.schema import Catalog
from penchant.data.clean.media_facts import examine_files
from penchant.data.media import MediaLimits
from penchant.data.media.memory import DECODING_BYTES, MemoryBudget
from penchant.encoders import apart
from penchant.encoders.catalog import ChannelConfig, encode_catalog

POISONED = """
import os, soundfile

_open = soundfile.SoundFile.__init__

def poisoned(self, file, *args, **options):
    if "poison" in str(getattr(file, "name", file)):
        os.abort()
    _open(self, file, *args, **options)

soundfile.SoundFile.__init__ = poisoned
"""
"""A `sitecustomize.py` with which the decoder of sounds ends its process at a certain file, as one with a fault does."""
RUN = """
import json, sys
from pathlib import Path
from test_apart import LIMITS, CHANNELS, shop
from penchant.data.clean.media_facts import examine_files
from penchant.encoders.catalog import encode_catalog

media, cache = Path(sys.argv[1]), Path(sys.argv[2])
catalog = shop(media)
facts, _ = examine_files(catalog.table["sound"].to_list(), "audio", root=media, limits=LIMITS)
found, failed = encode_catalog(catalog, CHANNELS, cache=cache, limits=LIMITS)
print(json.dumps([facts["check"].to_list(), facts["detail"].to_list(), found["sound"].values.tolist(), failed[0].examples]))
"""
LIMITS = MediaLimits()
CHANNELS = {"sound": ChannelConfig(encoder="mel", columns=["sound"], batch_size=4)}


def shop(media: Path) -> Catalog:
    names = sorted(file.name for file in media.iterdir())
    table = pl.DataFrame({"item_id": [f"i{n}" for n in range(len(names))], "sound": names})
    return Catalog(table, None, (), {"audio": "sound"}, (), media)


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(18):
        name = "11-poison.wav" if number == 11 else f"{number:02}.wav"
        soundfile.write(folder / name, 0.1 * rng.standard_normal(2000 + 500 * number), 8000)
    (folder / "05.wav").write_bytes((folder / "05.wav").read_bytes()[:30])
    return folder


def test_vectors_facts_and_failures_are_those_of_threads(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    serve = apart.WorkerProcesses.__init__

    def counted(self: Any, *given: Any) -> None:
        started.append(1)
        serve(self, *given)

    monkeypatch.setattr(apart.WorkerProcesses, "__init__", counted)
    catalog, names = shop(media), shop(media).table["sound"].to_list()
    facts = examine_files(names, "audio", root=media, limits=LIMITS)
    there = encode_catalog(catalog, CHANNELS, cache=tmp_path / "there", limits=LIMITS)
    assert len(started) == 2
    monkeypatch.setattr(worker_processes, "APART_FROM", 1000)
    here = encode_catalog(catalog, CHANNELS, cache=tmp_path / "here", limits=LIMITS)
    assert facts[0].equals(examine_files(names, "audio", root=media, limits=LIMITS)[0])
    assert len(started) == 2
    np.testing.assert_array_equal(there[0]["sound"].values, here[0]["sound"].values)
    assert there[0]["sound"].present.sum() == 17
    assert there[1] == here[1]


def test_a_file_that_ends_the_process_of_its_decoder_is_named_and_the_others_are_used(
    media: Path, tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(POISONED)
    path = os.pathsep.join([str(tmp_path / "site"), str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", RUN, str(media), str(tmp_path / "cache")]
    own = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, env=own)
    assert done.returncode == 0, done.stderr
    checks, details, values, failed = json.loads(done.stdout.splitlines()[-1])
    assert [n for n, check in enumerate(checks) if check] == [5, 11]
    assert checks[11] == "unreadable"
    assert "its process died" in details[11]
    assert [n for n, row in enumerate(values) if not any(row)] == [5, 11]
    assert any("11-poison.wav" in line and "its process died" in line for line in failed)


def test_a_large_file_waits_for_that_of_another_process(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.touch()
    one, other = MemoryBudget(DECODING_BYTES), MemoryBudget(DECODING_BYTES)
    for budget in (one, other):
        budget.divide(2, str(shared))
    import fcntl

    alone = fcntl.LOCK_EX | fcntl.LOCK_NB
    with (
        one.reserve(DECODING_BYTES // 2 + 1),
        other.reserve(DECODING_BYTES // 2),
        shared.open() as file,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(file, alone)
    with one.reserve(DECODING_BYTES // 2), shared.open() as file:
        fcntl.flock(file, alone)
