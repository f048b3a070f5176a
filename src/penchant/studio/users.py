"""The user page.

In: a user id and the list shown before. Out: the new list with reasons and moves, interests with slider positions, the latest events, and
the map.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float32

from penchant.core.schema import Histories
from penchant.data.histories import Event
from penchant.models.ensemble import blocked_items, on_one_scale, top_k
from penchant.recommender.lists import ListRequest, RankingOptions
from penchant.recommender.lookup import ITEM, MAX_COMPARED
from penchant.recommender.ranking import asked_for
from penchant.recommender.recommender import Recommender
from penchant.service.interests import shown_profile
from penchant.service.service import Service
from penchant.service.snapshot import ServingSnapshot
from penchant.service.user_cache import UserState
from penchant.studio.cards import ItemCard, card, cards
from penchant.studio.item_map import ItemMap
from penchant.studio.steps import LEVELS, Mode, Step, copied_edits, copied_events, written_steps

LIST, RECENT = 12, 24
OFFERED = 40
"""Values of each attribute that are offered as new interests."""
MEMBER_LIST = 10
"""Items of each member's own list."""


@dataclass(frozen=True)
class ListRow:
    """One row of a list.

    Attributes:
        item: The item.
        rank: 1 is best.
        because: The past events with the largest contributions, at most two.
        is_popular: Without such events: whether popularity contributes most.
        is_pinned: Whether the user pinned it.
        asked: The user's own edits that moved it: action, name and value.
        moved: Ranks up (positive) or down since the list before; None if it was not in it, or there was none.
        is_new: Whether it was not in the list before.
    """

    item: ItemCard
    rank: int
    because: tuple[ItemCard, ...]
    is_popular: bool
    is_pinned: bool
    asked: tuple[tuple[str, str, str], ...]
    moved: int | None
    is_new: bool


@dataclass(frozen=True)
class TimelineEvent:
    """One event of the timeline.

    Attributes:
        item: Its item.
        kind: None for an event of the bundle.
        day: "" for an unknown time.
        weight: Of the event.
        at: Microseconds since 1970.
        value: A rating, seconds; None where there is none.
        is_stored: Whether it is in the store, so that it can be deleted.
        has_content: Whether something was written, shown or said in it.
    """

    item: ItemCard
    kind: str | None
    day: str
    weight: float
    at: int
    value: float | None = None
    is_stored: bool = False
    has_content: bool = False


@dataclass(frozen=True)
class UserView:
    """The contents of the user page."""

    user_id: str
    basis: str
    num_events: int
    suggested: list[ListRow]
    before: list[str]
    interests: list[dict[str, Any]]
    edits: list[dict[str, Any]]
    offers: dict[str, list[str]]
    modalities: dict[str, float]
    recent: list[TimelineEvent]
    map_rows: list[dict[str, Any]] | None
    mode: Mode
    steps: tuple[Step, ...]

    @property
    def state(self) -> str:
        """The steps as a field of the page."""
        return written_steps(self.steps)

    @property
    def num_changed(self) -> int:
        return sum(s.is_new or bool(s.moved) for s in self.suggested)


