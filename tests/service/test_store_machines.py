"""People and API keys in two processes: what one process did, the other sees, and nothing of an erased user comes back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from penchant.core.errors import DataError
from penchant.recommender.lists import Edit
from penchant.service.http_errors import RefusedError
from penchant.service.security import ApiKeys, make_key
from penchant.service.store import ConflictError, Event, RequestKey
from store_processes import OtherProcess, OwnProcess

EXAMPLES = itertools.count()
FEW = settings(max_examples=4, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def processes(address: str) -> Iterator[list[Any]]:
    both = [OwnProcess(address), OtherProcess(address)]
    yield both
    for process in both:
        process.close()


class PeopleChange(RuleBasedStateMachine):
    """Users act, edit, are erased and return, in two processes.

    The model: events of a user by key in the order they came, edits by name and value, request keys, and every version a user ever had.
    """

    processes: list[Any]
    users = st.sampled_from(["a", "b"])
    at = st.integers(0, 1)
    numbers = st.integers(0, 3)

    def __init__(self) -> None:
        super().__init__()
        self.start = f"{next(EXAMPLES)}-"  # the store keeps the users of earlier examples
        self.clock = itertools.count()
        self.events: dict[str, dict[str | None, int]] = {}
        self.unkeyed: dict[str, int] = {}
        self.edits: dict[str, dict[tuple[str, str], str]] = {}
        self.requests: dict[str, tuple[str, str]] = {}
        self.versions: dict[str, int | None] = {}
        self.erased = 0
        self.seen = set[int]()

    def _user(self, user: str) -> str:
        return self.start + user

    @rule(user=users, at=at, number=numbers, twice=st.booleans())
    def act(self, user: str, at: int, number: int, twice: bool) -> None:
        who, key = self._user(user), f"k{number}"
        event = Event(who, f"i{number}", "click", next(self.clock), None, key)
        held = self.events.setdefault(who, {})
        (new,) = self.processes[at].call("append", [[event] * (1 + twice)])
        assert new == (key not in held), "one event for each key, however often it is sent"
        held.setdefault(key, event.at)

    @rule(user=users, at=at)
    def act_without_key(self, user: str, at: int) -> None:
        who = self._user(user)
        assert self.processes[at].call("append", [[Event(who, "i", "view", next(self.clock))]]) == [1]
        self.unkeyed[who] = self.unkeyed.get(who, 0) + 1

    @rule(user=users, at=at, number=numbers, digest=st.sampled_from(["one", "other"]))
    def act_under_request_key(self, user: str, at: int, number: int, digest: str) -> None:
        who, key = self._user(user), f"{self.start}r{number}"
        event = Event(who, "i", "view", next(self.clock))
        (found,) = self.processes[at].call("append", [[event]], [RequestKey(key, {who: digest})])
        if key not in self.requests:
            assert found == 1
            self.requests[key] = (who, digest)
            self.unkeyed[who] = self.unkeyed.get(who, 0) + 1
        elif self.requests[key] == (who, digest):
            assert found == 0
        else:
            assert isinstance(found, DataError)

    @rule(user=users, at=at, number=numbers, action=st.sampled_from(["more", "never", "reset"]), is_stale=st.booleans())
    def edit(self, user: str, at: int, number: int, action: str, is_stale: bool) -> None:
        who, change = self._user(user), Edit("item", f"i{number}", action, 1.0)
        kept, dropped = ([], [change]) if action == "reset" else ([change], [])
        known = self.processes[1 - at].call("versions", [who])[0][0]
        expected = (known or 0) + 1 if is_stale else known
        if is_stale:
            with pytest.raises(ConflictError):
                self.processes[at].edit(who, kept, dropped, expected)
            return
        self.processes[at].edit(who, kept, dropped, expected)
        own = self.edits.setdefault(who, {})
        own.pop(("item", f"i{number}"), None)
        if kept:
            own["item", f"i{number}"] = action

    @rule(user=users, at=at)
    def erase(self, user: str, at: int) -> None:
        who = self._user(user)
        counts = self.processes[at].call("erase", who, f"subject {who}", f"{self.start}{self.erased}")
        assert counts["event"] == len(self.events.get(who, ())) + self.unkeyed.get(who, 0)
        assert counts["edit"] == len(self.edits.get(who, ()))
        for held in (self.events, self.unkeyed, self.edits):
            held.pop(who, None)
        self.requests = {key: owner for key, owner in self.requests.items() if owner[0] != who}
        self.erased += 1

    @invariant()
    def every_process_sees_the_model(self) -> None:
        for process in self.processes:
            for who in map(self._user, "ab"):
                events = process.call("events", who)
                assert {e.key: e.at for e in events if e.key} == self.events.get(who, {})
                assert sum(e.key is None for e in events) == self.unkeyed.get(who, 0)
                assert [e.at for e in events] == sorted(e.at for e in events)
                edits = {(e.name, e.value): e.action for e in process.call("edits", who)}
                assert edits == self.edits.get(who, {})
            erasures = [e for e in process.call("erasures") if e.receipt_id.startswith(self.start)]
            assert len(erasures) == self.erased
        first, second = (process.call("versions", [self._user("a"), self._user("b")])[0] for process in self.processes)
        assert first == second

    @invariant()
    def version_changes_with_every_change_and_never_returns(self) -> None:
        for who in map(self._user, "ab"):
            version = self.processes[0].call("versions", [who])[0][0]
            if version != self.versions.get(who):
                assert version is None or version not in self.seen, "a cache may hold it"
                self.versions[who] = version
                self.seen |= {version} - {None}


class KeysChange(RuleBasedStateMachine):
    """Keys are made and removed in two processes, each of which lets requests pass as of the store's newest version.

    The model: the keys there are; and whether there ever was one, after which nothing passes without.
    """

    processes: list[Any]
    at = st.integers(0, 1)

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, str] = {}
        self.removed = set[str]()
        self.had_some = bool(self.processes[0].call("has_had_keys"))
        for key in self.processes[0].call("api_keys"):
            self.processes[0].call("drop_key", key.key_id)

    @rule(at=at, scope=st.sampled_from(["read", "write", "admin"]))
    def make(self, at: int, scope: str) -> None:
        self.keys[self.processes[at].make_key(scope)] = scope
        self.had_some = True

    @precondition(lambda self: self.keys)
    @rule(at=at, data=st.data())
    def remove(self, at: int, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.keys)))
        assert self.processes[at].call("drop_key", key.split("_")[1])
        self.removed.add(key)
        del self.keys[key]

    @invariant()
    def every_process_lets_pass_what_the_model_does(self) -> None:
        for process in self.processes:
            assert process.passes(None, "read") == (not self.had_some)
            for key, scope in self.keys.items():
                for wanted in ("read", "write", "personal"):
                    assert process.passes(f"Bearer {key}", wanted) == (scope in (wanted, "admin"))
            for key in self.removed:
                assert not process.passes(f"Bearer {key}", "read")
            for key in [*self.keys][:1]:
                assert not process.passes(f"Bearer {key[:-1]}{'a' if key[-1] != 'a' else 'b'}", "read")


@pytest.mark.parametrize("machine", [PeopleChange, KeysChange])
def test_two_processes_follow_the_model(processes: list[Any], machine: type[RuleBasedStateMachine]):
    bound = type("Machine", (machine,), {"processes": processes})
    run_state_machine_as_test(bound, settings=FEW)


def test_nothing_passes_without_a_key_once_there_was_one_in_either_process(processes: list[Any]):
    own, other = processes
    assert own.passes(None, "read")
    assert other.passes(None, "read")
    key = other.make_key("read")
    assert not own.passes(None, "read")
    own.call("drop_key", key.split("_")[1])
    assert not other.passes(None, "read")
    with pytest.raises(RefusedError):
        ApiKeys(own.store, is_open=False).check(make_key(own.store, "x", ["read"]), "read")
