"""The service without HTTP: its parts, and what they share.

In: settings. Out: a `Service` whose parts answer requests that were checked; what was changed is in the store before the answer is given.

    snapshots      the model, what may be shown and who was erased     snapshot.py
    states         history, edits and scores of users                  user_states.py
    events         events that come in and are deleted                 event_intake.py
    lists          ranked lists                                        list_answers.py
    interests      profiles, explanations, edits                       interests.py
    written_profiles   profiles in words                               written_profiles.py
    personal_data  what a user told, export, erasure                   personal_data.py
    items          search, new and withdrawn items                     items.py
"""

from __future__ import annotations

import logging
from typing import Any

from penchant.classifiers.output_screen import make_screen
from penchant.core.artifacts import remove_unfinished
from penchant.core.errors import ArtifactError, ConfigError, NotFoundError, PenchantError
from penchant.language.engine import Engine, make_engine
from penchant.recommender.recommender import Recommender
from penchant.service.config import ServiceConfig
from penchant.service.content_files import ContentFiles
from penchant.service.event_intake import EventIntake
from penchant.service.fetching import Fetcher
from penchant.service.interests import Interests
from penchant.service.items import Items
from penchant.service.list_answers import ListAnswers
from penchant.service.personal_data import PersonalData
from penchant.service.running_trial import RunningTrial
from penchant.service.schemas import CourseOut, CoursesIn, CoursesOut, PredictIn, PredictionOut, TrialOut
from penchant.service.scratch import ScratchFolder
from penchant.service.security import ApiKeys, Secret, TalkLimits
from penchant.service.served_catalog import ServedCatalog
from penchant.service.served_lists import ServedListLog
from penchant.service.snapshot import ServingSnapshot, Snapshots
from penchant.service.store import Store
from penchant.service.stored_items import StoredItems
from penchant.service.stream_log import StreamLog
from penchant.service.tasks import ClassifierTasks
from penchant.service.trial import TrialConfig
from penchant.service.uploads import UploadStore
from penchant.service.user_cache import UserStateCache
from penchant.service.user_states import UserStates
from penchant.service.written_profiles import WrittenProfiles

logger = logging.getLogger("penchant.service")


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
        self.streams = StreamLog(self.store, self.secret.subject)
        self.keyring = ApiKeys(self.store, is_open=config.is_open)
        fetcher = Fetcher(config.allow_hosts, max_bytes=config.media.max_audio_bytes)
        limit = max(config.media.max_bytes, config.media.max_audio_bytes)
        self.scratch = ScratchFolder(config.state_folder / "scratch")
        media = config.state_folder / "media"
        self.uploads = UploadStore(media, config.media_folder, fetcher, limit, parts=self.scratch.path)
        self.files = ContentFiles(self.uploads, self.store, self.stored_items)
        self.user_cache = UserStateCache(config.user_cache_bytes)
        # after an erasure they are asked to forget already while the snapshots are made, before there are profiles in words
        self._computed = [self.user_cache.clear]
        self.tasks = ClassifierTasks(config.tasks, config.media)
        self._engine = make_engine(config.language, threads=config.language.threads)
        self.talk_limits = TalkLimits(config.language.limits)
        self.screen = make_screen(config.language.moderation)
        for left in remove_unfinished(config.bundle):
            logger.info("removed %s, which a killed process left", left)
        recommender = _loaded(config)
        self.served_catalog = ServedCatalog(config.state_folder)
        self.served_catalog.accept(recommender)
        self.snapshots = Snapshots(recommender, self.store, self.stored_items, self.keyring, self.secret, self._forget)
        self.served_lists = ServedListLog(self.store, self.secret.subject)
        trial = None if config.trial is None else TrialConfig.read_file(config.trial)
        self.trial = None if trial is None else RunningTrial(trial, self.store, self.secret, recommender)
        self.states = UserStates(self.store, self.snapshots, self.user_cache)
        self.events = EventIntake(config, self.store, self.snapshots, self.uploads, self.files)
        self.lists = ListAnswers(
            self.states, self.uploads, self.scratch, config.media, config.max_batch_media, self.trial
        )
        self.interests = Interests(self.store, self.snapshots, self.states)
        self.written_profiles = WrittenProfiles(
            self.snapshots, self.states, self.engine_for_personal_data, self.screen, config.language.rewrite_after
        )
        self._computed.append(self.written_profiles.forget)
        self.personal_data = PersonalData(
            self.store,
            self.secret,
            self.snapshots,
            self.states,
            self.uploads,
            self.files,
            self.served_lists,
            self.streams,
        )
        self.items = Items(self.store, self.snapshots, self.uploads, self.scratch, config.media, self.tasks.names)

    @property
    def snapshot(self) -> ServingSnapshot:
        """What is served now."""
        return self.snapshots.current

    @property
    def engine_for_personal_data(self) -> Engine | None:
        """The engine, unless it is another machine's and the operator did not allow it to read what users do."""
        may_read = self._engine is None or not self._engine.is_remote or self.config.language.send_personal
        return self._engine if may_read else None

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

    def predict(self, task: str, given: PredictIn) -> PredictionOut:
        """Return a labelled task's prediction for content; the content is not kept."""
        return self.tasks.predict(task, given, self.uploads, self.scratch)

    def courses(self, task: str, given: CoursesIn) -> CoursesOut:
        """Return how recordings of people change over time, by a labelled task; they are not kept."""
        found = self.tasks.courses(task, given, self.uploads, self.scratch)
        notes = [str(note) for note in self.tasks.about(task).facts.get("notes", ())]
        return CoursesOut(task=task, courses=[CourseOut(**one.as_dict()) for one in found.values()], notes=notes)

    def close(self) -> None:
        """Close the store's connections, end the engine's process, and remove temporary files."""
        if self._engine is not None:
            self._engine.close()
        self.store.close()
        self.scratch.close()

    def _forget(self) -> None:
        """Forget what was computed with another model, or may tell of an erased user."""
        for forget in self._computed:
            forget()
        if self._engine is not None:
            self._engine.forget()


def _loaded(config: ServiceConfig) -> Recommender:
    """Return the bundle's recommender with its encoders; one that cannot be loaded is logged, and each request that needs it says so."""
    recommender = Recommender.load(config.bundle).warmed_up()
    try:
        recommender.finder.load_encoders()
    except PenchantError as error:
        logger.warning("an encoder cannot be loaded: %s fix: %s", error.message, error.fix)
    for name in recommender.own_content.names("events") + recommender.own_content.names("users"):
        try:
            recommender.own_content.encoder(name)
        except PenchantError as error:
            logger.warning("an encoder of user content cannot be loaded: %s fix: %s", error.message, error.fix)
    return recommender
