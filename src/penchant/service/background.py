"""The background worker: content of users, events of the moment, new items, new bundles, refits after erasures.

In: the store's events, waiting items and due erasures, the bundle's folder. Out: a newer model in the service, replaced as a whole.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from safetensors.numpy import save as write_arrays

from penchant.core.artifacts import MANIFEST
from penchant.core.errors import ArtifactError, PenchantError
from penchant.core.schema import Histories
from penchant.models.event_log import EventLog
from penchant.recommender.new_items import encode_new_item, table_row
from penchant.recommender.recommender import Recommender
from penchant.service import erasure
from penchant.service.alarms import AlarmWorker
from penchant.service.moment_log import MomentLog
from penchant.service.security import Secret
from penchant.service.service import Service
from penchant.service.store import FAILED, READY, WAITING, Store, StoredItem
from penchant.service.stored_items import new_items
from penchant.service.user_content import Outcome, UserContentWorker

logger = logging.getLogger("penchant.service")
MAX_LOG_WAIT = 30.0
"""Longest time between two attempts to empty the store's log, in seconds."""


class BackgroundWorker:
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
        self._service = service
        config = service.config.alarms
        self.alarms = None if config is None else AlarmWorker(config, service, count_alarm, set_level)
        self._user_content = UserContentWorker(service.store, service.uploads, count)
        self._base = self._model = service.snapshot.recommender
        self._moment = MomentLog(service.store, service.secret)
        self._log: EventLog | None = None
        self._is_following = False
        self._stepping = threading.Lock()
        self._added: tuple[tuple[str, int], ...] = ()
        self._cleared: object = None
        self._seen = self._stamp()
        self._damaged: tuple[tuple[str, int, int, int], ...] | None = None
        self._refit: BaseProcess | None = None
        self._indexing: threading.Thread | None = None
        self._refused: tuple[tuple[str, int], ...] | None = None
        self._log_wait = self._next_log = 0.0
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="background-worker", daemon=True)

    def start(self) -> None:
        """Do what is due now, then continue in the background; failed items are tried again.

        The events in the store are read in the background: with many of them that takes minutes.
        """
        self._retry_failed()
        self.step()
        self._is_following = True
        self._wake.set()
        self._thread.start()

    def wake(self) -> None:
        """Check at once for due work."""
        self._wake.set()

    def close(self) -> None:
        """Stop; a running refit is stopped, and done by the next start."""
        if self.alarms is not None:
            self.alarms.close()
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(5)
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

    def encode_user_content(self) -> None:
        """Encode what users wrote, showed, said and told of themselves."""
        self._user_content.step(self._base.own_content.limited(self._service.config.media))

    def observe(self) -> None:
        """Let what is served know what all users did until now."""
        log = self._newest_log(self._model)
        if log is not None and log is not self._log:
            self._service.snapshots.observe(_observed(self._model, log))
            self._log = log

    def _serve(self, model: Recommender) -> None:
        """Answer from another model, which knows what all users did until now."""
        log = self._newest_log(model)
        self._service.snapshots.serve(model if log is None else _observed(model, log))
        self._model, self._log = model, log

    def _newest_log(self, model: Recommender) -> EventLog | None:
        """Return what all users did until now; None where no member reads it."""
        return self._moment.newest(model) if self._is_following and model.reads_log else None

    def index(self) -> None:
        """Start building the search index in a thread of its own, if one is due and none is running."""
        recommender = self._service.snapshot.recommender
        if recommender.is_index_due and (self._indexing is None or not self._indexing.is_alive()):
            self._indexing = threading.Thread(target=self._build, args=(recommender,), name="index", daemon=True)
            self._indexing.start()

    def _build(self, recommender: Recommender) -> None:
        try:
            recommender.build_indexes()
        except Exception as error:  # searches and lists continue, exactly
            logger.error("the index could not be built", exc_info=error)

    def load_new_bundle(self) -> None:
        """Load a new bundle in the place of the old one; one of another catalog is refused and the old one stays."""
        stamp = self._stamp()
        if stamp == self._seen or stamp is None:
            return
        files = self._files()
        if files == self._damaged:
            return
        encoders = self._base.encoders  # loaded once, for every version of the model
        try:
            found = replace(Recommender.load(self._service.config.bundle), encoders=encoders).warmed_up()
        except Exception:
            self._damaged = files  # reported once; read again when one of its files changes
            raise
        try:
            self._service.served_catalog.accept(found)
        except ArtifactError as error:
            self._seen = stamp
            logger.error("the new bundle is refused: %s", error.message)
            return
        self._serve(found)
        logger.info("bundle %s replaces %s", found.mark, self._base.mark)
        self._seen, self._base, self._added, self._refused = stamp, found, (), None
        self._retry_failed()

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

    def add_items(self) -> None:
        """Add the items that are ready and not in the model."""
        ready = self._items(READY)
        wanted = tuple((i.item_id, i.version) for i in ready)
        if wanted in (self._added, self._refused):
            return
        found = new_items(self._service.store, ready, self._base.catalog, self._fail)
        try:
            grown = self._base.add_items(found).warmed_up()
        except PenchantError:
            self._refused = wanted  # logged once; tried again when an item or the bundle changes
            raise
        self._serve(grown)
        self._added = wanted

    def remove_uploads(self) -> None:
        """Delete the files that no item and no user uses any more; in a later step if an upload is being stored now."""
        items = self._service.stored_items.newest()
        if items is not self._cleared or self._service.files.has_unused:
            self._service.files.remove_unused()
            self._cleared = self._cleared if self._service.files.has_unused else items

    def _fail(self, item: StoredItem, error: Exception) -> None:
        """Mark an item that cannot be added, with the reason; one that changed meanwhile stays as it is now."""
        logger.error("the item %s cannot be added", item.item_id, exc_info=error)
        reason = f"{type(error).__name__}: see the log of the service."
        if isinstance(error, PenchantError):
            reason = f"{error.message} Fix: {error.fix}"
        body = json.dumps({**json.loads(item.body), "reason": reason}, ensure_ascii=False)
        self._service.store.replace_item(item, StoredItem(item.item_id, FAILED, body))

    def _retry_failed(self) -> None:
        for item in self._items(FAILED):
            self._service.store.replace_item(item, StoredItem(item.item_id, WAITING, item.body))

    def _items(self, status: str) -> list[StoredItem]:
        """Return the store's items of one status, in the order of their last change."""
        return [item for item in self._service.stored_items.newest().values() if item.status == status]

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

    def _stamp(self) -> tuple[int, int] | None:
        """Return what changes when the bundle is replaced; None between the removal of the old and the new."""
        try:
            found = (self._service.config.bundle / MANIFEST).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _files(self) -> tuple[tuple[str, int, int, int], ...]:
        """Return name, time, size and number of every file of the bundle: what changes when one of them is replaced."""
        folder = self._service.config.bundle
        found = [(path.relative_to(folder).as_posix(), path.stat()) for path in sorted(folder.rglob("*"))]
        return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in found)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self._service.config.watch_seconds)
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                self.step()
            except PenchantError as error:
                logger.error("%s where: %s fix: %s", error.message, error.where, error.fix)
            except Exception as error:  # the database may be away for a while: try again in a second
                logger.error("background worker: %s", type(error).__name__, exc_info=error)


def _observed(model: Recommender, log: EventLog) -> Recommender:
    """Return the model with these events, all that it counts of them counted, so that no request waits for it."""
    observed = model.observed(log)
    observed.score(Histories.empty(len(observed.catalog)))
    return observed


def finish_erasures(folder: Path, address: str, secret: Path) -> None:
    """Refit without the erased users: the main function of the process."""
    store = Store.open(address)
    erasure.finish(folder, store, Secret.of(store, secret))
    store.close()
