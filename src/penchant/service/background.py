"""The background worker: content of users, new items, refits after erasures, beside what every process follows (`following.py`).

In: the store's events, waiting items and due erasures, the bundle's folder. Out: vectors in the store, a newer model in the service, replaced as a whole.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from safetensors.numpy import save as write_arrays

from penchant.recommender.new_items import encode_new_item, table_row
from penchant.service import erasure
from penchant.service.alarms import AlarmWorker
from penchant.service.following import ModelFollower
from penchant.service.security import Secret
from penchant.service.service import Service
from penchant.service.store import FAILED, READY, WAITING, Store, StoredItem
from penchant.service.user_content import Outcome, UserContentWorker

logger = logging.getLogger("penchant.service")
MAX_LOG_WAIT = 30.0
"""Longest time between two attempts to empty the store's log, in seconds."""


class BackgroundWorker(ModelFollower):
    """The background worker of one service.

    Args:
        service: The service whose model it replaces.
        count: Counts what became of the content of users.
        count_alarm: Counts each signal of an alarm.
        set_level: Is told the newest NDCG of the served lists and of what stands beside them.
    """

    def __init__(
        self,
        service: Service,
        count: Callable[[Outcome], None] = lambda _: None,
        *,
        count_alarm: Callable[[str], None] = lambda _: None,
        set_level: Callable[[str, float], None] = lambda _name, _level: None,
    ) -> None:
        super().__init__(service)
        config = service.config.alarms
        self.alarms = None if config is None else AlarmWorker(config, service, count_alarm, set_level)
        self._user_content = UserContentWorker(service.store, service.uploads, count)
        self._cleared: object = None
        self._refit: BaseProcess | None = None
        self._log_wait = self._next_log = 0.0

    def start(self) -> None:
        """Do what is due now, then continue in the background; failed items are tried again."""
        self._retry_failed()
        super().start()

    def close(self) -> None:
        """Stop; a running refit is stopped, and done by the next start."""
        if self.alarms is not None:
            self.alarms.close()
        super().close()
        if self._refit is not None:
            self._refit.terminate()
            self._refit.join(5)

    def step(self) -> None:
        """Do everything that is due; a large index is built beside it, and searches are exact until it is ready."""
        with self._stepping:
            self._service.snapshots.sync(self._service.store.world_version())
            self.load_new_bundle()
            self.encode_user_content()
            self.observe()
            self.encode()
            self.add_items()
            self.empty_log()
            self.remove_uploads()
            self.refit()
            self.index()
            if self._service.trial is not None:
                self._service.trial.step()
            if self.alarms is not None:
                self.alarms.step()

    def load_new_bundle(self) -> bool:
        """Load a new bundle in the place of the old one; what the old one could not add is tried again."""
        is_new = super().load_new_bundle()
        if is_new:
            self._retry_failed()
        return is_new

    def encode_user_content(self) -> None:
        """Encode what users wrote, showed, said and told of themselves."""
        self._user_content.step(self._base.own_content.limited(self._service.config.media))

    def encode(self) -> None:
        """Encode the waiting items, and record in the store what could not be read."""
        service = self._service
        for item in self._items(WAITING):
            body = json.loads(item.body)
            try:
                row = table_row(self._base.catalog, item.item_id, body["columns"])
                vectors, failures = encode_new_item(
                    self._base, self._base.encoders, row, body["media"], service.uploads.folder, service.config.media
                )
            except Exception as error:  # an error of one encoder must not stop the other items
                self._fail(item, error)
                continue
            for failure in failures:
                logger.warning("a new item is added without some content: %s", failure)
            body["failures"] = failures
            ready = StoredItem(item.item_id, READY, json.dumps(body, ensure_ascii=False), write_arrays(vectors))
            service.store.replace_item(item, ready)  # an item that changed meanwhile stays as it is now
            self.encode_user_content()  # many items take minutes
            self.observe()

    def remove_uploads(self) -> None:
        """Delete the files that no item and no user uses any more; in a later step if an upload is being stored now."""
        items = self._service.stored_items.newest()
        if items is not self._cleared or self._service.files.has_unused:
            self._service.files.remove_unused()
            self._cleared = self._cleared if self._service.files.has_unused else items

    def _retry_failed(self) -> None:
        for item in self._items(FAILED):
            self._service.store.replace_item(item, StoredItem(item.item_id, WAITING, item.body))

    def empty_log(self) -> None:
        """Empty the store's log where an erasure waits for it, at growing intervals while a reader holds it."""
        if time.monotonic() < self._next_log:
            return
        if erasure.finish_log(self._service.store, self._service.secret):
            self._log_wait = 0.0
            return
        self._log_wait = min(max(2 * self._log_wait, self._service.config.watch_seconds), MAX_LOG_WAIT)
        self._next_log = time.monotonic() + self._log_wait
        logger.warning("a reader holds the store's write-ahead log: an erasure waits for it")

    def refit(self) -> None:
        """Start a refit, in a process of its own, if erasures are due and none is running."""
        if self._refit is not None and self._refit.is_alive():
            return
        self._refit = None
        if any(erasure.needs_refit(e, self._service.secret) for e in self._service.store.erasures()):
            config = self._service.config
            arguments = (config.bundle, config.address, config.state_folder / "secret.key")
            spawn: Any = multiprocessing.get_context("spawn")
            self._refit = spawn.Process(target=finish_erasures, args=arguments, daemon=True)
            self._refit.start()


def finish_erasures(folder: Path, address: str, secret: Path) -> None:
    """Refit without the erased users: the main function of the process."""
    store = Store.open(address)
    erasure.finish(folder, store, Secret.of(store, secret))
    store.close()