def user_view(
    service: Service,
    item_map: ItemMap | None,
    user_id: str,
    before: Sequence[str] = (),
    k: int = LIST,
    *,
    mode: Mode = "look",
    steps: Sequence[Step] = (),
) -> UserView:
    """Return the page of one user as of their last event and edit; in look-only mode, as of the steps on a copy of them.

    Args:
        service: The service.
        item_map: The map; None draws none.
        user_id: A user, with or without history.
        before: Ids of the list shown before, best first.
        k: Length of the list.
        mode: "look" changes a copy, "act" the user.
        steps: On the copy; or what was stored and can be undone.
    """
    copied = steps if mode == "look" else ()
    events = copied_events(user_id, copied)
    snapshot, state = service.states.after(user_id, events, copied_edits(copied))
    recommender = snapshot.recommender
    request = ListRequest(RankingOptions(k=k), user_id, state.history, state.edits, state.scores)
    (listed,) = recommender.recommend_many([request], snapshot.available)
    if isinstance(listed, Exception):
        raise listed
    profile = shown_profile(snapshot, state)
    known = [item for item in listed.items if item.item_id in recommender.lookup.items]
    rows = recommender.lookup.rows([item.item_id for item in known])
    reasons = recommender.reasons(state.history, rows)
    ranks_before = {item_id: rank for rank, item_id in enumerate(before, start=1)}
    suggested = [
        ListRow(
            card(recommender, int(row)),
            item.rank,
            tuple(cards(recommender, reason.items)),
            reason.is_popular,
            item.pinned,
            tuple((e.action, e.name, e.value) for e in asked_for(recommender.lookup, state.edits, int(row))),
            ranks_before[item.item_id] - item.rank if item.item_id in ranks_before else None,
            bool(ranks_before) and item.item_id not in ranks_before,
        )
        for row, item, reason in zip(rows, known, reasons, strict=True)
    ]
    return UserView(
        user_id,
        listed.basis,
        listed.events,
        suggested,
        [item.item_id for item in known],
        [_interest(recommender, interest) for interest in profile["interests"]],
        [_edit(recommender, edit) for edit in profile["edits"]],
        _offers(recommender, profile),
        profile["modalities"],
        timeline(service, recommender, state.history, events),
        None
        if item_map is None
        else map_rows(recommender, item_map, state.history, _all_scores(recommender, state), rows),
        mode,
        tuple(steps),
    )


def _all_scores(recommender: Recommender, state: UserState) -> Float32[np.ndarray, " items"]:
    """Return the scores of every item."""
    return recommender.score(state.history)[0] if state.scores is None else state.scores.values


def timeline(
    service: Service, recommender: Recommender, history: Histories, copied: Sequence[Event] = ()
) -> list[TimelineEvent]:
    """Return the latest events, newest first; the kind of an event is known only if it came to the service, or is of a copy."""
    stored = {(e.item_id, e.at): e for e in service.store.events(history.user_ids[0], limit=4 * RECENT)}
    known = stored | {(e.item_id, e.at): e for e in copied}
    found = []
    for event in range(history.num_events - 1, max(history.num_events - 1 - RECENT, -1), -1):
        item = card(recommender, int(history.item_index[event]))
        at = int(history.at[event])
        came = known.get((item.item_id, at))
        kind, value = (None, None) if came is None else (came.kind, came.value)
        has_content = came is not None and came.content is not None
        is_stored = (item.item_id, at) in stored
        weight = float(history.weight[event])
        found.append(TimelineEvent(item, kind, _day(at), weight, at, value, is_stored, has_content))
    return found


@dataclass(frozen=True)
class MemberList:
    """The list that one member alone would give.

    Attributes:
        name: The member.
        weight: In the ensemble, for this user.
        items: Best first, and whether the list of the ensemble has it too.
    """

    name: str
    weight: float
    items: tuple[tuple[ItemCard, bool], ...]


def member_lists(service: Service, user_id: str, steps: Sequence[Step] = ()) -> tuple[UserView, list[MemberList]]:
    """Return a user and the list of each member alone, the largest weight first; edits of the user move no member's list."""
    shown = user_view(service, None, user_id, steps=steps)
    snapshot, state = service.states.after(user_id, copied_events(user_id, steps), copied_edits(steps))
    recommender, history = snapshot.recommender, state.history
    final = {row.item.item_id for row in shown.suggested}
    blocked = blocked_items(history, snapshot.available)
    found = []
    for name, member in recommender.ensemble.members.items():
        scores = np.where(blocked, -np.inf, on_one_scale(member, history).values).astype(np.float32)
        ranked = top_k(scores, MEMBER_LIST, history.user_ids).item_index[0]
        items = cards(recommender, ranked[ranked >= 0])
        weight = float(recommender.ensemble.weights.of(name, history.lengths())[0])
        found.append(MemberList(name, weight, tuple((item, item.item_id in final) for item in items)))
    return shown, sorted(found, key=lambda one: -one.weight)


