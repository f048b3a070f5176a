"""What every store promises, on SQLite and on a PostgreSQL that really runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from penchant.core.errors import ConfigError
from penchant.service.store import ConflictError, Edit, Event, EventName, Store, StoredItem
from penchant.service.store_tables import metadata


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    store = Store.open(address)
    yield store
    store.close()


def event(user: str, item: str, at: int = 0, key: str | None = None) -> Event:
    return Event(user, item, "click", at, None, key)


def test_migrations_make_what_the_code_expects(store: Store, address: str):
    engine = create_engine(address.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_opening_twice_keeps_what_is_there(store: Store, address: str):
    store.append([[event("a", "i")]])
    again = Store.open(address)
    assert len(again.events("a")) == 1
    again.close()


def test_events_come_back_in_time(store: Store):
    store.append([[event("a", "late", 2), event("a", "early", 1), event("b", "other", 0)], [event("a", "mid", 1)]])
    assert [e.item_id for e in store.events("a")] == ["early", "mid", "late"]
    assert [e.item_id for e in store.events("a", limit=1)] == ["late"]


def test_same_key_of_one_person_is_stored_once(store: Store):
    assert store.append([[event("a", "i", key="k"), event("a", "j", key="k"), event("b", "i", key="k")], []]) == [2, 0]
    assert store.append([[event("a", "i", key="k")], [event("a", "i"), event("a", "i")]]) == [0, 2]


def test_version_changes_with_every_change_and_with_no_other_persons(store: Store):
    seen = [store.versions(["a"])]
    assert store.versions(["a"])[0] == [None]
    for change in (
        lambda: store.append([[event("a", "i")]]),
        lambda: store.edit("a", [Edit("item", "i", "never")]),
        lambda: store.erase("a", "hash", "receipt"),
    ):
        change()
        assert store.versions(["a"]) not in seen
        seen.append(store.versions(["a"]))
    held = store.versions(["b"])[0]
    store.append([[event("a", "i")]])
    assert store.versions(["b"])[0] == held


def test_versions_of_many_are_those_of_each(store: Store):
    store.append([[event("a", "i"), event("c", "i")]])
    store.append([[event("c", "j")]])
    names = ["c", "nobody", "a", "c"]
    together, world = store.versions(names)
    assert together == [store.versions([name])[0][0] for name in names]
    assert together[1] is None
    assert world == store.world_version()
    assert store.versions([]) == ([], world)


def test_other_process_sees_changes(store: Store, address: str):
    other = Store.open(address)
    assert other.versions(["a"])[0] == [None]
    store.append([[event("a", "i")]])
    assert other.versions(["a"]) == store.versions(["a"])
    assert len(other.events("a")) == 1
    other.close()


def test_writers_at_once_lose_nothing(store: Store):
    def write(writer: int) -> int:
        batches = [[event(f"u{(n + writer) % 7}", f"{writer}-{n}", n) for n in range(20)] for _ in range(5)]
        return sum(sum(store.append([batch])) for batch in batches)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(write, range(6))) == [100] * 6
    assert sum(len(store.events(f"u{n}")) for n in range(7)) == 600


def test_edits_replace_earlier_ones_and_conflicts_are_told(store: Store):
    version = store.edit("a", [Edit("item", "i", "more"), Edit("genres", "x", "less", 2.0)])
    version = store.edit("a", [Edit("item", "i", "never")], [Edit("genres", "x", "reset")], expected=version)
    assert store.edits("a") == [Edit("item", "i", "never")]
    store.append([[event("a", "i")]])
    with pytest.raises(ConflictError, match="changed since you read it"):
        store.edit("a", [], expected=version)


def test_of_several_edits_of_one_value_the_last_is_stored(store: Store):
    store.edit("a", [Edit("item", "i", "never"), Edit("item", "j", "more"), Edit("item", "i", "less", 2.0)])
    assert sorted(store.edits("a"), key=lambda e: e.value) == [
        Edit("item", "i", "less", 2.0),
        Edit("item", "j", "more"),
    ]


def test_first_edit_may_expect_that_nothing_is_stored(store: Store):
    edits = [Edit("item", "i", "never")]
    version = store.edit("a", edits, expected=0)
    assert store.versions(["a"])[0] == [version]
    with pytest.raises(ConflictError, match="was changed since you read it"):
        store.edit("a", [], expected=0)
    assert store.edits("a") == edits


def test_of_two_first_edits_at_once_one_is_told_of_the_other(store: Store):
    def edit(number: int) -> bool:
        try:
            store.edit("a", [Edit("item", f"i{number}", "never")], expected=0)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(edit, range(8))) == 1
    assert len(store.edits("a")) == 1


def test_erasure_leaves_nothing_but_a_hash(store: Store):
    store.append([[event("a", "i"), event("b", "i")]])
    store.edit("a", [Edit("item", "i", "more")])
    assert store.erase("a", "hash", "r1") == {
        "person": 1,
        "event": 1,
        "edit": 1,
        "request": 0,
        "user_content": 0,
        "conversation": 0,
        "served_list": 0,
        "exposure": 0,
        "dead_letter": 0,
    }
    assert store.events("a") == []
    assert store.edits("a") == []
    assert store.user_ids() == ["b"]
    (erasure,) = store.erasures()
    assert (erasure.subject, erasure.finished_at) == ("hash", None)
    store.sign_erasure("r1", "{}", finished=True)
    assert store.erasures()[0].finished_at is not None


def test_erased_bytes_are_gone_from_sqlite_files(tmp_path: Path):
    store = Store.open(f"sqlite:///{tmp_path / 's.db'}")
    store.append([[event("a-person-to-forget", "i")]])
    store.erase("a-person-to-forget", "hash", "r")
    assert all(b"a-person-to-forget" not in file.read_bytes() for file in tmp_path.iterdir())
    store.close()


def test_items_replace_earlier_ones(store: Store):
    before = store.world_version()
    store.put_item(StoredItem("x", "waiting", "{}"))
    store.put_item(StoredItem("x", "ready", "{}", b"\x00\xff"))
    assert store.items() == [StoredItem("x", "ready", "{}", b"\x00\xff")]
    assert store.world_version() != before


def test_secret_of_another_service_is_noticed(store: Store):
    assert store.check_secret("mine")
    assert store.check_secret("mine")
    assert not store.check_secret("other")


def test_unicode_ids_are_kept(store: Store):
    store.append([[event("用户 é", "i", key="ключ")]])
    assert store.events("用户 é")[0].key == "ключ"


def test_bad_addresses_are_told(tmp_path: Path):
    with pytest.raises(ConfigError, match="no store of kind 'mysql'"):
        Store.open("mysql://x/y")
    with pytest.raises(ConfigError, match="cannot be opened") as caught:
        Store.open(f"postgresql://me:hidden@/x?host={tmp_path}")
    assert "hidden" not in str(caught.value)


WRITER = """
import sys
from penchant.service.store import Event, Store
store = Store.open(sys.argv[1])
for n in range(100000):
    store.append([[Event("u", f"{n}-{m}", "click", n, None, f"{n}-{m}") for m in range(10)]])
    print(n, flush=True)
