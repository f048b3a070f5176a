"""Erasures that disappear from the store, and receipts that are emptied, are noticed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from penchant.recommender.recommender import Recommender
from penchant.service import erasure
from penchant.service.security import Secret
from penchant.service.store import Store

SECRET = Secret(b"s" * 32)


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    store = Store.open(address)
    yield store
    store.close()


def change(address: str, *statements: str) -> None:
    """Change the store behind the service's back."""
    engine = create_engine(address.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def erase(store: Store, *names: str) -> None:
    for name in names:
        receipt = {"receipt_id": name, "model": erasure.UNTOUCHED}
        store.erase(name, SECRET.subject(name), name, sign=SECRET.link)
        store.sign_erasure(
            name, json.dumps({**receipt, "signature": erasure.signature(SECRET, receipt)}), finished=True
        )


def found(store: Store) -> tuple[int, int]:
    return erasure.chain_breaks(store, SECRET), erasure.bad_receipts(store.erasures(), SECRET)


def test_chain_of_untouched_erasures_is_whole(store: Store):
    assert found(store) == (0, 0)
    erase(store, "a", "b", "c")
    assert found(store) == (0, 0)


@pytest.mark.parametrize("gone", ["a", "b", "c"])
def test_one_deleted_erasure_is_noticed(store: Store, address: str, gone: str):
    erase(store, "a", "b", "c")
    change(address, f"DELETE FROM erasure WHERE receipt_id = '{gone}'")
    assert found(store) == (1, 0)
    erase(store, "d")
    assert found(store) == (1, 0), "a later erasure does not hide it"


def test_all_deleted_are_noticed(store: Store, address: str):
    erase(store, "a", "b", "c")
    change(address, "DELETE FROM erasure")
    assert found(store) == (3, 0)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE erasure SET subject = 'other' WHERE receipt_id = 'b'",
        "UPDATE erasure SET erased_at = erased_at + 1 WHERE receipt_id = 'b'",
        "UPDATE erasure SET link = NULL WHERE receipt_id = 'b'",
        "UPDATE erasure SET number = 7 WHERE receipt_id = 'b'",
        "UPDATE world SET last_link = 'other'",
        "UPDATE world SET num_erasures = NULL, last_link = NULL",
        "INSERT INTO erasure (receipt_id, subject, erased_at, receipt) VALUES ('x', 'y', 1, '')",
    ],
)
def test_altered_chain_is_noticed(store: Store, address: str, statement: str):
    erase(store, "a", "b", "c")
    change(address, statement)
    assert found(store)[0] > 0
    store.seal_erasures(SECRET.link)
    assert found(store)[0] > 0, "a start of the service does not sign it"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE erasure SET receipt = '' WHERE receipt_id = 'b'",
        "UPDATE erasure SET receipt = '[]' WHERE receipt_id = 'b'",
        "UPDATE erasure SET receipt = 'no JSON' WHERE receipt_id = 'b'",
        "UPDATE erasure SET receipt = (SELECT receipt FROM erasure WHERE receipt_id = 'a') WHERE receipt_id = 'b'",
    ],
)
def test_emptied_or_exchanged_receipt_is_noticed(store: Store, address: str, statement: str):
    erase(store, "a", "b", "c")
    change(address, statement)
    assert found(store) == (0, 1)


@pytest.mark.parametrize("state", [{"model": erasure.DUE}, {"model": erasure.UNTOUCHED, "store": erasure.HELD}])
def test_finished_erasure_whose_receipt_says_it_is_due_is_noticed(store: Store, state: dict[str, str]):
    receipt = {"receipt_id": "a", **state}
    store.erase("a", SECRET.subject("a"), "a", sign=SECRET.link)
    signed = json.dumps({**receipt, "signature": erasure.signature(SECRET, receipt)})
    store.sign_erasure("a", signed, finished=False)
    assert found(store) == (0, 0)
    store.sign_erasure("a", signed, finished=True)
    assert found(store) == (0, 1)


def test_erasures_from_before_the_chain_are_signed_once(store: Store, address: str):
    erase(store, "a", "b", "c")
    change(
        address,
        "UPDATE erasure SET number = NULL, link = NULL",
        "UPDATE world SET num_erasures = NULL, last_link = NULL",
    )
    assert found(store)[0] > 0
    store.seal_erasures(SECRET.link)
    assert found(store) == (0, 0)
    erase(store, "d")
    assert found(store) == (0, 0)


def test_writers_at_once_make_one_chain(store: Store, address: str):
    other = Store.open(address)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: erase((store, other)[n % 2], f"u{n}"), range(12)))
    other.close()
    assert found(store) == (0, 0)
    assert sorted(e.number for e in store.erasures() if e.number) == list(range(1, 13))


def test_verify_says_so(shop: Any, tmp_path: Any):
    store = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    erasure.erase(store, SECRET, Recommender.load(shop), "nobody")
    erasure.erase(store, SECRET, Recommender.load(shop), "no one")
    assert erasure.verify(shop, store, SECRET).is_clean
    change(f"sqlite:///{tmp_path / 'store.db'}", "DELETE FROM erasure WHERE number = 1")
    check = erasure.verify(shop, store, SECRET)
    assert not check.is_clean
    assert "1 erasures are missing or altered" in "\n".join(check.lines())
    store.close()
