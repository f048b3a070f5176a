"""An executor whose shards are computed in this process on copies, as on nodes, and in another order than theirs."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from penchant.core.executor import Executor, LocalExecutor, Result, Shard, computing_on


class CopyingExecutor(Executor):
    """Computes shards in shuffled order, each on what pickle makes of it.

    Attributes:
        titles: Of the steps, one entry for each shard computed.
    """

    name = "ray"
    width = 2

    def __init__(self, seed: int = 0) -> None:
        self.titles: list[str] = []
        self._random = random.Random(seed)

    def map(
        self,
        function: Callable[..., Result],
        shards: Iterable[Shard],
        shared: Sequence[Any] = (),
        *,
        title: str = "",
        lost: Callable[[Shard, str], Result] | None = None,
    ) -> Iterator[Result]:
        sent = [pickle.dumps(shard) for shard in shards]
        function, shared = pickle.loads(pickle.dumps((function, tuple(shared))))
        results: dict[int, bytes] = {}
        for number in self._random.sample(range(len(sent)), len(sent)):
            with computing_on(LocalExecutor()):
                results[number] = pickle.dumps(function(pickle.loads(sent[number]), *shared))
            self.titles.append(title)
        yield from (pickle.loads(results[number]) for number in range(len(sent)))