"""


def test_killed_writer_loses_no_acknowledged_event(address: str):
    Store.open(address).close()
    process = subprocess.Popen([sys.executable, "-c", WRITER, address], stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(30)]
    process.send_signal(signal.SIGKILL)
    said += [int(line) for line in process.stdout if line.endswith(b"\n")]
    process.wait()
    process.stdout.close()
    store = Store.open(address)
    items = [e.item_id for e in store.events("u")]
    assert len(items) == len(set(items))
    assert {f"{n}-{m}" for n in said for m in range(10)} <= set(items)
    assert len(items) % 10 == 0, "a batch is whole or not there"
    store.close()


def test_a_deleted_event_is_gone_and_stays_a_duplicate(store: Store, tmp_path: Path, address: str):
    store.append([[event("a", "secret item", 1, "k1"), event("a", "j", 2, "k2"), event("b", "secret item", 1, "k1")]])
    before, last = store.versions(["a", "b"])[0], store.last_event()
    assert store.delete_events("a", EventName("k1")) == (1, False)
    after = store.versions(["a", "b"])[0]
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert [e.item_id for e in store.events("a")] == ["j"]
    assert [e.item_id for e in store.events_of(["a", "b"])["a"]] == ["j"]
    assert [e.item_id for e in store.events("b")] == ["secret item"]
    assert store.users_with_events(last)[0] == {"a"}, "other processes notice it"
    assert store.append([[event("a", "secret item", 1, "k1")]]) == [0], "sent again, it is a duplicate"
    ((key, at),) = store.deleted_events("a")
    assert (key, at > 0) == ("k1", True)
    assert store.erase("a", "hash", "receipt")["event"] == 2
    assert store.deleted_events("a") == []
    if address.startswith("sqlite"):
        store.erase("b", "hash of b", "receipt of b")
        raw = b"".join(file.read_bytes() for file in tmp_path.rglob("*.db*"))
        assert b"secret item" not in raw


def test_events_are_named_by_item_and_time_too(store: Store):
    store.append([[event("a", "i", 1), event("a", "i", 1), event("a", "i", 2), event("a", "j", 1)]])
    assert store.delete_events("a", EventName(None, "i", 1, "like")) == (0, False)
    assert store.delete_events("a", EventName(None, "i", 1, "click")) == (2, False)
    assert [(e.item_id, e.at) for e in store.events("a")] == [("j", 1), ("i", 2)]
    assert store.delete_events("nobody", EventName("k")) == (0, False)
    assert store.versions(["nobody"])[0] == [None], "nothing is stored of somebody of whom nothing was deleted"


def test_the_last_event_may_be_deleted_and_the_next_one_is_noticed(store: Store):
    store.append([[event("a", "i", 1, "k")]])
    seen = store.last_event()
    store.delete_events("a", EventName("k"))
    users, seen = store.users_with_events(seen)
    assert users == {"a"}
    store.append([[event("b", "i", 1)]])
    assert store.users_with_events(seen)[0] == {"b"}
