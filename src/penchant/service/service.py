"""The service without HTTP.

In: requests that were checked. Out: answers; what was changed is in the store before the answer is given.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool
from pydantic import Field

from penchant.classifiers.output_screen import make_screen
from penchant.core.artifacts import remove_unfinished
from penchant.core.config import Settings
from penchant.core.errors import ArtifactError, ConfigError, DataError, NotFoundError, PenchantError
from penchant.core.schema import Histories, OwnContent
from penchant.data.context import circumstances_at
from penchant.data.histories import Event
from penchant.data.media import MediaLimits
from penchant.explanation.attribution import Method
from penchant.explanation.counterfactual import Counterfactual
from penchant.language.engine import Engine, make_engine
from penchant.language.screen import LanguageConfig
from penchant.recommender.lists import Edit, ListRequest, RankingOptions, RecommendationList
from penchant.recommender.lookup import ITEM, TOPIC
from penchant.recommender.new_items import table_row
from penchant.recommender.recommender import Recommender
from penchant.recommender.search import SearchResults
from penchant.service import erasure
from penchant.service.alarms import AlarmsConfig
from penchant.service.batching import GroupCommit
from penchant.service.exporting import exported_content, exported_conversation, exported_event
from penchant.service.fetching import Fetcher
from penchant.service.host_names import HostName
from penchant.service.running_trial import RunningTrial
from penchant.service.schemas import (
    CourseOut,
    CoursesIn,
    CoursesOut,
    EditIn,
    EventIn,
    EventNameIn,
    EventsDeleted,
    EventsStored,
    ItemIn,
    ItemState,
    ListIn,
    MediaIn,
    PredictIn,
    PredictionOut,
    SearchIn,
    SessionEventIn,
    SessionIn,
    TrialOut,
    UserIn,
)
from penchant.service.schemas import UserState as StateOfUser
from penchant.service.scratch import ScratchFolder
from penchant.service.security import ApiKeys, Secret, TalkLimits
from penchant.service.served_catalog import ServedCatalog
from penchant.service.served_lists import ServedListLog, exported_list
from penchant.service.store import (
    FAILED,
    READY,
    WAITING,
    WITHDRAWN,
    EventName,
    RequestKey,
    Store,
    StoredContent,
    StoredItem,
    now,
)
from penchant.service.stored_items import StoredItems
from penchant.service.tasks import ClassifierTasks
from penchant.service.times import EARLIEST, iso_time, micros_of
from penchant.service.trial import TrialConfig
from penchant.service.uploads import UploadStore
from penchant.service.user_cache import StateVersion, UserState, UserStateCache
from penchant.service.user_content import stored_history

if TYPE_CHECKING:
    from penchant.explanation.network_attribution import NetworkAttribution

logger = logging.getLogger("penchant.service")
MEDIA = ("image", "audio")
"""Files of users' content."""
MAX_SHOWN_VALUES = 50
"""Values of one attribute that the description of the catalog names, the most frequent ones."""
CONTENT = ("text", *MEDIA)
"""Content of an event."""
SERVED_SETS = 500
"""Sets of past events that one request for a counterfactual ranks again at most."""


class ServiceConfig(Settings):
    """Service settings."""

    bundle: Path
    """Folder written by `penchant run`; a new bundle moved to this place is taken over without a stop."""
    tasks: dict[str, Path] = {}
    """Labelled tasks that are answered too: name to the folder `penchant run` wrote; read once, at the start."""
    database: str | None = None
    """postgresql://USER@HOST/DATABASE to share it among processes and machines; None keeps an SQLite file in `folder`."""
    trial: Path | None = None
    """TOML file of a trial: exploration and variants of served lists, which are then logged; None serves everybody the best list and logs none."""
    alarms: AlarmsConfig | None = None
    """Watch the events and the quality of the lists, and tell what moves; None does not."""
    compare: list[Path] = []
    """Bundles that the studio shows beside the served one: folders written by `penchant run`; only their reports are read."""
    folder: Path | None = None
    """Holds the SQLite file, the secret and uploads; None is BUNDLE-service beside the bundle. Machines that share a database must share it."""
    is_open: bool = True
    """Answer requests without a key until the first API key is made; removing keys never opens the service again."""
    host_names: list[HostName] = []
    """Host names at which requests are answered, beside localhost, 127.0.0.0/8 and [::1]; empty: those alone while the service is open, any
    name once there are keys."""
    user_cache_bytes: int = Field(256_000_000, ge=0)
    """Memory of each process for the most recently requested users."""
    max_body_bytes: int = Field(32_000_000, ge=1000)
    """A larger request is refused while it comes in."""
    max_batch: int = Field(1000, ge=1)
    """Events of one request."""
    max_batch_media: int = Field(20, ge=1)
    """Pictures and sounds of the events of one request."""
    max_skew_seconds: float = Field(300, ge=0)
    """An event further in the future is refused."""
    max_seconds: float = Field(30, gt=0)
    """Longest wait for a request's body."""
    media: MediaLimits = MediaLimits(
        max_bytes=20_000_000,
        max_audio_bytes=30_000_000,
        max_decoding_bytes=400_000_000,
        max_samples=120_000_000,
        max_frame_pixels=9_500_000,
        max_frames=20_000,
    )
    """What a file may be; tighter than in a run, whose files are the operator's own."""
    media_folder: Path | None = None
    """Requests may name files below it; None allows none."""
    allow_hosts: list[str] = []
    """Requests may name addresses on these hosts; empty allows none."""
    language: LanguageConfig = LanguageConfig()
    """What words the assistant's answers and profiles in words (fixed sentences, a language model on this machine, or an endpoint), and what of it is shown."""
    watch_seconds: float = Field(1.0, gt=0)
    """How often to look for a new bundle, new items and erasures of other processes."""
    traces: str | None = None
    """http(s) address of an OpenTelemetry collector that is sent a span for each request; None sends nothing anywhere."""

    @property
    def state_folder(self) -> Path:
        return self.folder or self.bundle.with_name(f"{self.bundle.name}-service")

    @property
    def address(self) -> str:
        return self.database or f"sqlite:///{self.state_folder.absolute() / 'store.db'}"


