"""Items change hands between clients and the background workers of several processes; no change is overwritten by an older one."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from penchant.recommender.new_items import encode_new_item
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.store import FAILED, READY, WAITING, WITHDRAWN, Store, StoredItem
from store_processes import OtherProcess, OwnProcess


@pytest.fixture
def during_encoding(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """Return calls that are made while an item is encoded: each once, in order."""
    calls: list[Callable[[], object]] = []

    def encode(*given: Any) -> object:
        if calls:
            calls.pop(0)()
        return encode_new_item(*given)

    monkeypatch.setattr("penchant.service.background.encode_new_item", encode)
    # the thread of the worker would encode before the call is there: only the steps of the test work
    monkeypatch.setattr("penchant.service.background.BackgroundWorker.wake", lambda worker: None)
    return calls


def test_item_withdrawn_while_it_is_encoded_stays_withdrawn(
    config: ServiceConfig, during_encoding: list[Callable[[], object]]
):
    with TestClient(create_app(config)) as client:
        client.put("/v1/items/new", json={"columns": {"title": "t"}})
        during_encoding.append(lambda: client.delete("/v1/items/new"))
        for _ in range(2):
            client.app.state.worker.step()
            assert client.get("/v1/items/new").json()["status"] == "withdrawn"


def test_second_put_while_the_first_is_encoded_is_kept(
    config: ServiceConfig, during_encoding: list[Callable[[], object]]
):
    with TestClient(create_app(config)) as client:
        client.put("/v1/items/new", json={"columns": {"title": "first"}})
        during_encoding.append(lambda: client.put("/v1/items/new", json={"columns": {"title": "second"}}))
        for _ in range(2):
            client.app.state.worker.step()
        assert client.get("/v1/items/new").json()["status"] == "ready"
        lookup = client.app.state.service.snapshot.recommender.lookup
        assert lookup.titles[lookup.row("new")] == "second"


def test_item_withdrawn_while_it_fails_stays_withdrawn(config: ServiceConfig, monkeypatch: pytest.MonkeyPatch):
    with TestClient(create_app(config)) as client:

        def encode(*given: Any) -> object:
            client.delete("/v1/items/new")
            raise MemoryError("a broken encoder")

        monkeypatch.setattr("penchant.service.background.encode_new_item", encode)
        client.put("/v1/items/new", json={"columns": {"title": "t"}})
        client.app.state.worker.step()
        assert client.get("/v1/items/new").json()["status"] == "withdrawn"
        client.app.state.worker._retry_failed()
        assert client.get("/v1/items/new").json()["status"] == "withdrawn"


@pytest.fixture
def processes(address: str) -> Iterator[list[Any]]:
    own = OwnProcess(address)
    other = OtherProcess(address)
    yield [own, other]
    own.close()
    other.close()


EXAMPLES = itertools.count()


class ItemChanges(RuleBasedStateMachine):
    """Clients put and withdraw items while workers finish items they took earlier, in two processes.

    The model: a client's change always holds; a worker's holds only if the item is still what the worker took.
    """

    processes: list[Any]
    taken = Bundle("taken")
    items = st.sampled_from(["a", "b"])
    at = st.integers(0, 1)

    def __init__(self) -> None:
        super().__init__()
        self.start = f"{next(EXAMPLES)}-"  # the store keeps the items of earlier examples
        self.changes = itertools.count()
        self.model: dict[str, tuple[str, str]] = {}

    @rule(item=items, at=at)
    def put(self, item: str, at: int) -> None:
        self._change(item, at, WAITING)

    @rule(item=items, at=at)
    def withdraw(self, item: str, at: int) -> None:
        self._change(item, at, WITHDRAWN)

    def _change(self, item: str, at: int, status: str) -> None:
        body = str(next(self.changes))
        self.processes[at].put(StoredItem(self.start + item, status, body))
        self.model[self.start + item] = (status, body)

    @rule(target=taken, at=at, status=st.sampled_from([WAITING, READY, FAILED]))
    def take(self, at: int, status: str) -> list[StoredItem]:
        return [i for i in self.processes[at].newest().values() if i.item_id in self.model and i.status == status]

    @rule(held=taken, at=at, fails=st.booleans())
    def finish(self, held: list[StoredItem], at: int, fails: bool) -> None:
        for item in held:
            status = {WAITING: FAILED if fails else READY, READY: FAILED, FAILED: WAITING}[item.status]
            body = f"{item.body}, then {next(self.changes)}"
            is_current = self.model[item.item_id] == (item.status, item.body)
            vectors = b"vectors" if status == READY else None
            assert self.processes[at].replace(item, StoredItem(item.item_id, status, body, vectors)) == is_current
            if is_current:
                self.model[item.item_id] = (status, body)

    @invariant()
    def every_process_sees_the_model(self) -> None:
        for process in self.processes:
            seen = {i.item_id: (i.status, i.body) for i in process.newest().values() if i.item_id in self.model}
            assert seen == self.model


def test_items_in_two_processes_follow_the_model(processes: list[Any]):
    class Machine(ItemChanges):
        pass

    Machine.processes = processes
    few = settings(max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Machine, settings=few)


def test_of_two_workers_that_finish_the_same_item_at_once_one_is_heard(processes: list[Any]):
    own, other = processes
    for turn in range(10):
        own.put(StoredItem("x", WAITING, f"{turn}"))
        (held,) = own.newest().values()
        with ThreadPoolExecutor(2) as pool:
            done = [pool.submit(p.replace, held, StoredItem("x", READY, f"{turn} by {p}")) for p in (own, other)]
            heard = [future.result() for future in done]
        assert sorted(heard) == [False, True]
        winner = (own, other)[heard.index(True)]
        assert own.newest() == other.newest()
        assert own.newest()["x"].body == f"{turn} by {winner}"


def test_reader_beside_two_writing_processes_misses_no_change(processes: list[Any], address: str):
    own, other = processes
    reader = OwnProcess(address)

    def write(process: Any, name: str) -> None:
        for n in range(30):
            process.put(StoredItem(f"{name}{n % 7}", WAITING, str(n)))

    with ThreadPoolExecutor(2) as pool:
        writing = [pool.submit(write, process, name) for process, name in ((own, "own"), (other, "other"))]
        while not all(future.done() for future in writing):
            reader.newest()
        for future in writing:
            future.result()
    assert reader.newest() == {item.item_id: item for item in reader.store.items()}
    reader.close()


def test_reading_the_items_again_reads_only_what_changed(config: ServiceConfig, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    plain = Store.items_changed

    def counted(store: Store, after: int) -> list[StoredItem]:
        found = plain(store, after)
        read.extend(item.item_id for item in found)
        return found

    monkeypatch.setattr(Store, "items_changed", counted)
    with TestClient(create_app(config)) as client:
        for n in range(3):
            client.put(f"/v1/items/n{n}", json={"columns": {"title": "t"}})
        for _ in range(2):
            client.app.state.worker.step()
        read.clear()
        for _ in range(5):
            client.app.state.worker.step()
        assert read == []
        client.delete("/v1/items/n1")
        client.app.state.worker.step()
        assert read == ["n1"]


def test_items_that_come_one_by_one_score_like_all_at_once(config: ServiceConfig, shop: Path):
    scores, sound = [], base64.b64encode((shop.parent / "media" / "1.wav").read_bytes()).decode()
    with TestClient(create_app(config)) as client:
        for n in range(4):
            body = {"columns": {"title": f"{n}", "genres": ["low"]}, **({"audio": {"data": sound}} if n % 2 else {})}
            client.put(f"/v1/items/n{n}", json=body)
            client.app.state.worker.step()
        scores.append(client.app.state.service.states.one("u1")[1].scores.values)
    with TestClient(create_app(config)) as client:  # its start adds all of them at once
        scores.append(client.app.state.service.states.one("u1")[1].scores.values)
    assert len(scores[0]) == 28
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)
