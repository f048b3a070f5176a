"""A store as two processes see it: this one, and another one that is told what to do.

In: the address of a store. Out: the same calls on both.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from penchant.core.errors import PenchantError
from penchant.recommender.lists import Edit
from penchant.service.http_errors import RefusedError
from penchant.service.security import ApiKeys, make_key
from penchant.service.store import Store, StoredItem
from penchant.service.stored_items import StoredItems


class OwnProcess:
    """A view of a store in this process."""

    def __init__(self, address: str) -> None:
        self.store = Store.open(address)
        self.view = StoredItems(self.store)
        self.keys = ApiKeys(self.store, is_open=True)

    def put(self, item: StoredItem) -> None:
        self.store.put_item(item)

    def replace(self, held: StoredItem, item: StoredItem) -> bool:
        return self.store.replace_item(held, item)

    def newest(self) -> dict[str, StoredItem]:
        return dict(self.view.newest())

    def call(self, name: str, *given: Any) -> Any:
        """Call a method of the store."""
        return getattr(self.store, name)(*given)

    def edit(self, user_id: str, kept: Sequence[Edit], dropped: Sequence[Edit], expected: int | None) -> int:
        return self.store.edit(user_id, kept, dropped, expected=expected)

    def make_key(self, scope: str) -> str:
        return make_key(self.store, scope, [scope])

    def passes(self, authorization: str | None, scope: str) -> bool:
        """Return whether a request passes now."""
        self.keys.refresh(self.store.world_version())
        try:
            self.keys.check(authorization, scope)
        except RefusedError:
            return False
        return True

    def close(self) -> None:
        self.store.close()


def answer(address: str, pipe: Connection) -> None:
    """Do what comes through a pipe, in a process of its own."""
    own = OwnProcess(address)
    while (call := pipe.recv()) is not None:
        name, *given = call
        try:
            pipe.send((True, getattr(own, name)(*given)))
        except PenchantError as error:
            pipe.send((False, error))
    own.close()


class OtherProcess:
    """The same view in another process."""

    def __init__(self, address: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=answer, args=(address, theirs), daemon=True)
        self.process.start()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*given: object) -> object:
            self.pipe.send((name, *given))
            assert self.pipe.poll(60), "the other process does not answer"
            is_answer, found = self.pipe.recv()
            if is_answer:
                return found
            raise found

        return call

    def close(self) -> None:
        self.pipe.send(None)
        self.process.join(30)
