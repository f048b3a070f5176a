"""A store's items as two processes see them: this one, and another one that is told what to do.

In: the address of a store. Out: the same calls on both.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from penchant.service.store import Store, StoredItem
from penchant.service.stored_items import StoredItems


class OwnProcess:
    """A view of a store in this process."""

    def __init__(self, address: str) -> None:
        self.store = Store.open(address)
        self.view = StoredItems(self.store)

    def put(self, item: StoredItem) -> None:
        self.store.put_item(item)

    def replace(self, held: StoredItem, item: StoredItem) -> bool:
        return self.store.replace_item(held, item)

    def newest(self) -> dict[str, StoredItem]:
        return dict(self.view.newest())

    def close(self) -> None:
        self.store.close()


def answer(address: str, pipe: Connection) -> None:
    """Do what comes through a pipe, in a process of its own."""
    own = OwnProcess(address)
    while (call := pipe.recv()) is not None:
        name, *given = call
        pipe.send(getattr(own, name)(*given))
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
            return self.pipe.recv()

        return call

    def close(self) -> None:
        self.pipe.send(None)
        self.process.join(30)
