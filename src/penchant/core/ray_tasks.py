"""What runs on a node: one shard, or the check of the node.

In: the version of the run, a function and a shard. Out: the result, with the node, its seconds, its log lines, and its error where there is one.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from penchant.core.artifacts import fingerprint
from penchant.core.errors import ExecutorError, PenchantError, import_optional
from penchant.core.logs import KeptLines, logger
from penchant.core.storage import Storage
from penchant.core.traffic import Traffic, since, so_far

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to others about a run
PLAIN_EXCEPTHOOK = sys.excepthook
"""What shows an error; Ray's own, set when it is imported, asks the head node first."""
ray: Any = import_optional("ray", "ray")
cloudpickle: Any = import_optional("ray.cloudpickle", "ray")

KEPT = 8
"""Shared objects that a worker process keeps at least."""


@dataclass(frozen=True)
class Answer:
    """What a task returns besides its result."""

    node: str
    seconds: float
    lines: tuple[tuple[int, str], ...] = ()
    error: Exception | None = None
    trace: str = ""
    result: bytes = b""
    moved: Traffic = field(default_factory=Traffic)


@lru_cache(maxsize=1)
def version_mark() -> str:
    """Return the version of Penchant and a hash of its source, which differs between checkouts of one version."""
    from importlib.metadata import version

    root = Path(__file__).parents[1]
    return f"{version('penchant')}+{fingerprint(*sorted(root.rglob('*.py')))}"


def _differs(mark: str) -> ExecutorError | None:
    if mark == version_mark():
        return None
    return ExecutorError(
        f"This node has Penchant {version_mark()}, the run {mark}.",
        where=f"node {ray.get_runtime_context().get_node_id()[:8]} of the Ray cluster",
        fix="install the same version of Penchant on every node",
    )


def probe(mark: str, storage: Storage | None, token: str) -> ExecutorError | None:
    """Return what is wrong with the node that this runs on."""
    if (problem := _differs(mark)) is not None or storage is None:
        return problem
    with tempfile.TemporaryDirectory() as scratch:
        try:
            storage.fetch(token, Path(scratch) / "check")
        except PenchantError as error:
            node = ray.get_runtime_context().get_node_id()[:8]
            return ExecutorError(
                f"The node {node} does not see the storage of this run: {error.message}",
                where=error.where,
                fix="mount the folder at the same path on every node, or give an address such as s3://bucket/folder",
            )
    return None


_KEPT: dict[str, Any] = {}
"""What the last shards of this worker process shared, by reference: the same object for all of them, as in one process."""


def _shared_here(refs: Sequence[Any]) -> list[Any]:
    found = [_KEPT[ref.hex()] if ref.hex() in _KEPT else ray.get(ref) for ref in refs]
    for ref, value in zip(refs, found, strict=True):
        _KEPT.pop(ref.hex(), None)
        _KEPT[ref.hex()] = value
    for old in list(_KEPT)[: max(0, len(_KEPT) - max(KEPT, len(refs)))]:
        del _KEPT[old]
    return found


def compute(mark: str, code: bytes, payload: bytes, refs: Sequence[Any]) -> Answer:
    """Compute one shard in a worker process."""
    node = ray.get_runtime_context().get_node_id()
    if (problem := _differs(mark)) is not None:
        return Answer(node, 0.0, error=problem)
    lines, began, before = KeptLines(), time.perf_counter(), so_far()
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        result = cloudpickle.dumps(cloudpickle.loads(code)(cloudpickle.loads(payload), *_shared_here(refs)))
        seconds = time.perf_counter() - began
        return Answer(node, seconds, tuple(lines.kept), result=result, moved=since(before))
    except Exception as error:
        trace = traceback.format_exc()
        if isinstance(error, MemoryError):
            error = ExecutorError(
                "A node has too little memory for one part.",
                where=f"node {node[:8]} of the Ray cluster",
                fix="give its processes more memory, or start the node with fewer cores: each works on one part",
            )
        try:
            cloudpickle.loads(cloudpickle.dumps(error))
        except Exception:  # an exception of another library that does not survive the way back
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return Answer(node, time.perf_counter() - began, tuple(lines.kept), error, trace)
    finally:
        logger.removeHandler(lines)