AskedList = tuple[str | None, RankingOptions] | tuple[str | None, RankingOptions, str]
"""A user's id, ranking options, and the id of the list where it may be logged."""


@dataclass(frozen=True)
class ServingSnapshot:
    """The serving snapshot: immutable, replaced as a whole.

    Attributes:
        recommender: The model.
        available: (items,) whether an item may be shown.
        subjects: Keyed hashes of the ids of erased users.
        generation: Differs between two snapshots for whom a user's history may differ, or the model.
        moment: Differs between two snapshots of one generation that know other events of all users.
        world: The store's version of items, erasures and keys it reflects.
    """

    recommender: Recommender
    available: Bool[np.ndarray, " items"]
    subjects: frozenset[str]
    generation: int
    world: int | None
    moment: int = 0

    def counterfactual(self, state: UserState, item_id: str, k: int) -> Counterfactual:
        """Return what would have to be different for an item to leave a user's list of k, or to enter it."""
        return self.recommender.counterfactual(
            state.history, item_id, k, edits=state.edits, max_sets=SERVED_SETS, available=self.available
        )


class Service:
    """Answers requests from a recommender and a store.

    Raises:
        ConfigError: The store cannot be opened, its secret is another's, or the engine's settings are wrong.
        EncoderError: The engine's model is not there.
        ArtifactError: The bundle is missing, altered, or of another catalog than the one served last.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.store = Store.open(config.address)
        try:
            self.secret = Secret.of(self.store, config.state_folder / "secret.key")
        except ConfigError:
            self.store.close()
            raise
        self.store.seal_erasures(self.secret.link)
        self.stored_items = StoredItems(self.store)
        self.keyring = ApiKeys(self.store, is_open=config.is_open)
        fetcher = Fetcher(config.allow_hosts, max_bytes=config.media.max_audio_bytes)
        limit = max(config.media.max_bytes, config.media.max_audio_bytes)
        self.scratch = ScratchFolder(config.state_folder / "scratch")
        media = config.state_folder / "media"
        self.uploads = UploadStore(media, config.media_folder, fetcher, limit, parts=self.scratch.path)
        self.user_cache = UserStateCache(config.user_cache_bytes)
        self.has_unused_files = True
        """Whether files may lie there that nothing uses."""
        self._changing = threading.Lock()
        self._append = GroupCommit[tuple[Sequence[Event], RequestKey | None], int](self._append_group, max_size=64)
        self.tasks = ClassifierTasks(config.tasks, config.media)
        self._engine = make_engine(config.language, threads=config.language.threads)
        self.talk_limits = TalkLimits(config.language.limits)
        self.screen = make_screen(config.language.moderation)
        for left in remove_unfinished(config.bundle):
            logger.info("removed %s, which a killed process left", left)
        recommender = Recommender.load(config.bundle).warmed_up()
        try:
            recommender.finder.load_encoders()
        except PenchantError as error:  # a model that is missing here: each search and item that needs it says so
            logger.warning("an encoder cannot be loaded: %s fix: %s", error.message, error.fix)
        for name in recommender.own_content.names("events") + recommender.own_content.names("users"):
            try:
                recommender.own_content.encoder(name)
            except PenchantError as error:
                logger.warning("an encoder of user content cannot be loaded: %s fix: %s", error.message, error.fix)
        self.served_catalog = ServedCatalog(config.state_folder)
        self.served_catalog.accept(recommender)
        self.snapshot = ServingSnapshot(recommender, np.ones(len(recommender.catalog), bool), frozenset(), 0, None)
        self.sync(self.store.world_version())
        self.served_lists = ServedListLog(self.store, self.secret.subject)
        trial = None if config.trial is None else TrialConfig.read_file(config.trial)
        self.trial = None if trial is None else RunningTrial(trial, self.store, self.secret, recommender)

    # events

    def append(self, events: Sequence[EventIn], request_key: str | None = None) -> EventsStored:
        """Store events; they are on disk when this returns, and the next answer about their users reflects them.

        Args:
            events: Of any users.
            request_key: The request's idempotency key: the same events under the same key are stored once.

        Raises:
            DataError: An event lies in the future, there are too many, or the key was used for other events. Nothing is stored then.
        """
        if len(events) > self.config.max_batch:
            raise DataError(
                f"{len(events):,} events in one request.", where="events", fix=f"send at most {self.config.max_batch:,}"
            )
        latest = now() + int(self.config.max_skew_seconds * 1e6)
        rows = [_event(e, position, latest) for position, e in enumerate(events)]
        reader = self.snapshot.recommender.own_content
        media = sum(getattr(e, name) is not None for e in events for name in MEDIA)
        if media > self.config.max_batch_media:
            raise DataError(
                f"{media:,} files in one request.", where="events", fix=f"send at most {self.config.max_batch_media:,}"
            )
        reads = reader.reads("events")
        key = _request_key(request_key, events) if request_key else None
        with self.uploads.in_use(where="events") if media else nullcontext():
            where = [f"events.{n}." if len(events) > 1 else "" for n in range(len(events))]
            found = [self._kept(e, reads, place, self.uploads) for e, place in zip(events, where, strict=True)]
            rows = [r if c is None else replace(r, content=c) for r, c in zip(rows, found, strict=True)]
            self.has_unused_files |= media > 0  # of events that are stored already, or refused
            new = self._append((rows, key))
        unknown = sum(e.item_id not in self.snapshot.recommender.lookup.items for e in events)
        given = sum(getattr(e, name) is not None for e in events for name in CONTENT)
        kept = sum(len(c.columns) + len(c.media) for c in found if c is not None)
        return EventsStored(
            stored=new,
            duplicates=len(events) - new,
            unknown_items=unknown,
            with_content=sum(c is not None for c in found),
            unread_content=given - kept,
        )

    def delete_event(self, user_id: str, name: EventNameIn) -> EventsDeleted:
        """Delete events of a user; they are gone from the store when this returns, and the next list does not know them.

        Raises:
            DataError: Nothing names an event.
            NotFoundError: No such event is stored.
        """
        if name.event_id is not None:
            which = EventName(name.event_id)
        elif name.item_id is not None and name.at is not None:
            which = EventName(None, name.item_id, micros_of(name.at), name.kind)
        else:
            raise DataError(
                "Nothing names an event.",
                where="the query",
                fix="give event_id, or item_id and at as the export shows them",
            )
        snapshot, _ = self.user_state(user_id)
        own = snapshot.recommender.history(user_id, (), use_own=not self.is_erased(user_id, snapshot))
        rows = snapshot.recommender.lookup.rows([which.item_id])
        is_learned = bool((np.isin(own.item_index, rows) & (own.at == which.at)).any())
        deleted, had_content = self.store.delete_events(user_id, which)
        if not deleted:
            raise NotFoundError(
                "No such event is stored."
                if not is_learned
                else "The bundle learned from this event; it is not in the store.",
                where=f"events of {user_id}",
                fix="take event_id, or item_id, at and kind, from GET /v1/export/ID"
                if not is_learned
                else "leave it out of the data of the next run, or erase the user",
            )
        if had_content:
            self.remove_files()
        return EventsDeleted(deleted=deleted, in_bundle=is_learned)

    def _kept(
        self, given: EventIn | SessionEventIn, reads: Collection[str], where: str, uploads: UploadStore
    ) -> OwnContent | None:
        """Return what some channel reads of an event's content, its files stored; None where that is nothing."""
        media = _keep_files(given, reads, where, uploads)
        columns = {"text": given.text} if given.text is not None and "text" in reads else {}
        return OwnContent(columns, media) if columns or media else None

    def _append_group(self, tasks: Sequence[tuple[Sequence[Event], RequestKey | None]]) -> list[int | DataError]:
        return self.store.append([events for events, _ in tasks], [request for _, request in tasks])

    # users

    def is_erased(self, user_id: str, snapshot: ServingSnapshot) -> bool:
        """Return whether a user was erased since the bundle was written."""
        return bool(snapshot.subjects) and self.secret.subject(user_id) in snapshot.subjects

    def user_state(self, user_id: str) -> tuple[ServingSnapshot, UserState]:
        """Return a user's state as of the last change of any process."""
        snapshot, (state,) = self._user_states([user_id])
        return snapshot, state

    def _user_states(self, user_ids: Sequence[str]) -> tuple[ServingSnapshot, list[UserState]]:
        """Return the states of users as of one snapshot: their versions from one query, and missing scores from one pass."""
        if not user_ids:
            return self.snapshot, []
        store_versions, world = self.store.versions(user_ids)
        self.sync(world)
        snapshot = self.snapshot
        versions = [StateVersion(version, snapshot.generation) for version in store_versions]
        cached = list(map(self.user_cache.get, user_ids, versions))
        missing = {user_ids[n]: versions[n] for n, state in enumerate(cached) if state is None}
        held = [*filter(None, cached), *self._load(snapshot, missing)]
        states = self._scored(snapshot, {state.history.user_ids[0]: state for state in held})
        return snapshot, [states[user_id] for user_id in user_ids]

    def _load(self, snapshot: ServingSnapshot, versions: Mapping[str, StateVersion]) -> Iterator[UserState]:
        """Return the states of users as the store has them, without scores."""
        for user_id, version in versions.items():
            is_stored = version.user is not None
            events: Sequence[Event] = self.store.events(user_id) if is_stored else ()
            edits = tuple(self.store.edits(user_id)) if is_stored else ()
            about = self.store.about(user_id) if is_stored else None
            history = self._history(user_id, snapshot, events, None if about is None else about.content)
            yield UserState(version, history, edits)

    def _history(
        self, user_id: str, snapshot: ServingSnapshot, events: Sequence[Event], about: OwnContent | None
    ) -> Histories:
        """Return a user's history from the bundle and the store; only vectors that the bundle's own encoders made count."""
        use_own = not self.is_erased(user_id, snapshot)
        return stored_history(snapshot.recommender, user_id, events, about, use_own=use_own)

    def _scored(self, snapshot: ServingSnapshot, states: dict[str, UserState]) -> dict[str, UserState]:
        """Return the states with scores as of the snapshot's moment; those that lack them are scored in one pass."""
        due = [user_id for user_id, state in states.items() if state.moment != snapshot.moment]
        if not due:
            return states
        if snapshot.recommender.shortlist.found is not None:  # each list scores its own candidates
            for user_id in due:
                nothing = np.zeros(0, np.float32)
                states[user_id] = replace(states[user_id], scores=nothing, moment=snapshot.moment)
                self.user_cache.put(user_id, states[user_id])
            return states
        scores = snapshot.recommender.score(Histories.joined([states[user_id].history for user_id in due]))
        for user_id, row in zip(due, scores, strict=True):
            # copied: a row kept in the cache must not keep the scores of the whole group in memory
            states[user_id] = replace(states[user_id], scores=row.copy(), moment=snapshot.moment)
            self.user_cache.put(user_id, states[user_id])
        return states

    def recommend(self, user_id: str | None, options: RankingOptions, list_id: str = "") -> RecommendationList:
        """Return one list, as `recommend_many` does."""
        (answer,) = self.recommend_many([(user_id, options, list_id)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def recommend_many(self, requests: Sequence[AskedList]) -> list[RecommendationList | Exception]:
        """Return the list of each request, or the error in it.

        A user without history gets a list from the items in view, or popular items. During a trial a list with an id is that of the user's
        variant, and is logged.

        Args:
            requests: A user's id and ranking options; None for a `SessionIn`, whose history is not stored; and the list's id.
        """
        began = now()
        asked = [(*request, "")[:3] for request in requests]
        snapshot, found = self._user_states([user_id for user_id, *_ in asked if user_id is not None])
        states = iter(found)
        of_variants: list[tuple[Recommender, ListRequest]] = []
        for user_id, options, list_id in asked:
            state = None if user_id is None else next(states)
            request = self._list_request(options, snapshot, user_id, state)
            recommender = snapshot.recommender
            if self.trial is not None and state is not None and list_id:
                named = replace(request, list_id=list_id)
                recommender, request = self.trial.request(named, state, snapshot, self)
            of_variants.append((recommender, request))
        if self.trial is None:
            return snapshot.recommender.recommend_many([request for _, request in of_variants], snapshot.available)
        return self.trial.recommend_many(of_variants, snapshot, began)

    def history_of(self, user_id: str, snapshot: ServingSnapshot) -> Histories:
        """Return a user's history as a snapshot's recommender reads what the store holds now."""
        about = self.store.about(user_id)
        return self._history(user_id, snapshot, self.store.events(user_id), None if about is None else about.content)

    def _list_request(
        self, options: RankingOptions, snapshot: ServingSnapshot, user_id: str | None, state: UserState | None
    ) -> ListRequest:
        options = _under(options, snapshot.recommender)
        if state is not None:
            return ListRequest(options, user_id, state.history, state.edits, state.known_scores)
        if not isinstance(options, SessionIn):
            return ListRequest(options, user_id)
        items = [e.item_id for e in options.events]
        if not options.has_content:
            return ListRequest(options, user_id, items=items)
        vectors, history = self._session_content(options, snapshot.recommender)
        return ListRequest(options, user_id, history, items=items, vectors=vectors)

    def _session_content(
        self, session: SessionIn, recommender: Recommender
    ) -> tuple[list[Mapping[str, np.ndarray]], Histories]:
        """Return the vectors of each event of a session, and a history of what its user is; nothing of it is kept.

        Raises:
            DataError: A column does not exist, or holds another type.
            MediaError: A file cannot be read.
        """
        reader = recommender.own_content.limited(self.config.media)
        about = session.about or UserIn()
        reader.checked(about.columns)
        reads = reader.reads("events")
        with self.scratch.temporary() as scratch:
            uploads = replace(self.uploads, folder=Path(scratch))
            vectors: list[Mapping[str, np.ndarray]] = []
            for place, event in enumerate(session.events):
                content = self._kept(event, reads, f"history.{place}.", uploads)
                vectors.append({} if content is None else reader.read("events", content, uploads.folder).vectors)
            media = _keep_files(about, reader.media("users"), "about.", uploads)
            told = reader.read("users", OwnContent(about.columns, media), uploads.folder)
        return vectors, recommender.history("", (), about=told)

    def profile(self, user_id: str) -> tuple[dict[str, Any], int]:
        """Return interests with weights and evidence, the user's own edits, and the version for an ETag."""
        snapshot, state = self.user_state(user_id)
        return self.profile_of(snapshot, state), state.version.user or 0

    @staticmethod
    def profile_of(snapshot: ServingSnapshot, state: UserState) -> dict[str, Any]:
        """Return the interests of a state with weights and evidence, and its edits."""
        profile = snapshot.recommender.profile(state.history, scores=state.known_scores).as_dict()
        actions = {(e.name, e.value): e.action for e in state.edits}
        for interest in profile["interests"]:
            interest["edited"] = actions.get((interest["name"], interest["value"]))
        return {**profile, "edits": [asdict(e) for e in state.edits]}

    def preview(
        self, user_id: str, events: Sequence[Event], edits: Sequence[Edit]
    ) -> tuple[ServingSnapshot, UserState]:
        """Return the state a user would have after some events and edits; nothing is stored.

        Args:
            user_id: A user, with or without history.
            events: After those that are stored.
            edits: Each replaces an earlier one of the same name and value; "reset" takes it back.
        """
        snapshot, state = self.user_state(user_id)
        own = {(e.name, e.value): e for e in state.edits}
        for edit in edits:
            own.pop((edit.name, edit.value), None)
            if edit.action != "reset":
                own[edit.name, edit.value] = edit
        state = replace(state, edits=tuple(own.values()))
        if not events:
            return snapshot, state
        told = self.store.about(user_id)
        known = [*self.store.events(user_id), *events]
        history = self._history(user_id, snapshot, known, None if told is None else told.content)
        return snapshot, replace(state, history=history, scores=snapshot.recommender.score(history)[0])

    def profile_in_words(self, user_id: str, language: str) -> dict[str, Any]:
        """Return the interests of one user as sentences, each with the events behind it."""
        snapshot, state = self.user_state(user_id)
        profile = snapshot.recommender.profile(state.history, scores=state.known_scores)
        (written,) = snapshot.recommender.profile_writer(language, self.engine_for_personal_data, self.screen).write(
            [profile]
        )
        return written.as_dict()

    @property
    def engine_for_personal_data(self) -> Engine | None:
        """The engine, unless it is another machine's and the operator did not allow it to read what users do."""
        may_read = self._engine is None or not self._engine.is_remote or self.config.language.send_personal
        return self._engine if may_read else None

    def uploads_in(self, folder: str) -> UploadStore:
        """Return where a request's files are kept while it is answered."""
        return replace(self.uploads, folder=Path(folder))

    def edit(self, user_id: str, edits: Sequence[EditIn], expected: int | None) -> tuple[dict[str, Any], int]:
        """Store a user's edits of their interests; their next list follows them.

        Raises:
            NotFoundError: An edit names an item or attribute that does not exist.
            ConflictError: The profile was changed since `expected`.
        """
        lookup = self.snapshot.recommender.lookup
        for e in edits:
            if e.name == ITEM:
                lookup.row(e.value)
            else:
                lookup.rows_with(e.name, e.value)
        changes = [Edit(e.name, e.value, e.action, e.strength) for e in edits]
        kept = [e for e in changes if e.action != "reset"]
        dropped = [e for e in changes if e.action == "reset"]
        self.store.edit(user_id, kept, dropped, expected=expected)
        return self.profile(user_id)

    def explain(self, user_id: str, item_id: str) -> dict[str, Any]:
        """Return the exact additive contributions to one score."""
        snapshot, state = self.user_state(user_id)
        return snapshot.recommender.explain(state.history, item_id).as_dict()

    def attribution(self, user_id: str, item_id: str, member: str | None, method: Method) -> NetworkAttribution:
        """Return which past events one network's score comes from, with its checks."""
        snapshot, state = self.user_state(user_id)
        return snapshot.recommender.attribute(state.history, item_id, member, method)

    def counterfactual(self, user_id: str, item_id: str, k: int) -> Counterfactual:
        """Return what would have to be different for an item to leave the user's list of k, or to enter it."""
        snapshot, state = self.user_state(user_id)
        return snapshot.counterfactual(state, item_id, k)

    def about(self, user_id: str) -> StateOfUser:
        """Return what a user told of themself since the bundle was written, and whether it is read."""
        held = self.store.about(user_id)
        return StateOfUser(user_id=user_id, status="none") if held is None else self._told(held)

    def tell(self, user_id: str, given: UserIn) -> StateOfUser:
        """Store what a user tells of themself; it is encoded in the background, and their next list after that knows it.

        Raises:
            DataError: The bundle reads no such column, file or type.
            MediaError: A file cannot be read.
        """
        reader = self.snapshot.recommender.own_content
        reader.checked(given.columns)
        files = {name: getattr(given, name) for name in MEDIA if name in given.model_fields_set}
        for name in files:
            if name not in reader.media("users"):
                raise DataError(f"The bundle reads no {name} of users.", where=name, fix="leave it out")
        is_upload = any(file is not None for file in files.values())
        with self.uploads.in_use(where=", ".join(files)) if is_upload else nullcontext():
            kept = {n: None if file is None else self.uploads.keep(file, where=n) for n, file in files.items()}

            def change(before: OwnContent) -> OwnContent:
                media = {name: file for name, file in {**before.media, **kept}.items() if file is not None}
                return OwnContent({**before.columns, **given.columns}, media)

            held = self.store.change_about(user_id, change)
        self.has_unused_files |= bool(files)
        return self._told(held)

    def _told(self, held: StoredContent) -> StateOfUser:
        reader, content = self.snapshot.recommender.own_content, held.content
        known = reader.columns("users")
        return StateOfUser(
            user_id=held.user_id,
            status="ready" if held.encoder == reader.mark else "waiting",
            columns=dict(content.columns),
            files=dict(content.media),
            new_values=reader.checked({c: v for c, v in content.columns.items() if c in known}),
            unreadable=list(content.unreadable),
        )

    def file(self, user_id: str, name: str) -> Path:
        """Return a file that a user sent.

        Raises:
            NotFoundError: The user sent no such file.
        """
        path = self.uploads.folder / name
        if name not in self.store.files(user_id) or not path.is_file():
            raise NotFoundError(
                "The user sent no such file.", where="the name", fix="take a name from the export of this user"
            )
        return path

    def remove_files(self) -> None:
        """Delete the files that no item and no user uses any more; later, if an upload is being stored now."""
        self.has_unused_files = not self.uploads.remove_unused(lambda: self.stored_items.uploads() | self.store.files())

    def is_known(self, user_id: str) -> bool:
        """Return whether the bundle or the store holds something of a user."""
        (version,), _ = self.store.versions([user_id])
        snapshot = self.snapshot
        return version is not None or (user_id in snapshot.recommender.users and not self.is_erased(user_id, snapshot))

    def export(self, user_id: str) -> dict[str, Any]:
        """Return all stored data of one user; files by name (`file`)."""
        snapshot, state = self.user_state(user_id)
        base = snapshot.recommender.history(user_id, (), use_own=not self.is_erased(user_id, snapshot))
        ids = snapshot.recommender.lookup.items.ids
        return {
            "user_id": user_id,
            "events": [exported_event(e) for e in self.store.events(user_id)],
            "deleted_events": [{"key": key, "at": iso_time(at)} for key, at in self.store.deleted_events(user_id)],
            "about": None if (told := self.store.about(user_id)) is None else exported_content(told.content),
            "edits": [asdict(e) for e in state.edits],
            "conversations": [exported_conversation(one) for one in self.store.conversations(user_id)],
            "served_lists": [exported_list(one) for one in self.served_lists.of_user(user_id)],
            "trials": self.served_lists.exposures_of(user_id),
            "requests": [{"key": r.key, "at": iso_time(r.received_at)} for r in self.store.requests(user_id)],
            "learned_from": [
                {"item_id": ids[row], "at": iso_time(int(at)), "weight": float(weight)}
                for row, at, weight in zip(base.item_index, base.at, base.weight, strict=True)
            ],
            "profile": self.profile(user_id)[0],
        }

    def erase(self, user_id: str) -> dict[str, Any]:
        """Erase a user; see `penchant.service.erasure` for what is immediate."""
        receipt = erasure.erase(self.store, self.secret, self.snapshot.recommender, user_id)
        self.remove_files()
        self.sync(self.store.world_version())
        return receipt

    # items

    def similar(self, item_id: str, k: int, by: str | None) -> SearchResults:
        """Return the items most like one."""
        snapshot = self._synced()
        return snapshot.recommender.similar(item_id, k, by=by, available=snapshot.available)

    def catalog(self) -> dict[str, Any]:
        """Return what can be asked for: sizes, attributes with their most frequent values, ranges of numbers, topics, labelled tasks."""
        snapshot = self._synced()
        lookup = snapshot.recommender.lookup
        facets = {
            name: sorted(values, key=lambda value: (-len(values[value]), value))[:MAX_SHOWN_VALUES]
            for name, values in lookup.facets.items()
        }
        known = {name: values[~np.isnan(values)] for name, values in lookup.numbers.items()}
        return {
            "items": int(snapshot.available.sum()),
            "users": len(snapshot.recommender.histories),
            "attributes": {name: values for name, values in facets.items() if name != TOPIC},
            "topics": facets[TOPIC],
            "numbers": {n: {"least": float(v.min()), "most": float(v.max())} for n, v in known.items() if len(v)},
            "tasks": self.tasks.names,
        }

    def report(self) -> dict[str, Any]:
        """Return the leaderboard of the run behind the bundle; rows of ours and of baselines.

        Raises:
            NotFoundError: The bundle has no report.
        """
        try:
            found = self.snapshot.recommender.report.read()
        except ArtifactError as error:
            raise NotFoundError(error.message, where="the bundle", fix=error.fix) from None
        board = found["leaderboard"]
        rows = [row for row in board["rows"] if row["role"] in ("ours", "baseline")]
        return {"metric": board["metric"], "num_users": board["num_users"], "rows": rows}

    def trial_results(self) -> TrialOut:
        """Return the state of the trial.

        Raises:
            NotFoundError: No trial runs.
        """
        if self.trial is None:
            raise NotFoundError(
                "No trial runs.", where="the service", fix="start it with `penchant serve BUNDLE --trial TRIAL.toml`"
            )
        return TrialOut.of(self.trial.results())

    def search(self, wanted: SearchIn) -> SearchResults:
        """Return the items nearest to words, an image or audio.

        Raises:
            DataError: Not exactly one of the three was given.
        """
        given = [name for name in ("words", "image", "audio") if getattr(wanted, name) is not None]
        if len(given) != 1:
            raise DataError(
                f"{len(given)} things to search for.", where="the body", fix="give one of words, image, audio"
            )
        snapshot = self._synced()
        if wanted.words is not None:
            return snapshot.recommender.search(wanted.words, wanted.k, available=snapshot.available)
        (modality,) = given
        with self.scratch.temporary() as scratch:  # the query is not kept
            uploads = replace(self.uploads, folder=Path(scratch))
            name = uploads.keep(getattr(wanted, modality), where=modality)
            return snapshot.recommender.search_media(
                modality, uploads.folder / name, wanted.k, limits=self.config.media, available=snapshot.available
            )

    def predict(self, task: str, given: PredictIn) -> PredictionOut:
        """Return a labelled task's prediction for content; the content is not kept."""
        return self.tasks.predict(task, given, self.uploads, self.scratch)

    def courses(self, task: str, given: CoursesIn) -> CoursesOut:
        """Return how recordings of people change over time, by a labelled task; they are not kept."""
        found = self.tasks.courses(task, given, self.uploads, self.scratch)
        notes = [str(note) for note in self.tasks.about(task).facts.get("notes", ())]
        return CoursesOut(task=task, courses=[CourseOut(**one.as_dict()) for one in found.values()], notes=notes)

    def put_item(self, item_id: str, item: ItemIn) -> ItemState:
        """Store a new or changed item; it is encoded in the background and recommended as soon as that is done.

        Raises:
            DataError: A column does not exist or holds another type.
            MediaError: A file cannot be read.
        """
        catalog = self.snapshot.recommender.catalog
        table_row(catalog, item_id, item.columns)
        media = {name: m for name in ("image", "audio") if (m := getattr(item, name)) is not None}
        for name in media:
            if name not in catalog.media_columns:
                raise DataError(f"Items of this bundle have no {name}.", where=name, fix="leave it out")
        with self.uploads.in_use(where=", ".join(media)) if media else nullcontext():
            kept = {name: self.uploads.keep(m, where=name) for name, m in media.items()}
            body = json.dumps({"columns": item.columns, "media": kept}, ensure_ascii=False)
            self.store.put_item(StoredItem(item_id, WAITING, body))
        return ItemState(item_id=item_id, status=WAITING)

    def withdraw(self, item_id: str) -> ItemState:
        """Remove an item from every answer at once; PUT brings it back.

        Raises:
            NotFoundError: There is no such item.
        """
        if self.store.item(item_id) is None:
            self.snapshot.recommender.lookup.row(item_id)
        self.store.put_item(StoredItem(item_id, WITHDRAWN, "{}"))
        self.sync(self.store.world_version())
        return ItemState(item_id=item_id, status=WITHDRAWN)

    def item(self, item_id: str) -> ItemState:
        """Return the status of an item.

        Raises:
            NotFoundError: There is no such item.
        """
        stored = self.store.item(item_id)
        status = stored and stored.status
        if status is None:
            self.snapshot.recommender.lookup.row(item_id)
        elif status == READY and item_id not in self.snapshot.recommender.lookup.items:
            status = WAITING  # encoded, and this process adds it within a second
        reason = json.loads(stored.body)["reason"] if stored and status == FAILED else None
        return ItemState.model_validate({"item_id": item_id, "status": status or READY, "reason": reason})

    # the snapshot

    def sync(self, world: int) -> None:
        """Bring withdrawn items, erasures and keys up to a version of the store; cheap where nothing changed."""
        if world == self.snapshot.world:
            return
        with self._changing:
            self._renew(self.snapshot.recommender, world)

    def _synced(self) -> ServingSnapshot:
        """Return the snapshot after `sync` with the store's newest version."""
        self.sync(self.store.world_version())
        return self.snapshot

    def serve(self, recommender: Recommender) -> None:
        """Answer from another model from now on; running requests finish with the model they began with."""
        with self._changing:
            self._renew(recommender, self.store.world_version())

    def observe(self, recommender: Recommender) -> None:
        """Answer from the same model with newer events of all users from now on; histories of users stay in the cache."""
        with self._changing:
            self.snapshot = replace(self.snapshot, recommender=recommender, moment=self.snapshot.moment + 1)

    def _renew(self, recommender: Recommender, world: int) -> None:
        before = self.snapshot
        self.keyring.refresh(world)
        withdrawn = [i.item_id for i in self.stored_items.newest().values() if i.status == WITHDRAWN]
        subjects = frozenset(e.subject for e in self.store.erasures())
        is_new = recommender is not before.recommender
        generation = before.generation + int(is_new or subjects != before.subjects)
        if is_new:
            recommender.finder.adopt(before.recommender.finder)
        lookup = recommender.lookup
        available = ~lookup.mask(lookup.rows(withdrawn))
        self.snapshot = ServingSnapshot(recommender, available, subjects, generation, world, before.moment)
        if generation != before.generation:
            self.user_cache.clear()
            if self._engine is not None:
                self._engine.forget()  # what it wrote may tell of an erased user
            for reader in self.snapshot.recommender.histories.derived.values():
                reader.forget()

    def close(self) -> None:
        """Close the store's connections, end the engine's process, and remove temporary files."""
        if self._engine is not None:
            self._engine.close()
        self.store.close()
        self.scratch.close()


def _keep_files(
    given: EventIn | SessionEventIn | UserIn, reads: Collection[str], where: str, uploads: UploadStore
) -> dict[str, str]:
    """Store the files that some channel reads; return their names by modality."""
    files: dict[str, MediaIn | None] = {name: getattr(given, name) for name in MEDIA}
    return {
        name: uploads.keep(file, where=f"{where}{name}")
        for name, file in files.items()
        if file is not None and name in reads
    }


def _under(options: RankingOptions, recommender: Recommender) -> RankingOptions:
    """Return the options with the circumstances that follow from the time of the request, of those that the bundle knows."""
    at = options.at if isinstance(options, ListIn) else None
    if at is None:
        return options
    channels = recommender.histories.user_channels
    named = {pair.partition(":")[0] for pair in options.circumstances}
    found = circumstances_at(datetime.now(UTC) if isinstance(at, str) else at)
    derived = [f"{name}:{value}" for name, value in found.items() if name in channels and name not in named]
    return options.model_copy(update={"circumstances": [*options.circumstances, *derived]})


def _request_key(key: str, events: Sequence[EventIn]) -> RequestKey:
    """Return a key with a digest of each user's events: as they were sent, with their places in the request."""
    own: dict[str, list[str]] = {}
    for position, event in enumerate(events):
        missing = {
            name for name in CONTENT if getattr(event, name) is None
        }  # digests of stores from before there was content
        own.setdefault(event.user_id, []).append(f"{position} {event.model_dump_json(exclude=missing)}")
    return RequestKey(key, {user: hashlib.sha256("\n".join(one).encode()).hexdigest() for user, one in own.items()})


def _event(event: EventIn, position: int, latest: int) -> Event:
    at = now() if event.at is None else micros_of(event.at)
    if at < EARLIEST:
        raise DataError(
            "An event lies before the year 1 in UTC.", where=f"events.{position}.at", fix="give the time it happened"
        )
    if at > latest:
        raise DataError(
            "An event lies in the future.",
            where=f"events.{position}.at",
            fix="set the sender's clock, or leave `at` out",
        )
    return Event(event.user_id, event.item_id, event.kind, at, event.value, event.event_id)
