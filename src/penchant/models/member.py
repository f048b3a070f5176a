"""The contract of a member: histories in, scores out.

In: `Histories` and `Content` to learn from. Out: a score for every item, for any history, seen in training or not.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, cast

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt64

from penchant.core.config import Settings, SettingsT_co
from penchant.core.errors import ConfigError
from penchant.core.schema import Content, Histories, Recommendations
from penchant.models import MODELS
from penchant.models.compact import CompactConfig
from penchant.models.event_log import EventLog
from penchant.models.user_sums import UserSums

if TYPE_CHECKING:
    from penchant.models.item_scores import ItemScorer, MakeNearest

MemberTables = Mapping[str, Mapping[str, Any]]
Contributions = tuple[Float32[np.ndarray, " items"], Float32[np.ndarray, "events items"]]
"""One user's scores as a prior and one row for each past event; they sum to the score."""
ContributionsTo = tuple[Contributions, Float64[np.ndarray, " rows"]]
"""The columns of `Contributions` of some items, and the mean of each row over the whole catalog, the prior's first."""
Removal = Literal["stated", "mean", "increase"]
"""What a contribution says of the score without the event, all else (ages, length, spread of the scores) held fixed. stated: it falls by just this
much. mean: it does while the event keeps its share of a mean; without it, the others' shares grow. increase: the contribution is what the score
rose by when the event came, and what a removal costs depends on the later events."""


def make_member(name: str, table: Mapping[str, Any]) -> Member:
    """Return the unfitted member that a `[members.NAME]` table names.

    Raises:
        ConfigError: The table names no model, an unknown one, or an unknown setting.
    """
    member: Member = MODELS.make(name, table, where=f"members.{name}")
    return member


def prior_to(
    prior: Float32[np.ndarray, " items"], history: Histories, items: Int64[np.ndarray, " chosen"]
) -> ContributionsTo:
    """Return the `contributions_to` of a member whose score does not depend on the user's events."""
    means = np.zeros(1 + history.num_events)
    means[0] = prior.mean(dtype=np.float64)
    return (prior[items], np.zeros((history.num_events, len(items)), np.float32)), means


