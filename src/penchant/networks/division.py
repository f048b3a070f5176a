"""Divide each batch of a training into parts, whose gradients processes compute at the same time.

In: a batch. Out: its gradient as the sum over the parts in their order, so that it depends on their number and not on who computed them.

Torch's DistributedDataParallel averages what each process has, in an order that depends on their number; a run on three nodes would not equal one on two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

import torch
from jaxtyping import Float32
from torch import Tensor, distributed

from penchant.core.executor import Meeting, PeerLostError
from penchant.core.traffic import moved

B = TypeVar("B")
Value = TypeVar("Value")
ANSWER_SECONDS = 600.0
"""Without a word of the other processes, until a training gives up; a node that goes away is noticed at once."""


@dataclass(frozen=True)
class Division(Generic[B]):
    """How batches are divided.

    Attributes:
        split: Batch to its parts, each with its share of the batch's loss; the shares sum to 1.
        peers: Who computes them; this process alone computes one after another.
    """

    split: Callable[[B], Sequence[tuple[B, float]]]
    peers: Peers


class Peers(Protocol):
    """The processes of one training, all of which hold the same weights.

    Attributes:
        rank: Number of this process, from 0; the first one keeps checkpoints and writes the log.
        size: Number of processes.
    """

    rank: int
    size: int

    def gathered(self, rows: Float32[Tensor, "parts N"]) -> Sequence[Tensor]:
        """Return the rows of every process, by rank."""

    def same(self, value: Value) -> Value:
        """Return the value that the first process has."""


class Alone:
    """This process."""

    rank, size = 0, 1

    def gathered(self, rows: Float32[Tensor, "parts N"]) -> Sequence[Tensor]:
        return [rows]

    def same(self, value: Value) -> Value:
        return value


class Together:
    """Processes on the nodes of a cluster, joined by gloo.

    Raises:
        PeerLostError: Another process, or its node, went away.
    """

    def __init__(self, meeting: Meeting) -> None:
        self.rank, self.size = meeting.rank, meeting.size

    def gathered(self, rows: Float32[Tensor, "parts N"]) -> Sequence[Tensor]:
        found = [torch.empty_like(rows) for _ in range(self.size)]
        with _heard():
            distributed.all_gather(found, rows)
        moved.exchanged += (self.size - 1) * rows.nbytes
        return found

    def same(self, value: Value) -> Value:
        box: list[Any] = [value if self.rank == 0 else None]
        with _heard():
            distributed.broadcast_object_list(box)
        return box[0]


_PEERS: ContextVar[Peers] = ContextVar("peers", default=Alone())  # noqa: B039 - without state


def current_peers() -> Peers:
    """Return the processes that train together in this context; by default this one."""
    return _PEERS.get()


@contextmanager
def meeting_at(meeting: Meeting | None) -> Iterator[Peers]:
    """Train in this context together with the processes of a meeting; None trains alone.

    Raises:
        PeerLostError: The others did not come, or one went away.
    """
    if meeting is None:
        yield current_peers()
        return
    with _heard():
        limit = timedelta(seconds=meeting.seconds)
        store = distributed.TCPStore(meeting.host, meeting.port, timeout=limit)  # type: ignore[attr-defined]
        distributed.init_process_group(
            "gloo",
            store=distributed.PrefixStore(meeting.name, store),  # type: ignore[attr-defined]
            rank=meeting.rank,
            world_size=meeting.size,
            timeout=limit,
        )
    try:
        # an epoch's score takes its time
        distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=ANSWER_SECONDS))
        peers = Together(meeting)
        token = _PEERS.set(peers)
        try:
            yield peers
        finally:
            _PEERS.reset(token)
    finally:
        distributed.destroy_process_group()


@contextmanager
def _heard() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of torch, whose network errors are of this kind
        raise PeerLostError(str(error).splitlines()[0][:200]) from error
