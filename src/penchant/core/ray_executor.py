"""Shards as Ray tasks, each counted once whatever dies on the way.

In: a function and shards. Out: the results in the order of the shards, and what each node did.

Retries are decided here, not by Ray, since a node that went away says nothing about a shard, and a shard that ends its process again and again does.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import socket
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Self, TypeVar
from uuid import uuid4

from penchant.core.errors import ExecutorError, import_optional
from penchant.core.executor import Executor, Meeting, PeerLostError, RayConfig, Result, Shard
from penchant.core.logs import logger
from penchant.core.messages import message
from penchant.core.ray_tasks import PLAIN_EXCEPTHOOK, Answer, cloudpickle, compute, probe, ray, version_mark
from penchant.core.storage import Storage

failures: Any = import_optional("ray.exceptions", "ray")

AHEAD = 2
"""Shards in work and waiting for each core of the cluster."""
WAIT_SECONDS, LOOK_SECONDS = 1.0, 3.0
"""For a result, and between two looks at whether the head node still answers."""
PATIENCE_SECONDS = 20.0
"""Without an answer of the head node, or without any core in the cluster, until the run ends."""
START_SECONDS = 60.0
"""Until each node must have answered at the start."""
MEET_SECONDS = 60.0
"""Until all processes of a training must have started; one whose node went away a moment ago never does."""
NODE_RETRIES = 20
"""Times that one shard is computed again because its node went away."""
NODE_GONE = (
    failures.NodeDiedError,
    failures.ObjectLostError,
    failures.LocalRayletDiedError,
    failures.ObjectFetchTimedOutError,
)
"""What is no fault of a shard."""
T = TypeVar("T")


@dataclass
class NodeWork:
    """What one node did.

    Attributes:
        shards: Shards whose results were taken from it.
        seconds: Of work on them.
        received: Bytes of shards, and of what they share, that were sent to it.
        returned: Bytes of results.
        fetched: Bytes of files from the storage.
        exchanged: Bytes sent to other nodes that trained the same network.
    """

    shards: int = 0
    seconds: float = 0.0
    received: int = 0
    returned: int = 0
    fetched: int = 0
    exchanged: int = 0


@dataclass
class _Attempt(Generic[T]):
    """One shard in work."""

    number: int
    shard: T
    payload: bytes
    died: int = 0
    moved: int = 0
    node: str = ""


@dataclass(frozen=True)
class _Raised:
    """What a shard raised."""

    error: Exception


@dataclass
class _Window(Generic[Shard, Result]):
    """The shards in work, and the results that wait for one before them."""

    shards: Iterator[tuple[int, Shard]]
    in_work: dict[Any, _Attempt[Shard]] = field(default_factory=dict)
    done: dict[int, Result | _Raised] = field(default_factory=dict)
    given: int = 0
    is_exhausted: bool = False

    def following(self, limit: int) -> Iterator[_Attempt[Shard]]:
        """Yield the next shards, as long as fewer than the limit are in work or wait."""
        while not self.is_exhausted and len(self.in_work) + len(self.done) < limit:
            entry = next(self.shards, None)
            if entry is None:
                self.is_exhausted = True
            else:
                yield _Attempt(*entry, cloudpickle.dumps(entry[1]))

    def finished(self) -> Iterator[Result]:
        """Yield the results that are next; an error is raised where its result would be, as in one process."""
        while self.given in self.done:
            found = self.done.pop(self.given)
            if isinstance(found, _Raised):
                raise found.error
            yield found
            self.given += 1

    @property
    def is_over(self) -> bool:
        return self.is_exhausted and not self.in_work and not self.done


@dataclass(frozen=True)
class _Shared:
    """An object in the cluster, its size, and the nodes that have asked for it."""

    ref: Any
    size: int
    nodes: set[str] = field(default_factory=set)


class RayExecutor(Executor):
    """Computes shards on the nodes of a Ray cluster; see `started`.

    Args:
        config: Settings; `storage` is opened when it is first used.
        head: Host and port of the head node.
    """

    name = "ray"

    def __init__(self, config: RayConfig, head: tuple[str, int]) -> None:
        self.config, self._head = config, head
        self.storage = None if config.storage is None else Storage.of(config.storage).of_one_run()
        self.work: dict[str, NodeWork] = {}
        self._objects: dict[int, tuple[Any, _Shared]] = {}
        self._is_lost = False
        self._task = ray.remote(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")(compute)

    @classmethod
    @contextmanager
    def started(cls, config: RayConfig) -> Iterator[Self]:
        """Connect to the cluster, or start Ray on this machine, and check every node; at the end the work of each node is logged.

        Raises:
            ExecutorError: The cluster or its storage cannot be reached, or a node has another version of Penchant.
        """
        is_ours = not ray.is_initialized()
        if is_ours:
            connect(config)
        executor = None
        try:
            host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
            executor = cls(config, (host, int(port)))
            executor._check_nodes()
            yield executor
            for line in executor.lines():
                logger.info(line)
        finally:
            if executor is not None and executor.storage is not None:
                _cleared(executor.storage)
            if (
                executor is not None and executor._is_lost
            ):  # what asks the head node now ends this process before it says why
                sys.excepthook = PLAIN_EXCEPTHOOK
                atexit.unregister(ray.shutdown)
            elif is_ours:
                ray.shutdown()

    def map(
        self,
        function: Callable[..., Result],
        shards: Iterable[Shard],
        shared: Sequence[Any] = (),
        *,
        title: str = "",
        lost: Callable[[Shard, str], Result] | None = None,
    ) -> Iterator[Result]:
        sent = [self._sent(value) for value in shared]
        code = cloudpickle.dumps(function)
        window = _Window[Shard, Result](iter(enumerate(shards)))
        limit, seen, looked = AHEAD * self.width, time.monotonic(), time.monotonic()
        try:
            while True:
                for attempt in window.following(limit):
                    window.in_work[self._submit(code, attempt, sent)] = attempt
                yield from window.finished()
                if not window.in_work:
                    if window.is_over:
                        return
                    continue
                ready, _ = ray.wait(list(window.in_work), num_returns=1, timeout=WAIT_SECONDS)
                if time.monotonic() - looked > LOOK_SECONDS:  # nodes may go on for a while without their head
                    looked = time.monotonic()
                    seen, limit = self._watch(seen)
                for ref in ready:
                    attempt = window.in_work.pop(ref)
                    why = self._take(ref, attempt, sent, window.done)
                    window.is_exhausted |= isinstance(window.done.get(attempt.number), _Raised)
                    if why and (attempt.died > self.config.retries or attempt.moved > NODE_RETRIES):
                        window.done[attempt.number] = _given_up(attempt, why, title, lost)
                    elif why:
                        window.in_work[self._submit(code, attempt, sent)] = attempt
        finally:
            for ref in () if self._is_lost else window.in_work:
                with suppress(failures.RayError):
                    ray.cancel(ref, force=True)

    def together(
        self, function: Callable[..., Result], piece: Any, count: int, shared: Sequence[Any] = (), *, title: str = ""
    ) -> Result:
        sent, code = [self._sent(value) for value in shared], cloudpickle.dumps(_Both(cloudpickle.dumps(function)))
        died = moved = 0
        while True:
            size = min(count, self.width)
            name = uuid4().hex
            meetings = [Meeting(*self._store.place, name, rank, size, MEET_SECONDS) for rank in range(size)]
            attempts = [
                _Attempt(rank, piece, cloudpickle.dumps((piece, meeting))) for rank, meeting in enumerate(meetings)
            ]
            found, why = self._joint(code, attempts, sent)
            if why is None:
                logger.info("%s: by the nodes %s", title, ", ".join(sorted({one.node[:8] for one in attempts})))
                return found[0]
            died += max(one.died for one in attempts)
            moved += max(one.moved for one in attempts)
            if died > self.config.retries or moved > NODE_RETRIES:
                return _given_up(replace(attempts[0], died=died, moved=moved), why, title, None)

    def _joint(
        self, code: bytes, attempts: Sequence[_Attempt[Any]], sent: Sequence[_Shared]
    ) -> tuple[dict[int, Any], str | None]:
        """Return the results of processes that need each other, and why there are none where one was lost."""
        in_work = {self._submit(code, attempt, sent): attempt for attempt in attempts}
        done: dict[int, Any] = {}
        why, until, seen, looked = None, math.inf, time.monotonic(), time.monotonic()
        try:
            while in_work and time.monotonic() < until:
                ready, _ = ray.wait(list(in_work), num_returns=1, timeout=WAIT_SECONDS)
                if time.monotonic() - looked > LOOK_SECONDS:
                    looked = time.monotonic()
                    seen, _ = self._watch(seen)
                for ref in ready:
                    attempt = in_work.pop(ref)
                    lost = self._take(ref, attempt, sent, done)
                    if isinstance(raised := done.get(attempt.number), _Raised):  # the others wait for it in vain
                        raise raised.error
                    if lost is not None:  # the others end by it, and the cause is what the first of them died of
                        why = lost if why is None or attempt.died else why
                        until = min(until, time.monotonic() + LOOK_SECONDS)
        finally:
            for ref in () if self._is_lost else in_work:
                with suppress(failures.RayError):
                    ray.cancel(ref, force=True)
        return done, why

    @cached_property
    def _store(self) -> _Store:
        """Return the keys by which processes find each other; every node reaches this process already."""
        distributed: Any = import_optional("torch.distributed", "networks")
        host = ray.util.get_node_ip_address()
        server = distributed.TCPStore(host, 0, is_master=True, wait_for_workers=False)
        return _Store((host, server.port), server)

    @property
    def width(self) -> int:
        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    def lines(self) -> list[str]:
        return [
            f"ray node {node[:8]}: {work.shards} shards, {work.seconds:.1f} s of work, "
            f"{work.received / 1e6:.2f} MB received, {work.returned / 1e6:.2f} MB returned"
            + (f", {work.fetched / 1e6:.2f} MB fetched from the storage" if work.fetched else "")
            + (f", {work.exchanged / 1e6:.2f} MB sent to nodes that train with it" if work.exchanged else "")
            for node, work in sorted(self.work.items())
        ]

    def _submit(self, code: bytes, attempt: _Attempt[Any], sent: Sequence[_Shared]) -> Any:
        return self._task.remote(version_mark(), code, attempt.payload, [one.ref for one in sent])

    def _take(self, ref: Any, attempt: _Attempt[Any], sent: Sequence[_Shared], done: dict[int, Any]) -> str | None:
        """Put the result of a task, or what it raised, in `done` and return None; return why there is none where it has to be computed again."""
        try:
            answer: Answer = ray.get(ref, timeout=START_SECONDS)
        except failures.OutOfMemoryError:
            attempt.died += 1
            return message("its process was ended, the node had too little memory")
        except failures.WorkerCrashedError:
            attempt.died += 1
            return message("its process died")
        except NODE_GONE as error:
            attempt.moved += 1
            logger.warning("a node went away; part %d is computed again (%s)", attempt.number, type(error).__name__)
            return "its node went away"
        except failures.GetTimeoutError:
            attempt.moved += 1
            return "its result did not arrive"
        except failures.RayTaskError as error:  # before our own code: the node cannot load it
            raise _cannot_load(error) from error
        for level, line in answer.lines:
            logger.log(level, "%s", line)
        if isinstance(answer.error, (PeerLostError, *NODE_GONE)):
            attempt.moved += 1
            is_peer = isinstance(answer.error, PeerLostError)
            return (
                "a process that it works with went away"
                if is_peer
                else "what it shares with other parts did not arrive"
            )
        if answer.error is not None:
            answer.error.add_note(f"on node {answer.node[:8]}:\n{answer.trace}")
            done[attempt.number] = _Raised(answer.error)
        else:
            done[attempt.number], attempt.node = cloudpickle.loads(answer.result), answer.node
            self._count(answer, attempt, sent)
        return None

    def _count(self, answer: Answer, attempt: _Attempt[Any], sent: Sequence[_Shared]) -> None:
        work = self.work.setdefault(answer.node, NodeWork())
        work.shards += 1
        work.seconds += answer.seconds
        work.received += len(attempt.payload)
        work.returned += len(answer.result)
        work.fetched += answer.moved.fetched
        work.exchanged += answer.moved.exchanged
        for one in sent:
            if answer.node not in one.nodes:
                one.nodes.add(answer.node)
                work.received += one.size

    def _sent(self, value: Any) -> _Shared:
        """Return the object in the cluster, put there once while it lives here."""
        key = id(value)
        if key in self._objects and self._objects[key][0]() is value:
            return self._objects[key][1]
        buffers: list[Any] = []
        head = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        size = len(head) + sum(buffer.raw().nbytes for buffer in buffers)
        shared = _Shared(ray.put(value), size)
        with suppress(TypeError):  # of a plain list or dictionary nobody can tell when it ends
            self._objects[key] = weakref.ref(value, lambda _: self._objects.pop(key, None)), shared
        return shared

    def _watch(self, seen: float) -> tuple[float, int]:
        """Return the last moment at which the cluster could work, and how many shards it may be given.

        Raises:
            ExecutorError: It could not for too long.
        """
        self._is_lost = not _answers(self._head)
        if not self._is_lost:  # without its head node, Ray ends this process where it is asked anything
            if cores := int(ray.cluster_resources().get("CPU", 0)):
                return time.monotonic(), AHEAD * cores
            problem = "The cluster has no node that could work."
        else:
            problem = "The head node of the cluster is gone."
        if time.monotonic() - seen < PATIENCE_SECONDS:
            return seen, AHEAD
        raise ExecutorError(
            problem,
            where=f"the Ray cluster at {self._head[0]}:{self._head[1]}",
            fix="start it again and run again: finished batches are in the cache, and the result folder is as it was",
        )

    def _check_nodes(self) -> None:
        """Run one task on each node: it has this version of Penchant, and reads the storage.

        Raises:
            ExecutorError: A node does not answer, has another version or does not reach the storage.
        """
        token = f"check/{uuid4().hex}"
        if self.storage is not None:
            _put_text(self.storage, token)
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        check = ray.remote(probe)
        try:
            refs = [
                check.options(num_cpus=0, max_retries=3, scheduling_strategy=strategy(node, soft=False)).remote(
                    version_mark(), self.storage, token
                )
                for node in nodes
            ]
            for node, ref in zip(nodes, refs, strict=True):
                self._raise_problem(node, ref)
        finally:
            if self.storage is not None:
                self.storage.remove(token)
        logger.info("ray: %d nodes, %d cores", len(nodes), self.width)

    def _raise_problem(self, node: str, ref: Any) -> None:
        try:
            problem = ray.get(ref, timeout=START_SECONDS)
        except failures.RayTaskError as error:
            raise _cannot_load(error) from error
        except (*NODE_GONE, failures.TaskUnschedulableError):
            return  # it left: the list of nodes names one that went away for some seconds more
        except failures.GetTimeoutError as error:
            raise ExecutorError(
                f"The node {node[:8]} did not answer within {START_SECONDS:.0f} s.",
                where=f"the Ray cluster at {self._head[0]}:{self._head[1]}",
                fix="look at `ray status`; remove the node, or start it again",
            ) from error
        if problem is not None:
            raise problem


def connect(config: RayConfig) -> None:
    """Connect to the cluster, or start Ray on this machine.

    Raises:
        ExecutorError: The cluster cannot be reached.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if config.address is None:
            os.environ.setdefault(
                "RAY_worker_niceness", "0"
            )  # Ray's 15 gives a run a fraction of a machine that others use too
            size = None if config.object_store_mb is None else config.object_store_mb * 2**20
            ray.init(address="local", num_cpus=config.cpus, object_store_memory=size, include_dashboard=False, **quiet)
        else:
            host, _, port = config.address.rpartition(":")
            is_plain = host and "/" not in host and port.isdigit()
            if is_plain and not _answers((host, int(port))):  # Ray itself tries for minutes
                raise ConnectionError("nobody answers there.")
            ray.init(address=config.address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ExecutorError(
            f"Ray cannot be reached: {(str(error).splitlines() or [type(error).__name__])[0][:200]}",
            where=f"ray.address = {config.address!r}",
            fix="start the head node with `ray start --head` and give its address, or leave ray.address out to start Ray here",
        ) from error


@dataclass(frozen=True)
class _Both:
    """Calls a function that takes a piece and its meeting as two arguments."""

    code: bytes

    def __call__(self, pair: tuple[Any, Meeting], *shared: Any) -> Any:
        return cloudpickle.loads(self.code)(*pair, *shared)


@dataclass(frozen=True)
class _Store:
    """A server of keys in this process, and its host and port."""

    place: tuple[str, int]
    server: Any


def _given_up(attempt: _Attempt[Shard], why: str, title: str, lost: Callable[[Shard, str], Result] | None) -> Result:
    if lost is not None:
        logger.warning("%s: part %d is given up: %s, %d times", title, attempt.number, why, attempt.died)
        return lost(attempt.shard, why)
    raise ExecutorError(
        f"Part {attempt.number} of {title or 'the work'} was given up after {attempt.died + attempt.moved} attempts: {why}.",
        where="a task on the Ray cluster",
        fix='give the nodes more memory or fewer cores each, or set executor = "local" to see the failure here',
    )


def _cannot_load(error: Exception) -> ExecutorError:
    last = str(error).strip().splitlines()[-1][:200]
    return ExecutorError(
        f"A node cannot load this version of Penchant: {last}.",
        where="a node of the Ray cluster",
        fix="install the same version of Penchant, with the same extras, on every node",
    )


def _answers(head: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(head, timeout=2):
            return True
    except OSError:
        return False


def _cleared(storage: Storage) -> None:
    """Delete what this run copied to the storage, so that no medium of a user outlives the run there."""
    try:
        storage.clear()
    except ExecutorError as error:  # does not take the place of what ended the run
        logger.warning("the copies of media in %s, folder %s, are left: %s", error.where, storage.below, error.message)


def _put_text(storage: Storage, name: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "check"
        file.write_text(name)
        storage.put(file, name)
