"""The trained recommender: one object that loads, scores, recommends, explains, profiles, searches and takes in new items.

In: what a run fitted, or its bundle on disk. Out: answers. Python, the command line, the batch job, the service and the studio use it; it
is immutable: methods that add items or leave users out return another one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Int64

from penchant.core.errors import ArtifactError
from penchant.core.schema import Catalog, Content, Embeddings, Histories, OwnContent
from penchant.data.histories import Event
from penchant.data.media import MediaLimits
from penchant.encoders.user_content import OwnContentReader
from penchant.explanation.attribution import Explanation, Method
from penchant.explanation.counterfactual import MAX_SETS, Counterfactual
from penchant.explanation.profile import Profile, ProfileBuilder, item_weight
from penchant.explanation.reasons import Reason
from penchant.explanation.topics import Topics
from penchant.explanation.written_profile import ProfileWriter
from penchant.fusion.fusion import make_fusion
from penchant.language.engine import Engine
from penchant.language.screen import Screen, word_screen
from penchant.models.ensemble import Ensemble, EnsembleScores, UserScores
from penchant.models.event_log import EMPTY, EventLog
from penchant.recommender import batch
from penchant.recommender.candidates import Shortlist
from penchant.recommender.explainer import Explainer
from penchant.recommender.exploration import ServedPlaces
from penchant.recommender.list_builder import ListBuilder
from penchant.recommender.lists import Edit, ListRequest, RankingOptions, RecommendationList
from penchant.recommender.lookup import CatalogLookup
from penchant.recommender.new_items import ChannelEncoders, NewItem, grow
from penchant.recommender.persistence import read_bundle, write_bundle
from penchant.recommender.search import ItemSearch, SearchResults
from penchant.recommender.user_histories import UserHistories
from penchant.reporting.written import WrittenReport

if TYPE_CHECKING:
    from penchant.explanation.network_attribution import NetworkAttribution
    from penchant.explanation.stand_in import StandIn
    from penchant.recommender.fairness import Fairness
    from penchant.reporting.heat import Heat

CATALOG_VALUES = frozenset({"lookup", "fuse", "_user_histories", "_profiler"})
"""Cached values of a recommender that do not depend on its members."""
BEST = 10
"""Recommendations whose reasons give a profile's channel shares."""


