"""A cache that is bounded and never the truth; calls that share one run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from penchant.core.schema import Histories
from penchant.models.ensemble import UserScores
from penchant.service.batching import GroupCommit, MicroBatcher
from penchant.service.user_cache import StateVersion, UserState, UserStateCache


def person(version: int, size: int = 100) -> UserState:
    return UserState(
        StateVersion(version, 0),
        Histories.empty(size),
        (),
        UserScores(np.zeros(size, np.float32), np.ones(2, np.float32)),
    )


def test_changed_version_is_not_answered_from_the_cache():
    hot = UserStateCache(10_000)
    hot.put("a", person(1))
    assert hot.get("a", StateVersion(1, 0)) is not None
    assert hot.get("a", StateVersion(2, 0)) is None
    assert hot.get("a", StateVersion(1, 1)) is None


def test_the_one_not_asked_for_longest_goes_first():
    hot = UserStateCache(3 * person(1).num_bytes)
    for user in "abc":
        hot.put(user, person(1))
    hot.get("a", StateVersion(1, 0))
    hot.put("d", person(1))
    assert [hot.get(user, StateVersion(1, 0)) is not None for user in "abcd"] == [True, False, True, True]
    assert hot.num_bytes <= 3 * person(1).num_bytes


def test_somebody_too_large_is_not_held():
    hot = UserStateCache(10)
    hot.put("a", person(1))
    assert (len(hot), hot.num_bytes) == (0, 0)


def test_waiting_calls_share_one_run_and_get_their_own_answers():
    sizes: list[int] = []

    def run(tasks: Sequence[int]) -> list[int]:
        sizes.append(len(tasks))
        time.sleep(0.02)
        return [task * 2 for task in tasks]

    grouped = GroupCommit[int, int](run, max_size=8)
    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(grouped, range(48))) == [2 * n for n in range(48)]
    assert sum(sizes) == 48
    assert max(sizes) <= 8
    assert len(sizes) < 48


def test_failure_reaches_everybody_of_the_group_and_nobody_else():
    barrier = threading.Barrier(2)

    def run(tasks: Sequence[int]) -> list[int]:
        if 13 in tasks:
            raise ValueError("unlucky")
        return list(tasks)

    grouped = GroupCommit[int, int](run, max_size=1)

    def call(task: int) -> int:
        barrier.wait()
        return grouped(task)

    with ThreadPoolExecutor(2) as pool:
        good, bad = pool.submit(call, 1), pool.submit(call, 13)
        assert good.result() == 1
        with pytest.raises(ValueError, match="unlucky"):
            bad.result()


def test_calls_of_a_loop_come_in_order_in_bounded_batches():
    batches: list[list[int]] = []

    def run(tasks: Sequence[int]) -> list[int | Exception]:
        batches.append(list(tasks))
        time.sleep(0.01)
        return [task * 2 for task in tasks]

    async def ask() -> list[int]:
        batched = MicroBatcher[int, int](run, max_size=8)
        answers = await asyncio.gather(*[batched(n) for n in range(20)])
        answers.append(await batched(20))  # after a pause
        batched.close()
        return answers

    assert asyncio.run(ask()) == [2 * n for n in range(21)]
    assert batches == [[0], [*range(1, 9)], [*range(9, 17)], [*range(17, 20)], [20]]


def test_error_of_one_call_of_a_batch_is_its_own():
    def run(tasks: Sequence[int]) -> list[int | Exception]:
        if 7 in tasks:
            raise RuntimeError("all of it")
        return [ValueError("unlucky") if task == 13 else task for task in tasks]

    async def ask(*tasks: int) -> list[int | BaseException]:
        batched = MicroBatcher[int, int](run, max_size=8)
        answers = await asyncio.gather(*[batched(n) for n in tasks], return_exceptions=True)
        batched.close()
        return answers

    first, unlucky, other = asyncio.run(ask(0, 13, 2))
    assert (first, other) == (0, 2)
    assert str(unlucky) == "unlucky"
    assert [str(answer) for answer in asyncio.run(ask(0, 7, 2))] == ["0", "all of it", "all of it"]


def test_batch_goes_on_when_somebody_no_longer_waits():
    begun, go_on = threading.Event(), threading.Event()

    def run(tasks: Sequence[int]) -> list[int | Exception]:
        begun.set()
        go_on.wait(5)
        return list(tasks)

    async def ask() -> int:
        batched = MicroBatcher[int, int](run, max_size=8)
        gone, stays = asyncio.ensure_future(batched(1)), asyncio.ensure_future(batched(2))
        await asyncio.to_thread(begun.wait, 5)
        gone.cancel()
        go_on.set()
        answer = await stays
        batched.close()
        return answer

    assert asyncio.run(ask()) == 2