class Member(ABC, Generic[SettingsT_co]):
    """Base class of ensemble members.

    A member never sees a user id, so an unseen user is scored from their history. A member that reads content scores items
    without events. `arrays` and `restore` are its whole state: no pickle.

    Args:
        config: Its settings, as an object.
        name: Name in reports; one model may be in an ensemble more than once.
        settings: Its settings by name, in place of `config`: `EASE(regularisation=200)`.

    Raises:
        ConfigError: A setting does not exist or is outside its range, or settings are given in both ways.
    """

    config_class: ClassVar[type[Settings]]
    additive: ClassVar[bool] = True
    """Whether a score is exactly a prior plus one term per past event."""
    learns_from_behaviour: ClassVar[bool] = True
    """Whether fitting reads the events of users; False for members that compare content alone."""
    stands_without_content: ClassVar[bool] = False
    """Whether it can be fitted without any of the content it could read."""
    needs_every_channel: ClassVar[bool] = False
    """Whether it can be fitted only with all the channels it would read, as a member that compares two channels."""
    standardised: ClassVar[bool] = True
    """Whether the ensemble reads z-scores; False takes the scores as they are."""
    reading: ClassVar[frozenset[str]] = frozenset()
    """Settings that only scoring reads: members that differ in these alone are fitted once (`reread`)."""
    removal: Removal = "stated"
    """What its contributions say of a removal; explanations show it where it is not "stated"."""
    is_costly: ClassVar[bool] = False
    """Whether fitting takes minutes: such a member is fitted again for ablation arms only if the settings ask for it."""
    checkpoint: Path | None = None
    """Folder of the checkpoint from which an interrupted fit resumes; None keeps none."""
    report: Callable[[int, float], None] | None = None
    """Called with each epoch and its held-out score by members that learn in epochs; may raise to end the fit."""

    def __init__(self, config: SettingsT_co | None = None, *, name: str = "", **settings: Any) -> None:
        where = type(self).__name__
        if config is not None and settings:
            raise ConfigError(
                f"{where} has a settings object and the setting {next(iter(settings))!r}.",
                where=f"{where}(...)",
                fix="give one of the two",
            )
        read = self.config_class.read(settings, where=where) if config is None else config
        self.config: SettingsT_co = cast(SettingsT_co, read)
        self.name = name or type(self).__name__.lower()

    @property
    def batch_parts(self) -> int:
        """Nodes that can fit it together."""
        return 1

    def channels(self, content: Content) -> tuple[str, ...]:
        """Return the content channels it would read; () if it learns from behaviour alone."""
        return ()

    def parts(self) -> Mapping[str, Member]:
        """Return the members it holds, by name; unfitted before `fit`. None by default."""
        return {}

    def with_parts(self, parts: Mapping[str, Member]) -> Self:
        """Return an unfitted copy that holds these fitted members, so that its `fit` does not fit them again.

        A member that holds others overrides it together with `parts`, which names them.
        """
        if parts:
            raise NotImplementedError(f"{type(self).__name__} holds no members")
        return self

    def user_sums(self, train: Histories) -> UserSums:
        """Return the sums over users that `fit` takes from `computed_once` or `known`, so that shards of users can be summed up on nodes before.

        None by default: `fit` reads the events itself.

        Args:
            train: What it will be fitted on.
        """
        return {}

    @abstractmethod
    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        """Learn from every event of `train`, and from content aligned with the same item rows."""

    def refit(self, train: Histories, content: Content, before: Member) -> Self:
        """Learn from more events of the same catalog, given the same member fitted on fewer; by default from scratch."""
        return self.fit(train, content)

    def reread(self, other: Self) -> Self:
        """Return `other`, an unfitted member that differs from this one in `reading` settings alone, with what this one learned."""
        fitted = copy.copy(self)
        fitted.config, fitted.name = other.config, other.name
        return fitted

    @abstractmethod
    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        """Return a score for every item; only the order within one user is meaningful."""

    def recommend(
        self,
        histories: Histories,
        k: int = 10,
        *,
        candidates: Bool[np.ndarray, " items"] | None = None,
        tie_order: UInt64[np.ndarray, " items"] | None = None,
    ) -> Recommendations:
        """Return the k best items of each user that are not in their history; `.table(item_ids)` is a data frame.

        Memory: one score of every user for every item; give large data in `histories.batches(1000)`.

        Args:
            histories: The users to recommend to; they need not be those it was fitted on.
            k: Length of the lists.
            candidates: Rank only among these items; None ranks the whole catalog.
            tie_order: Of equal scores the item with the smaller number is listed first; None: see `top_k`.
        """
        from penchant.models.ensemble import block, top_k

        scores = self.score(histories)
        block(scores, histories, candidates)
        return top_k(scores, k, histories.user_ids, tie_order)

    def item_scorer(self, num_items: int, make_nearest: MakeNearest) -> ItemScorer | None:
        """Return what scores chosen items of one user without scoring the catalog, or None, the default, where that cannot be done exactly.

        It names candidates, and gives the scores of `score` with the mean and spread over the whole catalog, up to float32 rounding;
        `contributions_to` gives their contributions. Large catalogs are served by it (`recommender/candidates.py`).

        Args:
            num_items: Rows of the catalog.
            make_nearest: Makes the index in which rows with a large product with a user's vector are found.
        """
        return None

    def contributions(self, history: Histories) -> Contributions:
        """Split one user's scores into a prior and one row for each past event; they sum to `score`.

        Args:
            history: Exactly one user.
        """
        raise NotImplementedError(f"{type(self).__name__} is not additive")

    def contributions_to(self, history: Histories, items: Int64[np.ndarray, " chosen"]) -> ContributionsTo:
        """Return those of `contributions` for some items, with the means that a z-score takes off them.

        By default cut from the rows over the whole catalog. A subclass that can do with less overrides it: explanations and reasons ask
        for one item or ten.

        Args:
            history: Exactly one user.
            items: The items in question.
        """
        prior, events = self.contributions(history)
        means = np.append(prior.mean(dtype=np.float64), events.mean(1, dtype=np.float64))
        return (prior[items], events[:, items]), means

    def observed(self, log: EventLog) -> Member:
        """Return a member that knows these events of all users, without being fitted again; this one stays as it is.

        By default the member itself: only members that count events as of a moment read them, and one that holds such members passes them on.

        Args:
            log: Every event known so far, those it was fitted on included, over the catalog it scores.
        """
        return self

    def trained_encoders(self) -> dict[str, Any]:
        """Return the encoders (`TunedEncoder`) by channel that this member or its parts trained further: they prepare the content of new items."""
        return {name: e for part in self.parts().values() for name, e in part.trained_encoders().items()}

    def add_items(self, content: Content, new: range) -> Member:
        """Return a member that also scores items appended to the catalog; this one stays as it is.

        The scores of fitted items keep their order for every user. Large arrays may be shared with this member. A subclass that
        reads content overrides this and scores new items by their content. By default a new item gets the user's mean score over
        the fitted items, a z-score of 0, and events on it have no effect.

        Args:
            content: Channels over the grown catalog.
            new: Catalog rows of the new items: from the number of items this member scores to the grown catalog's size.
        """
        return FittedItems(self, new.start)

    def compressed(self, config: CompactConfig) -> Member:
        """Return a smaller member whose scores are nearly the same; this one stays as it is.

        By default the member itself: it has nothing that can be made smaller. What `arrays` of the smaller one returns, `restore` of an
        unfitted member reads.
        """
        return self

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything learned, by name, for safetensors."""

    @abstractmethod
    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        """Restore the state that `arrays` returned; scores are then equal bit for bit."""


class FittedItems(Member):
    """A member in a catalog that has grown: it scores the items it was fitted on, and every other item by their mean.

    Scores are additive where the member's are.

    Args:
        member: The fitted member.
        fitted: Number of items it scores; they come first in the catalog.
    """

    SIZE: ClassVar[str] = "fitted_items"
    """The name under which `arrays` keeps the number of fitted items."""

    def __init__(self, member: Member, fitted: int) -> None:
        super().__init__(member.config, name=member.name)
        self.member, self.fitted = member, fitted
        self.removal = member.removal

    def channels(self, content: Content) -> tuple[str, ...]:
        return self.member.channels(content)

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        raise NotImplementedError("fit the member itself on the grown catalog")

    def observed(self, log: EventLog) -> Member:
        member = self.member.observed(log.within(self.fitted))
        return self if member is self.member else FittedItems(member, self.fitted)

    def add_items(self, content: Content, new: range) -> Member:
        return self

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        return self._padded(self.member.score(self._fitted_part(histories)), histories.num_items)

    def contributions(self, history: Histories) -> Contributions:
        prior, rows = self.member.contributions(self._fitted_part(history))
        events = np.zeros((history.num_events, history.num_items), np.float32)
        events[history.item_index < self.fitted] = self._padded(rows, history.num_items)
        return self._padded(prior[None], history.num_items)[0], events

    def contributions_to(self, history: Histories, items: Int64[np.ndarray, " chosen"]) -> ContributionsTo:
        is_fitted = items < self.fitted
        found, known = self.member.contributions_to(self._fitted_part(history), np.where(is_fitted, items, 0))
        means = np.zeros(1 + history.num_events)
        means[np.append(True, history.item_index < self.fitted)] = known
        events = np.zeros((history.num_events, len(items)), np.float32)
        events[history.item_index < self.fitted] = found[1]
        both = np.where(is_fitted, np.vstack([found[0], events]), means[:, None]).astype(np.float32)
        return (both[0], both[1:]), means

    def arrays(self) -> dict[str, np.ndarray]:
        return {**self.member.arrays(), self.SIZE: np.array([self.fitted])}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.fitted = int(arrays[self.SIZE][0])
        self.member.restore({name: array for name, array in arrays.items() if name != self.SIZE})
        return self

    def _fitted_part(self, histories: Histories) -> Histories:
        return replace(histories.where(histories.item_index < self.fitted), num_items=self.fitted)

    def _padded(self, scores: Float32[np.ndarray, "rows fitted"], num_items: int) -> Float32[np.ndarray, "rows items"]:
        mean = scores.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
        return np.concatenate([scores, np.repeat(mean, num_items - self.fitted, axis=1)], axis=1)


def restored(member: Member, arrays: dict[str, np.ndarray]) -> Member:
    """Return an unfitted member with the state of one of its kind, of a catalog that has grown too."""
    return (FittedItems(member, 0) if FittedItems.SIZE in arrays else member).restore(arrays)