@dataclass(frozen=True, repr=False)
class Recommender:
    """Everything a trained recommender needs to answer.

    Attributes:
        catalog: Items.
        histories: The events of every user.
        ensemble: Members and weights.
        tables: The settings of each member.
        topics: Content groups.
        facts: Of the manifest: run, seed, settings, versions.
        folder: Its bundle on disk; None before it was written.
        content: The channels the members read; empty where the bundle was written without.
        fitted: The events the members learned from; None where the bundle was written without.
        mark: Fingerprint of the bundle's manifest; equal for every process that answers from the same bundle, "" before it was written.
        added: Ids of items added after the bundle was written.
        encoders: Frozen encoders of the channels, loaded when first needed.
    """

    catalog: Catalog
    histories: Histories
    ensemble: Ensemble
    tables: Mapping[str, Mapping[str, Any]]
    topics: Topics
    facts: Mapping[str, Any]
    folder: Path | None = None
    content: Content = field(default_factory=Content)
    fitted: Histories | None = None
    mark: str = ""
    added: frozenset[str] = frozenset()
    encoders: ChannelEncoders = field(default_factory=ChannelEncoders, compare=False)

    @classmethod
    def load(cls, folder: str | Path) -> Recommender:
        """Return the recommender of a bundle; its scores equal those of the run that wrote it.

        Raises:
            ArtifactError: The bundle is missing, half-written or altered.
        """
        return cls(**read_bundle(Path(folder)))

    def save(self, folder: Path, *, report: Path | None = None) -> Recommender:
        """Write the bundle in one step, a report beside it, and return what `load` gives."""
        write_bundle(self, folder, report=report)
        return self.load(folder)

    @property
    def report(self) -> WrittenReport:
        """What the run measured.

        Raises:
            ArtifactError: It has no report.
        """
        return WrittenReport.beside(self.folder)

    def __repr__(self) -> str:
        name = self.facts.get("name", "")
        return f"Recommender({name!r}: {len(self.histories):,} users, {len(self.catalog):,} items, {', '.join(self.ensemble.members)})"

    def _repr_html_(self) -> str:
        try:
            return self.report._repr_html_()
        except ArtifactError:
            return f"<p>{escape(repr(self))}</p>"

    def warmed_up(self) -> Recommender:
        """Return the same with all cached values computed, so that no request waits for them."""
        for _ in (self.lookup.facets, self.lookup.numbers, self.lookup.titles, self.finder, self.own_content.mark):
            pass
        if len(self.histories):
            self.profile(self.histories.rows(0, 1))
        return self

    @cached_property
    def lookup(self) -> CatalogLookup:
        return CatalogLookup(self.catalog, self.topics)

    @cached_property
    def _user_histories(self) -> UserHistories:
        return UserHistories(self.histories, self.lookup, self.facts, self.encoders)

    @property
    def users(self) -> dict[str, int]:
        """User to row of `histories`."""
        return self._user_histories.rows

    @property
    def own_content(self) -> OwnContentReader:
        """Encoder of what users write, show, say and tell of themselves after the bundle was written."""
        return self._user_histories.own_content

    @cached_property
    def finder(self) -> ItemSearch:
        """Search among the items."""
        return ItemSearch(self.lookup, self.content, self.facts, self.encoders, self.score)

    @cached_property
    def shortlist(self) -> Shortlist:
        """Candidates of lists, for large catalogs; see `recommender/candidates.py`."""
        fitted = self.histories if self.fitted is None else self.fitted
        return Shortlist(self.ensemble, fitted, self.histories, len(self.catalog))

    @property
    def is_index_due(self) -> bool:
        """Whether `build_indexes` has something to do."""
        return self.finder.is_due or self.shortlist.is_due

    def build_indexes(self) -> None:
        """Build what searches and lists of a large catalog need to be fast, on half of the cores; until then every item is compared and scored."""
        self.finder.build()
        self.shortlist.build(max(1, (os.cpu_count() or 1) // 2))

    @cached_property
    def fuse(self) -> Callable[[Mapping[str, Embeddings]], Embeddings | None]:
        """The fusion of the channels, learned from this catalog once, for the catalog with more items."""
        return make_fusion(self.facts["fusion"], where="the bundle's facts").fitted(self.content.channels)

    @cached_property
    def _profiler(self) -> ProfileBuilder:
        return ProfileBuilder(self.catalog, item_weight(self.histories), self.topics)

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.ensemble, self.lookup, self.content, self.shortlist)

    @cached_property
    def _list_builder(self) -> ListBuilder:
        return ListBuilder(
            self.ensemble, self.lookup, self.content, self._user_histories, self.shortlist, self._explainer, self.mark
        )

    # histories

    def history(
        self,
        user_id: str,
        events: Sequence[Event] | None = None,
        *,
        use_own: bool = True,
        about: OwnContent | None = None,
    ) -> Histories:
        """Return one user's events, oldest first: those of the bundle, and those that came since.

        Args:
            user_id: The user.
            events: Events that came since, in the order received; the user may then be unknown. See `data/histories.py` for how they count.
                Their content counts as far as it has vectors (`own_content.read`).
            use_own: Whether to read the bundle's own events and content; not after an erasure.
            about: What the user told of themself since, with vectors; attributes it does not name stay as the bundle has them.

        Raises:
            NotFoundError: No events are given, and the user is unknown.
        """
        return self._user_histories.of(user_id, events, use_own=use_own, about=about)

    def history_of(self, item_ids: Sequence[str], user_id: str = "new user") -> Histories:
        """Return the history of a user who is not in the bundle, oldest item first.

        Raises:
            NotFoundError: An item is unknown.
        """
        return self._user_histories.of_items(item_ids, user_id)

    def repeat_weights(self, kinds: Sequence[str]) -> frozenset[float]:
        """Return the weights of these kinds of event, by which a history tells them apart; an unknown kind weighs 1."""
        return self._user_histories.repeat_weights(kinds)

    def without(self, user_ids: Collection[str]) -> Recommender:
        """Return the same without the histories of some users; what the members learned stays as it is."""
        fitted = None if self.fitted is None else _without(self.fitted, user_ids)
        return replace(self, histories=_without(self.histories, user_ids), fitted=fitted)

    @property
    def reads_log(self) -> bool:
        """Whether a member counts what all users did; `observed` then gives it newer events."""
        return self.ensemble.observed(EMPTY) is not self.ensemble

    def observed(self, log: EventLog) -> Recommender:
        """Return the same with members that know these events of all users (`Member.observed`); itself if no member reads them.

        What was computed for the catalog is kept: nothing of it depends on the events.
        """
        ensemble = self.ensemble.observed(log)
        if ensemble is self.ensemble:
            return self
        observed = replace(self, ensemble=ensemble)
        kept = {name: value for name, value in vars(self).items() if name in CATALOG_VALUES}
        vars(observed).update(kept)
        if "finder" in vars(self):
            vars(observed)["finder"] = self.finder.scored_by(observed.score)
        if "shortlist" in vars(self):
            vars(observed)["shortlist"] = self.shortlist.observed(ensemble)
        return observed

    # answers

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        """Return a score of every user for every item; a user's scores do not depend on the other users of the call."""
        return self.ensemble.score(histories)

    def scored(self, histories: Histories) -> EnsembleScores:
        """Return the same with what `explain` can take over of their computation."""
        return self.ensemble.scored(histories)

    def recommend(
        self,
        user: str | Histories,
        k: int | None = None,
        *,
        reasons: bool = True,
        options: RankingOptions | None = None,
        edits: Sequence[Edit] = (),
        **filters: Any,
    ) -> RecommendationList:
        """Return the best items of one user.

        Args:
            user: A user's id, or a history.
            k: How many; None takes the number of `options`, 10.
            reasons: Whether to add reasons by past event.
            options: Filters, boosts, diversity; None ranks every item that is not in the history.
            edits: The user's own, such as "less of this genre".
            filters: Options by name, in place of `options` or beside it: `where=["genres:Comedy"]`, `at_most=["price:20"]`, `diversity=0.3`.

        Raises:
            NotFoundError: The user, or an attribute the options name, is unknown.
            ConfigError: A filter does not exist or has no valid value.
        """
        history, options = self._history(user), _with_filters(options, filters)
        options = options.model_copy(update={"k": options.k if k is None else k, "reasons": reasons})
        (answer,) = self.recommend_many([ListRequest(options, history.user_ids[0], history, edits)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def recommend_many(
        self,
        requests: Sequence[ListRequest],
        available: Bool[np.ndarray, " items"] | None = None,
        *,
        served: Callable[[ListRequest, ServedPlaces], None] = lambda _request, _places: None,
    ) -> list[RecommendationList | Exception]:
        """Return the list of each request, or the error in it: one request's options never fail another.

        Missing scores are computed in one pass.

        Args:
            requests: Users or histories with options.
            available: Whether an item may be shown; None allows all.
            served: Is told what each list with `exploration` was chosen from.
        """
        return self._list_builder.build(requests, self._shown(available), served)

    def recommend_table(
        self,
        users: Sequence[str | Histories] | None = None,
        k: int = 10,
        *,
        reasons: bool = False,
        options: RankingOptions | None = None,
        **filters: Any,
    ) -> pl.DataFrame:
        """Return the lists of many users as one data frame: `user_id`, `rank` (1 is best), `item_id`, `title`, `score`, and `why` with reasons.

        Its `to_pandas()` and `to_arrow()` are other libraries' tables. All lists are in memory; `recommend_all` writes a file instead.

        Args:
            users: Ids, or histories of one user each; None takes everybody.
            k: Length of a list.
            reasons: Whether to add reasons; costs some milliseconds a user.
            options: As in `recommend`.
            filters: As in `recommend`.

        Raises:
            NotFoundError: A user, or an attribute the options name, is unknown.
            ConfigError: A filter does not exist or has no valid value.
        """
        asked = self.histories.user_ids if users is None else users
        chosen = _with_filters(options, filters).model_copy(update={"k": k, "reasons": reasons})
        return batch.recommend_table(asked, self._history, self.recommend_many, chosen, len(self.catalog))

    def recommend_all(self, path: Path, k: int = 10) -> int:
        """Write the k best items of every user to a Parquet file; see `recommender/batch.py`."""
        return batch.recommend_all(self.ensemble, self.histories, self.catalog.item_ids, path, k)

    def reasons(self, user: str | Histories, item_index: Int64[np.ndarray, " chosen"]) -> list[Reason]:
        """Return, for each item, the past items with the largest contributions."""
        return self._explainer.reasons(self._history(user), item_index)

    def explain(self, user: str | Histories, item_id: str, *, scores: UserScores | None = None) -> Explanation:
        """Return the exact contributions to one score; they sum to it.

        Args:
            user: A user's id, or a history.
            item_id: The item.
            scores: Of this very history, by `scored`; without them the whole catalog is scored.

        Raises:
            NotFoundError: The user or the item is unknown.
        """
        return self._explainer.explain(self._history(user), self.lookup.row(item_id), scores)

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks over histories, which `attribute` explains."""
        return self._explainer.networks

    def attribute(
        self,
        user: str | Histories,
        item_id: str,
        member: str | None = None,
        method: Method = "integrated_gradients",
    ) -> NetworkAttribution:
        """Return which past events, and which modality of them, one network's score comes from; it says where it fails its own checks.

        Other members need none: `explain` states their parts exactly.

        Args:
            user: A user's id, or a history.
            item_id: The item.
            member: A network over histories; None takes the first.
            method: "integrated_gradients" or "occlusion".

        Raises:
            NotFoundError: The user, the item or the network is unknown.
            ConfigError: There is no such method.
            MissingExtraError: captum is not installed.
        """
        network = self._explainer.network(member)
        return self._explainer.attribute(network, self._history(user), self.lookup.row(item_id), method)

    def fairness(
        self, k: int = 10, *, provider: str | None = None, value: str | None = None, users: int = 1000, seed: int = 0
    ) -> Fairness:
        """Return whom the lists favour: exposure of items and providers, popularity amplification, miscalibration.

        Args:
            k: Length of the lists.
            provider: An attribute of the items that names who offers them; None measures no providers.
            value: An attribute whose mix a list should keep, such as genres; None measures none.
            users: How many, drawn at random.
            seed: Of the draw.

        Raises:
            NotFoundError: There is no such attribute.
            DataError: No user has a history.
        """
        from penchant.recommender.fairness import fairness

        return fairness(self, k, provider, value, users=users, seed=seed)

    def stand_in(self, *, users: int = 300, seed: int = 0) -> StandIn:
        """Return a decision tree and rules over readable attributes that give nearly these scores, and how nearly.

        Args:
            users: How many it is fitted to and tested on.
            seed: Of their draw.

        Raises:
            DataError: There are too few users, or too many items.
        """
        from penchant.recommender.stand_in import stand_in

        return stand_in(self, users=users, seed=seed)

    def heat(
        self,
        item_id: str,
        channel: str,
        user: str | Histories | None = None,
        *,
        limits: MediaLimits | None = None,
    ) -> Heat:
        """Return which places of a picture, words of a text or moments of a sound add to the score of an item for a user.

        Without a user: what makes the item like its nearest items in the channel. The heat states whether it passes its own check.

        Args:
            item_id: An item of the catalog.
            channel: A channel of a frozen encoder, such as "image".
            user: A user's id, or a history.
            limits: Of media files.

        Raises:
            NotFoundError: The user, the item or the channel is unknown, or the item has no such content.
            MediaError: The file cannot be decoded.
        """
        from penchant.recommender.heat import item_heat  # the encoders are slow to import

        history = None if user is None else self._history(user)
        return item_heat(self, item_id, channel, history, limits or MediaLimits())

    @property
    def heat_channels(self) -> tuple[str, ...]:
        """Names of the channels over whose content `heat` can be drawn."""
        from penchant.recommender.heat import heat_channels

        return tuple(heat_channels(self))

    def counterfactual(
        self,
        user: str | Histories,
        item_id: str,
        k: int = 10,
        *,
        edits: Sequence[Edit] = (),
        max_sets: int = MAX_SETS,
        available: Bool[np.ndarray, " items"] | None = None,
    ) -> Counterfactual:
        """Return what would have to be different for an item to leave the user's list of k, or to enter it; ranked again to be sure.

        An item in the list: the smallest set of past events without which it is not there. The items of these events stay out of the list
        themselves, since otherwise their return could push the item out. An item outside: the smallest single edit, more or less of one
        value, that brings it in. Costs up to `max_sets` scorings of a history.

        Args:
            user: A user's id, or a history.
            item_id: The item.
            k: Length of the list; it has no filters and no diversity.
            edits: The user's own, which stay in force.
            max_sets: Sets of events tried at most.
            available: Whether an item may be listed; None allows all.

        Raises:
            NotFoundError: The user or the item is unknown.
        """
        return self._explainer.counterfactual(self._history(user), item_id, k, edits, max_sets, available)

    def profile(
        self,
        user: str | Histories,
        *,
        scores: UserScores | None = None,
        limit: int = 12,
    ) -> Profile:
        """Return the interests of one user, and the channel shares of the reasons for their best ten items.

        Args:
            user: A user's id, or a history.
            scores: Of this very history, by `scored`; without them every item is scored.
            limit: Most interests.
        """
        history = self._history(user)
        shares = self._list_builder.best(history, BEST, scores).channel_shares()
        return self._profiler.profile(history, modalities=shares, limit=limit)

    def profile_writer(
        self, language: str = "en", engine: Engine | None = None, screen: Screen | None = None
    ) -> ProfileWriter:
        """Return what writes profiles in words; see `explanation/written_profile.py`.

        Args:
            language: Of the words, "en" or "zh".
            engine: A language model; None takes fixed sentences.
            screen: Keeps abuse from being shown; None takes the list of words that comes with Penchant.

        Raises:
            ConfigError: There is no such language.
        """
        shown = word_screen() if screen is None else screen
        return ProfileWriter(self.topics, self.lookup.names, language=language, engine=engine, screen=shown)

    # items

    def similar(
        self, item_id: str, k: int = 10, *, by: str | None = None, available: Bool[np.ndarray, " items"] | None = None
    ) -> SearchResults:
        """Return the items most like one; `by` names a channel, "fused" or "behaviour".

        Raises:
            NotFoundError: The item is unknown.
            ConfigError: The channel is unknown.
        """
        return self.finder.similar(item_id, k, by, self._shown(available))

    def search(self, words: str, k: int = 10, *, available: Bool[np.ndarray, " items"] | None = None) -> SearchResults:
        """Return the items nearest to words."""
        return self.finder.by_words(words, k, self._shown(available))

    def search_media(
        self,
        modality: str,
        file: Path,
        k: int = 10,
        *,
        limits: MediaLimits | None = None,
        available: Bool[np.ndarray, " items"] | None = None,
    ) -> SearchResults:
        """Return the items nearest to a file of modality "image" or "audio".

        Raises:
            NotFoundError: The bundle has no channel of this modality that can encode a file.
            MediaError: The file cannot be decoded.
        """
        return self.finder.by_media(modality, file, limits or MediaLimits(), k, self._shown(available))

    def add_items(self, items: Sequence[NewItem]) -> Recommender:
        """Return the same with more items; items already in the catalog get their new columns."""
        new = {item.item_id for item in items if item.item_id not in self.lookup.items}
        return replace(grow(self, items), added=self.added | new)

    def _history(self, user: str | Histories) -> Histories:
        return self.history(user) if isinstance(user, str) else user

    def _shown(self, available: Bool[np.ndarray, " items"] | None) -> Bool[np.ndarray, " items"]:
        return np.ones(len(self.catalog), bool) if available is None else available


def _with_filters(options: RankingOptions | None, filters: Mapping[str, Any]) -> RankingOptions:
    """Return options with some replaced, checked.

    Raises:
        ConfigError: One does not exist or has no valid value.
    """
    given = {} if options is None else options.model_dump(exclude_unset=True)
    return RankingOptions.read({**given, **filters}, where="recommend") if filters else options or RankingOptions()


def _without(histories: Histories, user_ids: Collection[str]) -> Histories:
    gone = set(user_ids)
    return histories.take(np.flatnonzero([user not in gone for user in histories.user_ids]))
