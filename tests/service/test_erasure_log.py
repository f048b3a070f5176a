"""Erasure while a reader holds SQLite's write-ahead log: the answer is 202 until the log is empty."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from penchant.service import erasure
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.log_pages import texts_in_log
from penchant.service.store import Edit, Event, Store

USER = "stranger@shop.example"


@pytest.fixture
def client(shop: Path, tmp_path: Path) -> Iterator[TestClient]:
    config = ServiceConfig(bundle=shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])
    with TestClient(create_app(config)) as client:
        client.app.state.worker.refit = lambda: None
        yield client


@pytest.fixture
def reader(client: TestClient, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Return a connection that reads a state of the file from before the erasure."""
    client.post("/v1/events", json={"user_id": USER, "item_id": "i3"})
    connection = sqlite3.connect(tmp_path / "state" / "store.db", isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM event").fetchone()
    yield connection
    connection.close()


def is_on_disk(tmp_path: Path) -> bool:
    return any(USER.encode() in file.read_bytes() for file in (tmp_path / "state").glob("store.db*"))


def test_answer_is_202_until_a_reader_releases_the_log(client: TestClient, reader: sqlite3.Connection, tmp_path: Path):
    service, worker = client.app.state.service, client.app.state.worker
    answer = client.delete(f"/v1/users/{USER}")
    assert (answer.status_code, answer.json()["receipt"]["store"]) == (202, erasure.HELD)
    assert erasure.is_genuine(service.secret, answer.json()["receipt"])
    assert is_on_disk(tmp_path)
    found = erasure.verify(service.config.bundle, service.store, service.secret)
    assert (found.num_due, found.num_in_log, found.is_clean) == (1, 1, False)

    worker.empty_log()
    assert service.store.erasures()[0].finished_at is None
    reader.execute("ROLLBACK")
    worker._next_log = 0.0
    worker.empty_log()
    assert not is_on_disk(tmp_path)
    (done,) = service.store.erasures()
    assert (json.loads(done.receipt)["store"], done.finished_at is not None) == (erasure.ERASED, True)
    assert erasure.is_genuine(service.secret, json.loads(done.receipt))
    assert erasure.verify(service.config.bundle, service.store, service.secret).is_clean
    assert client.delete(f"/v1/users/{USER}").status_code == 200


def test_attempts_come_at_growing_intervals(client: TestClient, reader: sqlite3.Connection):
    worker = client.app.state.worker
    client.delete(f"/v1/users/{USER}")
    worker.step()
    waits = []
    for _ in range(3):
        worker._next_log = 0.0
        worker.empty_log()
        waits.append(worker._log_wait)
    assert waits == sorted(waits)
    assert waits[-1] == 30.0


def test_next_start_empties_the_log(client: TestClient, reader: sqlite3.Connection, tmp_path: Path):
    client.delete(f"/v1/users/{USER}")
    reader.close()
    with TestClient(create_app(client.app.state.service.config)) as again:
        assert again.app.state.service.store.erasures()[0].finished_at is not None
    assert not is_on_disk(tmp_path)


def test_waiting_for_the_log_starts_no_refit(client: TestClient, reader: sqlite3.Connection):
    client.delete(f"/v1/users/{USER}")
    service = client.app.state.service
    assert not any(erasure.needs_refit(e, service.secret) for e in service.store.erasures())


def test_altered_receipt_is_not_signed_anew(client: TestClient, reader: sqlite3.Connection):
    service = client.app.state.service
    receipt = client.delete(f"/v1/users/{USER}").json()["receipt"]
    service.store.sign_erasure(receipt["receipt_id"], json.dumps({**receipt, "rows": {}}), finished=False)
    reader.execute("ROLLBACK")
    assert erasure.finish_log(service.store, service.secret), "nothing waits that may be signed"
    assert erasure.bad_receipts(service.store.erasures(), service.secret) == 1
    assert erasure.needs_refit(service.store.erasures()[0], service.secret), "another one is signed after the refit"


def test_log_pages_give_the_texts_of_tables_and_indexes(tmp_path: Path):
    store = Store.open(f"sqlite:///{tmp_path / 's.db'}")
    assert store.log_file is not None
    store.append([[Event(f"user number {n} ü", f"item {n}", "click", n, None, f"key {n}") for n in range(500)]])
    store.edit("editor", [Edit("genres", "x" * 200, "less")])
    wanted = {*(f"user number {n} ü" for n in range(500)), *(f"item {n}" for n in range(500)), "editor", "x" * 200}
    assert wanted <= texts_in_log(store.log_file)
    assert store.empty_log()
    assert texts_in_log(store.log_file) == set()
    store.close()
    assert texts_in_log(tmp_path / "none-wal") == set()
