"""Where the independent parts of a run are computed: in this process, or on the nodes of a cluster.

In: a function and shards. Out: the result of each shard in the order of the shards, equal wherever it was computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import Field

from penchant.core.config import Settings
from penchant.core.storage import Storage

NODE_SHARDS = 16
"""Shards at least that rows are divided into on nodes, whatever their number: a result may not depend on it."""
Shard = TypeVar("Shard")
Result = TypeVar("Result")
ExecutorName = Literal["local", "ray"]


class RayConfig(Settings):
    """Where and how executor = "ray" computes."""

    address: str | None = None
    """Address of the cluster's head node, such as "10.0.0.5:6379"; None starts Ray on this machine, for this run."""
    storage: str | None = None
    """What every node can read and write: a folder that all nodes mount at the same path, or an address such as "s3://bucket/folder" (keys of
    access come from the environment). Media files are copied there for the nodes, and deleted at the end of the run. None: nodes read media at the
    paths of this machine."""
    cpus: int | None = Field(None, ge=1)
    """Cores that Ray uses where it is started on this machine; None takes all."""
    object_store_mb: int | None = Field(None, ge=80)
    """Megabytes of shared memory on this machine for what travels between tasks, where Ray is started here; what does not fit goes to its disk.
    None lets Ray choose."""
    retries: int = Field(2, ge=0)
    """How often a part is computed again whose process died, before it is given up; a node that goes away does not count."""


@dataclass(frozen=True)
class Meeting:
    """Where the processes of one piece of work find each other.

    Attributes:
        host: Address of the run, which holds a store of keys (torch's `TCPStore`).
        port: Of the store.
        name: Of this attempt; keys of others begin with other names.
        rank: Number of this process, from 0.
        size: Number of processes.
        seconds: Until all must have come.
    """

    host: str
    port: int
    name: str
    rank: int
    size: int
    seconds: float


class PeerLostError(Exception):
    """Another process of the same piece of work went away."""


@dataclass(frozen=True)
class _Lost(Generic[Shard]):
    """A shard whose process died again and again."""

    shard: Shard


class Executor(ABC):
    """Computes the shards of a step.

    A function gets one shard and what all shards share, changes neither, and returns the same for the same shard on any machine. Results come in the
    order of the shards, each exactly once, so that a sum over them has the same rounding on any number of nodes.
    """

    name: ClassVar[ExecutorName]
    is_local: ClassVar[bool] = False
    """Whether shards are computed one after another in this process."""
    storage: Storage | None = None
    """What every node can read and write; None where the files of this machine are read."""

    @property
    def width(self) -> int:
        """Shards that are computed at the same time."""
        return 1

    @abstractmethod
    def map(
        self,
        function: Callable[..., Result],
        shards: Iterable[Shard],
        shared: Sequence[Any] = (),
        *,
        title: str = "",
        lost: Callable[[Shard, str], Result] | None = None,
    ) -> Iterator[Result]:
        """Yield `function(shard, *shared)` of every shard, in the order of the shards.

        Args:
            function: Of a module that every node has.
            shards: Taken one by one, no more of them at once than the executor works on.
            shared: What every shard needs too; sent to each node once.
            title: Name of the step, for messages.
            lost: Returns what stands for a shard whose process died again and again, given the reason; None ends the run.

        Raises:
            ExecutorError: A shard was lost, or the nodes cannot be reached.
            Exception: What the function raised.
        """

    def map_apart(
        self,
        function: Callable[[Shard], Result],
        shards: Iterable[Shard],
        split: Callable[[Shard], Iterable[Shard]],
        lost: Callable[[Shard, str], Result],
        *,
        title: str = "",
    ) -> Iterator[Result]:
        """Yield `function(shard)` of every shard; of one whose process died again and again that of each of its pieces, last.

        Args:
            function: As of `map`.
            shards: As of `map`.
            split: Returns the pieces of a shard, so that what ends its process alone is found.
            lost: Returns what stands for a piece whose process died again and again, given the reason.
            title: As of `map`.
        """
        apart: list[Shard] = []
        attempts: Iterator[Any] = self.map(function, shards, title=title, lost=lambda shard, _: _Lost(shard))
        for found in attempts:
            if isinstance(found, _Lost):
                apart.append(found.shard)
            else:
                yield found
        yield from self.map(function, (piece for shard in apart for piece in split(shard)), title=title, lost=lost)

    def together(
        self, function: Callable[..., Result], piece: Any, count: int, shared: Sequence[Any] = (), *, title: str = ""
    ) -> Result:
        """Return `function(piece, meeting, *shared)` of the first of several processes that compute it together.

        Args:
            function: Of a module that every node has. It gets None for a meeting where it computes alone, and returns the same then.
            piece: The work.
            count: Processes at most.
            shared: As of `map`.
            title: As of `map`.

        Raises:
            ExecutorError: As of `map`.
            Exception: What the function raised.
        """
        return function(piece, None, *shared)

    def sum(
        self, function: Callable[..., Result], shards: Iterable[Shard], shared: Sequence[Any] = (), *, title: str = ""
    ) -> Result:
        """Return the sum of `function(shard, *shared)` over the shards, added in their order; there is at least one shard."""
        results: Iterator[Any] = self.map(function, shards, shared, title=title)
        total = next(results)
        for result in results:
            total = total + result
        return total

    def lines(self) -> list[str]:
        """Return what each node did so far, one line each."""
        return []


class LocalExecutor(Executor):
    """Computes every shard in this process, when its result is asked for."""

    name = "local"
    is_local = True

    def map(
        self,
        function: Callable[..., Result],
        shards: Iterable[Shard],
        shared: Sequence[Any] = (),
        *,
        title: str = "",
        lost: Callable[[Shard, str], Result] | None = None,
    ) -> Iterator[Result]:
        return (function(shard, *shared) for shard in shards)


_LOCAL = LocalExecutor()
_CURRENT: ContextVar[Executor] = ContextVar("executor", default=_LOCAL)


def current_executor() -> Executor:
    """Return the executor of this context; by default this process."""
    return _CURRENT.get()


def spans(length: int, size: int) -> list[tuple[int, int]]:
    """Return consecutive ranges of at most so many rows; on nodes `NODE_SHARDS` of them or more, so that several nodes have work.

    For results that do not depend on the other rows of a range.
    """
    if not current_executor().is_local:
        size = max(1, min(size, -(-length // NODE_SHARDS)))
    return [(start, min(start + size, length)) for start in range(0, length, size)]


@contextmanager
def computing_on(executor: Executor) -> Iterator[Executor]:
    """Compute what this context computes on an executor."""
    token = _CURRENT.set(executor)
    try:
        yield executor
    finally:
        _CURRENT.reset(token)


@contextmanager
def computing(name: ExecutorName, config: RayConfig) -> Iterator[Executor]:
    """Start an executor, compute on it what this context computes, and say in the log what each node did.

    Raises:
        MissingExtraError: Ray is asked for and not installed.
        ExecutorError: The cluster or its storage cannot be reached, or a node has another version of Penchant.
    """
    if name == "local":
        with computing_on(_LOCAL) as executor:
            yield executor
        return
    from penchant.core.ray_executor import RayExecutor  # imports Ray

    with RayExecutor.started(config) as executor, computing_on(executor):
        yield executor
