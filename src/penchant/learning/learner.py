"""The learner: one step makes or judges a version; a loop of steps is the process beside the service.

In: the bundle that is served, and the store its service writes to. Out: versions, and the better one in the bundle's place.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from penchant.core.errors import PenchantError
from penchant.core.schema import Histories
from penchant.learning.changes import changed_users
from penchant.learning.followed import FollowedEvents
from penchant.learning.judging import Judgement, count_requests, judge, looks_done, not_yet
from penchant.learning.settings import LearningConfig
from penchant.learning.updating import HOUR, Updater
from penchant.learning.weighing import reweighed
from penchant.recommender.recommender import Recommender
from penchant.recommender.versions import VersionRecord, VersionStore, data_range
from penchant.service import erasure
from penchant.service.security import Secret
from penchant.service.served_versions import ServedVersions
from penchant.service.store import READY, Store, now
from penchant.service.stored_items import StoredItems, new_items
from penchant.service.stream_log import LEARNER, StreamLog

WEIGHTS = "weights"
"""The ensemble weights among the members of `VersionRecord.learned_at`."""
logger = logging.getLogger("penchant.learning")


@dataclass(frozen=True)
class Step:
    """What one step did.

    Attributes:
        served: The version that is served after it.
        made: A version that it made; None where there was nothing new, or one is waiting.
        judged: The version that it compared, and the comparison; None where none was waiting.
        new_events: Events that the served version has not learned from.
        unknown_items: Events in the store of items that the bundle does not have.
        unreadable: Users whose events raised an error.
    """

    served: VersionRecord
    made: VersionRecord | None = None
    judged: tuple[VersionRecord, Judgement] | None = None
    new_events: int = 0
    unknown_items: int = 0
    unreadable: int = 0


class Learner:
    """Makes, judges and promotes the versions of one bundle; one process at a time (`VersionStore.learning`).

    Args:
        versions: Of the bundle.
        store: Of its service.
        secret: Of its service.
        config: Settings.
    """

    def __init__(
        self, versions: VersionStore, store: Store, secret: Secret, config: LearningConfig | None = None
    ) -> None:
        self.config = config or LearningConfig()
        self.versions, self._store, self._secret = versions, store, secret
        self._items = StoredItems(store)
        self._served = ServedVersions(versions, store, secret)
        self._streams = StreamLog(store, secret.subject)
        self._updater = Updater(self.config.updating)
        self._followed = FollowedEvents(store, secret, self.config.max_skew_seconds)
        self._loaded: dict[int, Recommender] = {}
        self._looks: dict[int, int] = {}

    def step(self) -> Step:
        """Judge the version that waits, or make one of the events that came since the served one.

        Raises:
            PenchantError: The bundle cannot be read, a version cannot be written, the store is away. Nothing is half done then.
        """
        self._forget_erased()
        last = self._store.last_event()
        waiting = self.versions.waiting()
        if self.config.promote == "at_once" and waiting is not None:  # a learner was killed before it promoted it
            self.promote(waiting.number)
        served, bundle, events = self._now()
        judged = self._judge(served, bundle, events)
        if judged is not None and judged[1].verdict == "promoted":
            served, bundle, events = self._now()
        fresh = new_events(bundle, events)
        made, waiting, forget = None, self.versions.waiting(), self._to_forget(bundle)
        if waiting is not None and forget:  # its networks continued from those that knew the user
            self.versions.decide(waiting.number, "rejected", at=now())
            waiting = None
        if waiting is None and (fresh >= self.config.min_events or forget):
            made = self._make(served, bundle, events, fresh, forget)
            if self.config.promote == "at_once" or made.reason == "erasure":
                served = self.promote(made.number)
        self.versions.prune()
        self._streams.beat(LEARNER, {"last_event": last})
        self._loaded = {n: one for n, one in self._loaded.items() if n == served.number}
        return Step(served, made, judged, fresh, self._followed.unknown_items, len(self._followed.unreadable))

    def close(self) -> None:
        """Close the store's connections."""
        self._store.close()

    def promote(self, number: int) -> VersionRecord:
        """Serve a version.

        Raises:
            NotFoundError: There is no such version, or its files are gone.
            ArtifactError: It holds an erased user, or is of another catalog.
        """
        return self._served.promote(number)

    def rollback(self) -> VersionRecord:
        """Serve the parent of the served version again; errors as those of `promote`."""
        return self._served.rollback()

    def compare(self, first: int, second: int) -> Judgement:
        """Compare two versions on the events that came after both, whatever their number.

        Raises:
            NotFoundError: There is no such version, or its files are gone.
        """
        records = [self.versions.record(number) for number in (first, second)]
        one, other = (self._with_items(self._load(record.number)) for record in records)
        events = self._followed.newest(one, known_until=max(r.data.last_at for r in records))
        every = self.config.judging.model_copy(update={"first_look": 1, "looks": 1})
        return judge(other, one, events, one.catalog.item_ids, _after(*records), now(), every)

    def _now(self) -> tuple[VersionRecord, Recommender, Histories]:
        """Return the served version, its recommender with the store's items and without erased users, and the events of all users."""
        served = self.versions.adopt(made_at=now())
        if served.number not in self._loaded:
            bundle = Recommender.load(self.versions.bundle)
            if bundle.mark != served.mark:  # replaced in between
                served = self.versions.adopt(made_at=now())
                bundle = self.versions.load(served.number)
            self._loaded[served.number] = bundle
        bundle = self._loaded[served.number]
        gone = erasure.erased_users(bundle, self._store, self._secret)
        bundle = self._with_items(bundle.without(gone) if gone else bundle)
        return served, bundle, self._followed.newest(bundle, known_until=served.data.last_at)

    def _judge(
        self, served: VersionRecord, bundle: Recommender, events: Histories
    ) -> tuple[VersionRecord, Judgement] | None:
        waiting = self.versions.waiting()
        if waiting is None or self.config.promote == "at_once":
            return None
        looked = self._looks.get(waiting.number, int(waiting.report.get("look", 0)))
        judging, since, until = self.config.judging, _after(served, waiting), now()
        count = count_requests(events, since, until)
        if looks_done(count, judging) <= looked:  # before its files are read
            return waiting, not_yet(judging, count, since, until, looked)
        version = self._with_items(self._load(waiting.number))
        found = judge(version, bundle, events, bundle.catalog.item_ids, since, until, judging, looked=looked)
        if found.difference is None:
            return waiting, found
        self._looks[waiting.number] = found.look
        self.versions.report(waiting.number, found.as_dict())
        logger.info("version %d: %s after %d requests", waiting.number, found.verdict, found.requests)
        if found.verdict == "promoted" and self.config.promote == "not_worse":
            self.promote(waiting.number)
        elif found.verdict == "rejected":
            self.versions.decide(waiting.number, "rejected", at=now())
        return waiting, found

    def _to_forget(self, bundle: Recommender) -> set[str]:
        """Return the networks that may have learned from an erased user."""
        due = erasure.networks_due(self._store, self._secret)
        return {name for name, member in bundle.ensemble.members.items() if member.is_costly and name in due}

    def _make(
        self, served: VersionRecord, bundle: Recommender, events: Histories, fresh: int, anew: set[str]
    ) -> VersionRecord:
        """Write a version that learned from all events until now; the members `anew` begin from nothing."""
        began = perf_counter()
        members = bundle.ensemble.members
        learned_at = {
            name: served.learned_at.get(name, served.made_at) for name in members if _is_learned(served, name)
        }
        learned_at |= {name: served.made_at for name, m in members.items() if m.is_costly and name not in learned_at}
        found = self._updater.update(bundle, events, at=now(), seconds=served.spent, learned_at=learned_at, anew=anew)
        histories, fitted = _on_one_content(bundle.histories, events)
        ensemble, spent, learned_at = found.recommender.ensemble, dict(found.seconds), dict(found.learned_at)
        weighed_at = served.learned_at.get(WEIGHTS, 0)
        if now() - weighed_at >= self.config.updating.all_hours * HOUR:
            weights = reweighed(bundle.ensemble, events, _after(served), now(), self.config.weighing)
            ensemble, learned_at[WEIGHTS] = replace(ensemble, weights=weights), now()
        version = replace(found.recommender, ensemble=ensemble, histories=histories, fitted=fitted, added=frozenset())

        def record(number: int) -> VersionRecord:
            return VersionRecord(
                number=number,
                mark="",
                parent=served.number,
                made_at=now(),
                data=data_range(version),
                new_events=fresh,
                seconds=round(perf_counter() - began, 3),
                members=dict(found.how),
                spent={name: round(one, 4) for name, one in spent.items()},
                learned_at=learned_at,
                reason="erasure" if anew else "update",
            )

        made = self.versions.publish(version, record)
        logger.info("version %d learned from %d new events in %.1f s", made.number, fresh, made.seconds)
        return made

    def _with_items(self, bundle: Recommender) -> Recommender:
        """Return a bundle with the items that came to the store since it was made."""
        items = [i for i in self._items.newest().values() if i.status == READY]
        found = [i for i in new_items(self._store, items, bundle.catalog) if i.item_id not in bundle.lookup.items]
        return bundle.add_items(found) if found else bundle

    def _load(self, number: int) -> Recommender:
        if number not in self._loaded:
            self._loaded[number] = self.versions.load(number)
        return self._loaded[number]

    def _forget_erased(self) -> None:
        for number in erasure.forget_versions(self.versions, self._store, self._secret):
            self._loaded.pop(number, None)


