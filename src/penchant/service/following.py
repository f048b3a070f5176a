"""What every process of a service follows: the store's items, erasures and events, and the bundle in its place.

In: versions of the store, the bundle's folder. Out: a newer model in the service, replaced as a whole.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace

from penchant.core.artifacts import MANIFEST
from penchant.core.errors import ArtifactError, PenchantError
from penchant.core.schema import Histories
from penchant.models.event_log import EventLog
from penchant.recommender.recommender import Recommender
from penchant.service.moment_log import MomentLog
from penchant.service.service import Service
from penchant.service.store import FAILED, READY, StoredItem
from penchant.service.stored_items import new_items

logger = logging.getLogger("penchant.service")


class ModelFollower:
    """Keeps the model of one process as new as the store and the bundle's folder.

    Args:
        service: The service whose model it replaces.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._base = self._model = service.snapshot.recommender
        self._moment = MomentLog(service.store, service.secret)
        self._log: EventLog | None = None
        self._is_following = False
        self._stepping = threading.Lock()
        self._added: tuple[tuple[str, int], ...] = ()
        self._seen = self._stamp()
        self._damaged: tuple[tuple[str, int, int, int], ...] | None = None
        self._indexing: threading.Thread | None = None
        self._refused: tuple[tuple[str, int], ...] | None = None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run_steps, name="background-worker", daemon=True)

    def start(self) -> None:
        """Do what is due now, then continue in the background.

        The events in the store are read in the background: with many of them that takes minutes.
        """
        self.step()
        self._is_following = True
        self._wake.set()
        self._thread.start()

    def wake(self) -> None:
        """Check at once for due work."""
        self._wake.set()

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def step(self) -> None:
        """Follow what changed; a large index is built beside it, and searches are exact until it is ready."""
        with self._stepping:
            self._service.snapshots.sync(self._service.store.world_version())
            self.load_new_bundle()
            self.observe()
            self.add_items()
            self.index()

    def load_new_bundle(self) -> bool:
        """Load a new bundle in the place of the old one and return whether there was one; one of another catalog is refused and the old one stays."""
        stamp = self._stamp()
        if stamp == self._seen or stamp is None:
            return False
        files = self._files()
        if files == self._damaged:
            return False
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
            return False
        self._serve(found)
        logger.info("bundle %s replaces %s", found.mark, self._base.mark)
        self._seen, self._base, self._added, self._refused = stamp, found, (), None
        return True

    def observe(self) -> None:
        """Let what is served know what all users did until now."""
        log = self._newest_log(self._model)
        if log is not None and log is not self._log:
            self._service.snapshots.observe(_observed(self._model, log))
            self._log = log

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

    def _serve(self, model: Recommender) -> None:
        """Answer from another model, which knows what all users did until now."""
        log = self._newest_log(model)
        self._service.snapshots.serve(model if log is None else _observed(model, log))
        self._model, self._log = model, log

    def _newest_log(self, model: Recommender) -> EventLog | None:
        """Return what all users did until now; None where no member reads it."""
        return self._moment.newest(model) if self._is_following and model.reads_log else None

    def _fail(self, item: StoredItem, error: Exception) -> None:
        """Mark an item that cannot be added, with the reason; one that changed meanwhile stays as it is now."""
        logger.error("the item %s cannot be added", item.item_id, exc_info=error)
        reason = f"{type(error).__name__}: see the log of the service."
        if isinstance(error, PenchantError):
            reason = f"{error.message} Fix: {error.fix}"
        body = json.dumps({**json.loads(item.body), "reason": reason}, ensure_ascii=False)
        self._service.store.replace_item(item, StoredItem(item.item_id, FAILED, body))

    def _items(self, status: str) -> list[StoredItem]:
        """Return the store's items of one status, in the order of their last change."""
        return [item for item in self._service.stored_items.newest().values() if item.status == status]

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

    def _run_steps(self) -> None:
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