def map_rows(
    recommender: Recommender, item_map: ItemMap, history: Histories, scores: np.ndarray, rows: np.ndarray
) -> list[dict[str, Any]]:
    """Return the points of the map: the catalog warmed by the scores, the latest events, the list."""
    warmth = (scores - scores.mean()) / (scores.std() or 1.0)
    recent = np.unique(history.item_index[-60:])
    parts = (("catalog", item_map.shown), ("seen", recent), ("suggested", rows))
    return [
        {
            "x": round(float(item_map.points[row, 0]), 3),
            "y": round(float(item_map.points[row, 1]), 3),
            "warmth": round(float(np.clip(warmth[row], -1, 3)), 2),
            "title": recommender.lookup.titles[row],
            "role": role,
            "id": recommender.lookup.items.ids[row],
        }
        for role, chosen in parts
        for row in chosen
        if not np.isnan(item_map.points[row, 0])
    ]


def sample_users(snapshot: ServingSnapshot, count: int) -> list[tuple[str, int, list[ItemCard]]]:
    """Return an even sample of users with long histories: id, number of events, their latest items."""
    histories = snapshot.recommender.histories
    lengths = histories.lengths()
    if not len(lengths):
        return []
    long = np.flatnonzero(lengths >= max(np.median(lengths), 1))
    chosen = np.unique(long[np.linspace(0, len(long) - 1, min(count, len(long))).astype(int)])
    found = []
    for row in chosen:
        history = histories.rows(int(row), int(row) + 1)
        if not snapshot.is_erased(history.user_ids[0]):
            latest = dict.fromkeys(int(i) for i in history.item_index[::-1][:9])
            shown = sorted(cards(snapshot.recommender, latest), key=lambda c: not c.has_picture)[:3]
            found.append((history.user_ids[0], history.num_events, shown))
    return found


def find_users(service: Service, snapshot: ServingSnapshot, text: str, count: int) -> list[str]:
    """Return ids that hold a text, those that begin with it first; of users the bundle does not hold, only the exact id."""
    low = text.casefold()
    users = snapshot.recommender.users
    starting = (u for u in users if u.casefold().startswith(low))
    inside = (u for u in users if low in u.casefold() and not u.casefold().startswith(low))
    exact = [text] if text not in users and service.store.versions([text])[0] != [None] else []
    found = (*islice(starting, 4 * count), *islice(inside, count))
    return [*exact, *islice((user for user in found if not snapshot.is_erased(user)), count)]


def nearest_users(service: Service, snapshot: ServingSnapshot, user_id: str, count: int = 5) -> list[str]:
    """Return ids of known users that look like one, the likest first."""
    users = snapshot.recommender.users
    alike = difflib.get_close_matches(user_id, list(islice(users, MAX_COMPARED)), count, 0.6)
    found = dict.fromkeys([*find_users(service, snapshot, user_id, count), *alike])
    return [user for user in found if not snapshot.is_erased(user)][:count]


def _interest(recommender: Recommender, interest: Mapping[str, Any]) -> dict[str, Any]:
    """Add the slider position, whether the interest can be edited, and the length of the strength bar in percent."""
    level = next((position for position, action in LEVELS.items() if action == interest["edited"]), 0)
    is_editable = interest["name"] in recommender.lookup.facets
    reach = min(abs(interest["strength"]) / 3, 1.0)
    return {**interest, "level": level, "is_editable": is_editable, "reach": round(100 * reach)}


def _edit(recommender: Recommender, edit: Mapping[str, Any]) -> dict[str, Any]:
    is_item = edit["name"] == ITEM
    known = is_item and edit["value"] in recommender.lookup.items
    title = recommender.lookup.titles[recommender.lookup.items.index(edit["value"])] if known else edit["value"]
    return {**edit, "title": title, "is_item": is_item}


def _offers(recommender: Recommender, profile: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the offered new interests: attribute to its most frequent values that are not yet an interest."""
    taken = {(i["name"], i["value"]) for i in profile["interests"]} | {
        (e["name"], e["value"]) for e in profile["edits"]
    }
    found = {}
    for name, values in recommender.lookup.facets.items():
        frequent = sorted(values, key=lambda value: (-len(values[value]), value))
        found[name] = [value for value in frequent if (name, value) not in taken and len(value) <= 100][:OFFERED]
    return {name: values for name, values in found.items() if values}


def _day(at: int) -> str:
    """Return the day of a snapshot; the time of day is not shown."""
    try:
        return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return ""
