"""Fit members, each once that differs from another in what scoring reads alone, here or on the nodes of a cluster.

In: unfitted members, histories and content. Out: fitted members with the seconds that took.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from penchant.core.executor import Meeting, current_executor
from penchant.core.schema import Content, Histories
from penchant.models.member import Member
from penchant.models.shared import SharedResults, sharing
from penchant.models.user_sums import summed

Fitted = tuple[Member, float]
"""A fitted member and the seconds its fit took."""


@dataclass(frozen=True)
class FitJob:
    """One member to fit.

    Attributes:
        member: Unfitted.
        content: What it may read.
        before: The same member fitted on fewer events, from which it is refitted; None fits it from scratch.
    """

    member: Member
    content: Content
    before: Member | None = None


class FitCache:
    """Fits every member once that differs from another in what scoring reads alone (`Member.reading`), the parts of members included.

    Args:
        max_bytes: Size of the fitted members kept, those not used for longest leaving first; None keeps all.
        shared: Results that several members need; None starts without any.
    """

    def __init__(self, max_bytes: float | None = None, shared: SharedResults | None = None) -> None:
        self.max_bytes = max_bytes
        self._fitted: dict[str, Fitted] = {}
        self._shared = SharedResults() if shared is None else shared
        self._ahead: dict[str, Fitted] = {}

    def fit(self, member: Member, train: Histories, content: Content, before: Member | None = None) -> Fitted:
        """Return the fitted member and the seconds its fit took, here or when it was fitted first.

        Args:
            member: Unfitted.
            train: What it learns from; the same in every call.
            content: What it may read; the same in every call for equal names of channels.
            before: The same member fitted on fewer events, from which it is refitted; None fits it from scratch.
        """
        if not member.reading:
            return self._learned(member, train, content, before)
        key = _key(member, content)
        if key in self._fitted:
            self._fitted[key] = fitted, seconds = self._fitted.pop(key)  # the last used are kept longest
            return fitted.reread(member), seconds
        self._fitted[key] = found = self._learned(member, train, content, before)
        self._forget()
        return found

    def fit_all(self, jobs: Sequence[FitJob], train: Histories) -> Iterator[Fitted]:
        """Yield what `fit` returns of each job, in order; on nodes, those that need no other are fitted at the same time."""
        executor = current_executor()
        if not executor.is_local and (len(jobs) > 1 or any(job.member.batch_parts > 1 for job in jobs)):
            needed: dict[str, FitJob] = {}
            for job in jobs:
                _collect(job, needed)
            pending = {key: job for key, job in needed.items() if key not in self._fitted}
            contents = list({id(job.content): job.content for job in pending.values()}.values())
            shards = {
                key: (replace(job, content=Content.NONE, before=_earlier(job)), _place(job.content, contents))
                for key, job in pending.items()
            }
            shared = (
                train,
                Summed(summed(train, [job.member.user_sums(train) for job in pending.values()])),
                *contents,
            )
            alone = {key: shard for key, shard in shards.items() if shard[0].member.batch_parts == 1}
            fitted = executor.map(_fit_on_node, alone.values(), shared, title="fit")
            self._ahead = dict(zip(alone, fitted, strict=True))
            for key, shard in shards.items():
                if key not in alone:  # after the others: its processes wait for each other, and would hold the cores
                    member = shard[0].member
                    found = executor.together(
                        _fit_together, shard, member.batch_parts, shared, title=f"fit {member.name}"
                    )
                    assert found is not None, "the first process returns it"
                    self._ahead[key] = found
        try:
            for job in jobs:
                yield self.fit(job.member, train, job.content, job.before)
        finally:
            self._ahead = {}

    def found(self, member: Member, content: Content) -> Fitted | None:
        """Return a fitted member that was kept, None where there is none."""
        return self._fitted.get(_key(member, content)) if member.reading else None

    def keep(self, member: Member, content: Content, fitted: Fitted) -> None:
        """Keep a member that was fitted elsewhere."""
        if member.reading:
            self._fitted[_key(member, content)] = fitted
            self._forget()

    def _learned(self, member: Member, train: Histories, content: Content, before: Member | None) -> Fitted:
        if (ahead := self._ahead.get(_key(member, content))) is not None:
            return ahead[0].reread(member), ahead[1]
        began = perf_counter()
        earlier = {} if before is None else before.parts()
        parts = {name: self.fit(part, train, content, earlier.get(name))[0] for name, part in member.parts().items()}
        member = member.with_parts(parts)
        with sharing(self._shared):
            fitted = member.fit(train, content) if before is None else member.refit(train, content, before)
        return fitted, perf_counter() - began

    def _forget(self) -> None:
        """Leave out the fits not used for longest above the limit; the newest stays."""
        if self.max_bytes is None:
            return
        sizes = {
            key: sum(array.nbytes for array in member.arrays().values()) for key, (member, _) in self._fitted.items()
        }
        for key in list(self._fitted)[:-1]:
            if sum(sizes[one] for one in self._fitted) <= self.max_bytes:
                break
            del self._fitted[key]


_ON_THIS_NODE = SharedResults()
"""Results that several members need, of the process of a node."""


@dataclass(frozen=True)
class Summed:
    """Sums over users that were added up before (`user_sums.summed`)."""

    found: Mapping[Hashable, Any]


def _fit_on_node(shard: tuple[FitJob, int], train: Histories, sums: Summed, *contents: Content) -> Fitted:
    """Return a fitted member, on the node where this runs."""
    job, place = shard
    if _ON_THIS_NODE.train is not train:
        _ON_THIS_NODE.found, _ON_THIS_NODE.train = {}, train
    _ON_THIS_NODE.found |= sums.found
    if job.member.checkpoint is not None and not job.member.checkpoint.parent.is_dir():
        job.member.checkpoint = None  # the cache of the run is on another machine
    return FitCache(shared=_ON_THIS_NODE).fit(job.member, train, contents[place], job.before)


def _fit_together(
    shard: tuple[FitJob, int], meeting: Meeting | None, train: Histories, sums: Summed, *contents: Content
) -> Fitted | None:
    """Return a member that several nodes fit together, on the first of them; None on the others."""
    from penchant.networks.division import meeting_at  # imports torch

    with meeting_at(meeting) as peers:
        fitted = _fit_on_node(shard, train, sums, *contents)
    return fitted if peers.rank == 0 else None


def _collect(job: FitJob, needed: dict[str, FitJob]) -> None:
    """Add a job, or those of the members it holds: what holds others is cheap, and is fitted from theirs."""
    if parts := job.member.parts():
        earlier = {} if job.before is None else job.before.parts()
        for name, part in parts.items():
            _collect(FitJob(part, job.content, earlier.get(name)), needed)
    else:
        needed.setdefault(_key(job.member, job.content), job)


def _earlier(job: FitJob) -> Member | None:
    """Return the earlier fit if the member reads it; one that is fitted from scratch needs not travel."""
    return None if type(job.member).refit is Member.refit else job.before


def _place(content: Content, contents: Sequence[Content]) -> int:
    return next(place for place, one in enumerate(contents) if one is content)


def _key(member: Member, content: Content) -> str:
    config = member.config.model_dump(mode="json", exclude=set(member.reading))
    read = sorted([*content.channels, *content.user_channels]) if member.channels(content) else []
    return repr((type(member).__qualname__, sorted(config.items()), read))
