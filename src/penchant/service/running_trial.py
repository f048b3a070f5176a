"""A trial beside a service: which list a user is served, the log of it, and the end of variants that do harm.

In: requests with a user and a list's id. Out: lists of the user's variant; what they were chosen from is in the store before they are returned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from penchant.core.logs import logger
from penchant.core.messages import packed
from penchant.recommender.exploration import ServedPlaces
from penchant.recommender.lists import ListRequest, RecommendationList
from penchant.recommender.recommender import Recommender
from penchant.service.moment_log import MomentLog
from penchant.service.security import Secret
from penchant.service.served_lists import Exposure, ServedList, ServedListLog
from penchant.service.snapshot import ServingSnapshot
from penchant.service.store import Event, Store, now
from penchant.service.trial import TrialConfig, check_same_catalog, with_variant
from penchant.service.trial_results import TrialResults, broken_guardrails, trial_results
from penchant.service.user_cache import UserState
from penchant.service.user_states import UserStates


class RunningTrial:
    """The trial of one service.

    Args:
        config: Exploration, variants, metrics.
        store: Holds the log and the ended variants.
        secret: Assigns users.
        served: The served bundle, of whose catalog every variant's bundle must be.

    Raises:
        ConfigError: A variant's bundle is of another catalog.
        ArtifactError: A variant's bundle is missing or altered.
    """

    def __init__(self, config: TrialConfig, store: Store, secret: Secret, served: Recommender) -> None:
        self.config, self.log = config, ServedListLog(store, secret.subject)
        self._store, self._secret = store, secret
        self._bundles: dict[str, Recommender] = {}
        self._moments: dict[str, MomentLog] = {}
        for name, variant in config.variants.items():
            if variant.bundle is not None:
                found = Recommender.load(variant.bundle).warmed_up()
                check_same_catalog(set(served.catalog.item_ids), set(found.catalog.item_ids), f"variants.{name}.bundle")
                self._bundles[name] = found
                self._moments[name] = MomentLog(store, secret)
        self._ended = self.log.ended(config.name)
        self._counting = threading.Lock()
        self._counted: tuple[float, TrialResults | None] = (-np.inf, None)

    def variant_of(self, user_id: str) -> str:
        """Return a user's variant; the first one where their own was ended."""
        name = self.config.assigned(self._secret.share(self.config.name, user_id))
        return self.config.names[0] if name in self._ended else name

    def request(
        self, asked: ListRequest, state: UserState, snapshot: ServingSnapshot, states: UserStates
    ) -> tuple[Recommender, ListRequest]:
        """Return the request as the user's variant answers it, and which recommender that is."""
        assert asked.user_id is not None
        name = self.variant_of(asked.user_id)
        options = with_variant(asked.options, self.config.variant(name))
        found = replace(asked, options=options, exploration=self.config.exploration_of(name))
        other = self._bundles.get(name)
        if other is None:
            return snapshot.recommender, found
        history = states.history(asked.user_id, replace(snapshot, recommender=other))
        return other, replace(found, history=history, scores=None)

    def recommend_many(
        self, requests: Sequence[tuple[Recommender, ListRequest]], snapshot: ServingSnapshot, at: int
    ) -> list[RecommendationList | Exception]:
        """Return the list of each request, or the error in it; lists with an id are logged first.

        Args:
            requests: With the recommender that answers.
            snapshot: For what may be shown.
            at: When the users' data was read.
        """
        answers: list[RecommendationList | Exception | None] = [None] * len(requests)
        lists: list[ServedList] = []
        for recommender in {id(one): one for one, _ in requests}.values():
            places = [n for n, (one, _) in enumerate(requests) if one is recommender]
            own = [requests[n][1] for n in places]

            def keep(request: ListRequest, chosen: ServedPlaces, mark: str = recommender.mark) -> None:
                assert request.user_id is not None
                variant = self.variant_of(request.user_id)
                lists.append(ServedList(request.user_id, request.list_id, at, mark, variant, chosen))

            available = snapshot.available
            if recommender is not snapshot.recommender:
                available = _available(recommender, snapshot)
            found = recommender.recommend_many(own, available, served=keep)
            for n, answer in zip(places, found, strict=True):
                answers[n] = answer
        self.log.add(lists, self.config.name)
        return [answer for answer in answers if answer is not None]

    def step(self) -> None:
        """Let the variants' bundles know what all users did, count the metrics, end what a guardrail ends, and bound the log."""
        for name, moment in self._moments.items():
            bundle = self._bundles[name]
            if bundle.reads_log:
                self._bundles[name] = bundle.observed(moment.newest(bundle))
        if time.monotonic() - self._counted[0] < self.config.check_seconds:
            return
        results = self.results(renew=True)
        for name, reason in broken_guardrails(self.config, results).items():
            if self.log.end(self.config.name, name, now(), packed(reason)):
                logger.warning("the variant %s ends: %s", name, reason)
        self._ended = self.log.ended(self.config.name)
        self.log.trim(self.config.max_lists)

    def results(self, *, renew: bool = False) -> TrialResults:
        """Return the state of the trial, at most `check_seconds` old."""
        with self._counting:
            counted_at, found = self._counted
            if found is None or renew or time.monotonic() - counted_at > self.config.check_seconds:
                found = read_results(self.config, self.log, self._store)
                self._counted = (time.monotonic(), found)
            return found


def read_results(config: TrialConfig, log: ServedListLog, store: Store) -> TrialResults:
    """Return the state of a trial as the store has it now."""
    exposures: Sequence[Exposure] = log.exposures(config.name)
    events: Mapping[str, Sequence[Event]] = store.events_of([one.user_id for one in exposures])
    return trial_results(config, exposures, events, log.ended(config.name), now())


def _available(recommender: Recommender, snapshot: ServingSnapshot) -> Bool[np.ndarray, " items"]:
    """Return whether an item of a variant's bundle may be shown: withdrawn items may not."""
    ids = snapshot.recommender.lookup.items.ids
    withdrawn = [ids[row] for row in np.flatnonzero(~snapshot.available)]
    lookup = recommender.lookup
    return ~lookup.mask(lookup.rows(withdrawn))
