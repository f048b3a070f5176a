"""Lists of users and of sessions: from ids and options to ranked lists.

In: a user's id, or a history that comes with the request, and ranking options. Out: lists; during a trial those of the user's variant, logged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from penchant.core.errors import DataError
from penchant.core.schema import Histories, OwnContent
from penchant.data.context import circumstances_at
from penchant.data.media import MediaLimits
from penchant.recommender.lists import ListRequest, RankingOptions, RecommendationList
from penchant.recommender.recommender import Recommender
from penchant.service.content_files import kept_content, kept_files
from penchant.service.running_trial import RunningTrial
from penchant.service.schemas import ListIn, SessionIn, UserIn
from penchant.service.scratch import ScratchFolder
from penchant.service.snapshot import ServingSnapshot
from penchant.service.store import now
from penchant.service.uploads import UploadStore
from penchant.service.user_cache import UserState
from penchant.service.user_states import UserStates

AskedList = tuple[str | None, RankingOptions] | tuple[str | None, RankingOptions, str]
"""A user's id, ranking options, and the id of the list where it may be logged."""


class ListAnswers:
    """Answers requests for lists.

    Args:
        states: Of users.
        uploads: Reads the files of a session.
        scratch: Holds them while it is answered.
        limits: Of these files.
        max_media: Files of one session at most.
        trial: Whose variants are served; None serves everybody the best list.
    """

    def __init__(
        self,
        states: UserStates,
        uploads: UploadStore,
        scratch: ScratchFolder,
        limits: MediaLimits,
        max_media: int,
        trial: RunningTrial | None,
    ) -> None:
        self._states, self._uploads, self._scratch, self._limits = states, uploads, scratch, limits
        self._max_media, self._trial = max_media, trial

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
        snapshot, found = self._states.of([user_id for user_id, *_ in asked if user_id is not None])
        states = iter(found)
        of_variants: list[tuple[Recommender, ListRequest]] = []
        for user_id, options, list_id in asked:
            state = None if user_id is None else next(states)
            request = self._list_request(options, snapshot, user_id, state)
            recommender = snapshot.recommender
            if self._trial is not None and state is not None and list_id:
                named = replace(request, list_id=list_id)
                recommender, request = self._trial.request(named, state, snapshot, self._states)
            of_variants.append((recommender, request))
        if self._trial is None:
            return snapshot.recommender.recommend_many([request for _, request in of_variants], snapshot.available)
        return self._trial.recommend_many(of_variants, snapshot, began)

    def _list_request(
        self, options: RankingOptions, snapshot: ServingSnapshot, user_id: str | None, state: UserState | None
    ) -> ListRequest:
        options = _under(options, snapshot.recommender)
        if state is not None:
            return ListRequest(options, user_id, state.history, state.edits, state.scores)
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
            DataError: There are too many files; a column does not exist, or holds another type.
            MediaError: A file cannot be read.
        """
        if session.num_media > self._max_media:  # before any of them is fetched
            raise DataError(
                f"{session.num_media:,} files in one request.",
                where="history",
                fix=f"send at most {self._max_media:,}",
            )
        reader = recommender.own_content.limited(self._limits)
        about = session.about or UserIn()
        reader.checked(about.columns)
        reads = reader.reads("events")
        with self._scratch.temporary() as scratch:
            uploads = self._uploads.within(scratch)
            vectors: list[Mapping[str, np.ndarray]] = []
            for place, event in enumerate(session.events):
                content = kept_content(event, reads, f"history.{place}.", uploads)
                vectors.append({} if content is None else reader.read("events", content, uploads.folder).vectors)
            media = kept_files(about, reader.media("users"), "about.", uploads)
            told = reader.read("users", OwnContent(about.columns, media), uploads.folder)
        return vectors, recommender.history("", (), about=told)


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