def follow(learner: Learner, stop: threading.Event) -> None:
    """Step again and again until told to stop; an error is logged, and the next step tries again."""
    while not stop.is_set():
        try:
            learner.step()
        except PenchantError as error:
            logger.error("%s where: %s fix: %s", error.message, error.where, error.fix)
        except Exception as error:  # the database may be away for a while
            logger.error("learner: %s", type(error).__name__, exc_info=error)
        stop.wait(learner.config.every_seconds)


def open_learner(bundle: Path, address: str, secret: Path, config: LearningConfig | None = None) -> Learner:
    """Return the learner of a bundle and its service's store.

    Args:
        bundle: Folder of the bundle.
        address: Of the store.
        secret: File of the service's secret.
        config: Settings.

    Raises:
        ConfigError: The store cannot be opened, or the secret is not its own.
    """
    config = config or LearningConfig()
    store = Store.open(address)
    return Learner(VersionStore(bundle, config.keep), store, Secret.of(store, secret), config)


def _is_learned(record: VersionRecord, member: str) -> bool:
    """Return whether an update says when a member learned: those of a run have costs that are not known here, and are renewed first."""
    return record.reason != "run" and member in record.learned_at


def new_events(bundle: Recommender, events: Histories) -> int:
    """Return how many events differ between those that a bundle learned from and those there are now: new ones, and those that are gone."""
    before = bundle.histories if bundle.fitted is None else bundle.fitted
    gone, come = changed_users(before, events)
    lost, found = before.take(gone), events.take(come)
    keys = [set(zip(_users(h), h.item_index.tolist(), h.at.tolist(), strict=True)) for h in (lost, found)]
    return len(keys[0] ^ keys[1])


def _users(histories: Histories) -> Sequence[str]:
    return [histories.user_ids[row] for row in histories.user_index()]


def _after(*records: VersionRecord) -> int:
    """Return the moment after the data of all; a time in the future of a version's making is no event's."""
    return max(min(record.data.last_at, record.made_at) for record in records) + 1


def _on_one_content(histories: Histories, fitted: Histories) -> tuple[Histories, Histories]:
    """Return both with the same vectors of user content, as a bundle holds them."""
    if not histories.user_channels:
        return histories, fitted
    both = Histories.joined([histories, fitted])
    return both.rows(0, len(histories)), both.rows(len(histories), len(both))
