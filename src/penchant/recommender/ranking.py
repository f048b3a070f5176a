"""From scores to a ranked list.

In: scores of every item, the user's own edits, and ranking options. Out: rows of items, best first.

Equal scores have a fixed random order (`models/ensemble.py: top_k`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from penchant.core.errors import MAX_LISTED, NotFoundError, nearest
from penchant.core.schema import Content, Histories
from penchant.models.ensemble import tie_order_of_rows, top_k
from penchant.recommender.lists import Edit, RankingOptions
from penchant.recommender.lookup import ITEM, MAX_COMPARED, CatalogLookup
from penchant.recommender.reranking import Pool, mix_of, reranked

POOL = 10
"""A diverse list of k is chosen among so many times k candidates."""
PINNED_INTEREST = 2.0
"""A pinned interest counts as "more" of this strength."""


@dataclass(frozen=True)
class RankedList:
    """A list.

    Attributes:
        rows: Items, best first.
        scores: Theirs, with edits and boosts.
        pinned: How many stand first because they were pinned.
    """

    rows: Int64[np.ndarray, " k"]
    scores: Float32[np.ndarray, " k"]
    pinned: int = 0


@dataclass(frozen=True)
class ShownItems:
    """What a list may hold.

    Attributes:
        mask: (items,) whether an item may be ranked; pinned ones are not.
        pins: Items that stand first, in the order they were pinned.
    """

    mask: Bool[np.ndarray, " items"]
    pins: Int64[np.ndarray, " pins"]


def shown_items(
    lookup: CatalogLookup,
    history: Histories,
    edits: Sequence[Edit],
    options: RankingOptions,
    available: Bool[np.ndarray, " items"],
    repeat: Collection[float] = (),
) -> ShownItems:
    """Return the items that a list may hold; arguments as in `rank`.

    Raises:
        NotFoundError: An option names an attribute that does not exist, or `where` only values that no item has.
    """
    open_items = available & ~_never(lookup, edits)
    if options.allow:
        open_items &= lookup.mask(lookup.rows(options.allow))
    open_items[lookup.rows(options.deny)] = False
    pins = _pins(lookup, edits, open_items)[: options.k]
    open_items &= _wanted(lookup, options)
    if not options.seen:
        blocked = np.setdiff1d(history.item_index, _may_repeat(history, repeat)) if repeat else history.item_index
        open_items[blocked] = False
    open_items[pins] = False
    return ShownItems(open_items, pins)


def rank(
    lookup: CatalogLookup,
    content: Content,
    scores: Float32[np.ndarray, " scored"],
    history: Histories,
    edits: Sequence[Edit],
    options: RankingOptions,
    available: Bool[np.ndarray, " items"],
    *,
    rows: Int64[np.ndarray, " scored"] | None = None,
    shown: ShownItems | None = None,
    repeat: Collection[float] = (),
) -> RankedList:
    """Return the k best items that may be shown.

    Args:
        lookup: The catalog.
        content: For diversity.
        scores: From the ensemble.
        history: Its items are left out unless `options.seen`.
        edits: The user's own; they override everything but availability, `allow` and `deny`.
        options: Filters, boosts, groups, diversity.
        available: Items that may be shown at all.
        rows: The items that were scored, ascending, the pinned ones among them; edits and options then shift no score (`shifts_scores`). None is
            all.
        shown: From `shown_items` of the same arguments, where it was asked already.
        repeat: Weights of events after which an item may come again (`options.repeat`).

    Raises:
        NotFoundError: An option names an attribute that does not exist, or `where` only values that no item has.
    """
    shown = shown or shown_items(lookup, history, edits, options, available, repeat)
    order = tie_order_of_rows(len(lookup.items))
    if rows is None:
        rows, adjusted = np.arange(len(scores)), scores + _shifts(lookup, scores, edits, options)
        ranked = np.where(shown.mask, adjusted, -np.inf)
    else:
        adjusted, order = scores, order[rows]
        ranked = np.where(shown.mask[rows], adjusted, -np.inf)
    if options.one_per is not None:
        ranked = _one_each(lookup, ranked, rows, shown.pins, history if options.new_groups else None, options)
    chosen = _choose(lookup, content, ranked, rows, order, history, options.k - len(shown.pins), options)
    places = np.concatenate([np.searchsorted(rows, shown.pins), chosen])
    return RankedList(rows[places], adjusted[places].astype(np.float32), len(shown.pins))


def shifts_scores(edits: Sequence[Edit], options: RankingOptions) -> bool:
    """Return whether edits or boosts may move a score, by the spread of the scores of all items."""
    return bool(options.boost) or any(
        e.action in ("more", "less") or (e.action == "pin" and e.name != ITEM) for e in edits
    )


def pool_size(options: RankingOptions) -> int:
    """Return how many of the best items a list is chosen among."""
    return options.k * (POOL if options.one_per is not None else _pool_factor(options))


def asked_for(lookup: CatalogLookup, edits: Sequence[Edit], row: int) -> list[Edit]:
    """Return the user's own edits that move one item: more or less of it, of a value it has, or pinned."""
    return [e for e in edits if e.action in ("more", "less", "pin") and bool((_rows(lookup, e) == row).any())]


def _never(lookup: CatalogLookup, edits: Sequence[Edit]) -> Bool[np.ndarray, " items"]:
    mask = np.zeros(len(lookup.items), bool)
    for edit in edits:
        if edit.action == "never":
            mask[_rows(lookup, edit)] = True
    return mask


def _pins(
    lookup: CatalogLookup, edits: Sequence[Edit], open_items: Bool[np.ndarray, " items"]
) -> Int64[np.ndarray, " pins"]:
    """Return pinned items in the order they were pinned."""
    rows = [
        row for e in edits if e.action == "pin" and e.name == ITEM for row in lookup.rows([e.value]) if open_items[row]
    ]
    return np.array(rows, np.int64)


def _wanted(lookup: CatalogLookup, options: RankingOptions) -> Bool[np.ndarray, " items"]:
    """Return the items that pass the filters: any of the values of one name, all names, all bounds."""
    mask = np.ones(len(lookup.items), bool)
    values: dict[str, list[str]] = defaultdict(list)
    for pair in options.where:
        name, _, value = pair.partition(":")
        values[name].append(value)
    for name, alternatives in values.items():
        found = np.concatenate([lookup.rows_with(name, value) for value in alternatives])
        if not len(found):
            raise _no_such_value(lookup, name, alternatives)
        mask &= lookup.mask(found)
    for bound in options.at_least:
        name, _, number = bound.partition(":")
        mask &= lookup.number(name) >= float(number)  # false for NaN
    for bound in options.at_most:
        name, _, number = bound.partition(":")
        mask &= lookup.number(name) <= float(number)
    return mask


def _no_such_value(lookup: CatalogLookup, name: str, alternatives: Sequence[str]) -> NotFoundError:
    """Return the error about a filter that no item can pass: the list would be empty without a word."""
    known = list(lookup.items.ids if name == ITEM else lookup.facets[name])
    return NotFoundError(
        f"No item has {name} {' or '.join(map(repr, alternatives))}.",
        where="where",
        fix=nearest(alternatives[0], known[:MAX_COMPARED], f"name one of the {len(known):,} values of {name!r}")
        if len(known) > MAX_LISTED
        else nearest(alternatives[0], known),
    )


def _shifts(
    lookup: CatalogLookup, scores: Float32[np.ndarray, " items"], edits: Sequence[Edit], options: RankingOptions
) -> Float32[np.ndarray, " items"]:
    """Return what is added to the scores; edits and boosts are in standard deviations."""
    shift = np.zeros(len(scores), np.float32)
    signs = {"more": 1.0, "less": -1.0, "pin": PINNED_INTEREST}
    for edit in edits:
        if edit.action in signs and (edit.action != "pin" or edit.name != ITEM):
            shift[_rows(lookup, edit)] += signs[edit.action] * edit.strength
    for boost in options.boost:
        pair, _, amount = boost.rpartition(":")
        name, _, value = pair.partition(":")
        shift[lookup.rows_with(name, value)] += float(amount)
    return shift * (scores.std() or 1.0) if shift.any() else shift


def _rows(lookup: CatalogLookup, edit: Edit) -> Int64[np.ndarray, " rows"]:
    """Return the rows of an edit; none if its attribute is no longer in the bundle."""
    known = edit.name == ITEM or edit.name in lookup.facets
    return lookup.rows_with(edit.name, edit.value) if known else np.zeros(0, np.int64)


def _choose(
    lookup: CatalogLookup,
    content: Content,
    scores: np.ndarray,
    rows: Int64[np.ndarray, " scored"],
    tie_order: np.ndarray,
    history: Histories,
    k: int,
    options: RankingOptions,
) -> Int64[np.ndarray, " k"]:
    """Return the places of the chosen items among `rows`."""
    if k <= 0 or not len(scores):
        return np.zeros(0, np.int64)
    found = top_k(scores[None], k * _pool_factor(options), [""], tie_order).item_index[0]
    found = found[found >= 0].astype(np.int64)
    if _pool_factor(options) == 1 or not len(found):
        return found
    kinds = wanted = None
    if options.calibration:
        parts = lookup.kinds(options.calibrate_by)
        kinds, wanted = parts[rows[found]][None], mix_of(parts, history.item_index, history.weight)[None]
    similarity = _similarity(lookup, content, rows[found])[None] if options.diversity else None
    pool = Pool(scores[found][None], similarity, kinds, wanted)
    (chosen,) = reranked(pool, k, diversity=options.diversity, calibration=options.calibration)
    return found[chosen[chosen >= 0]]


def _pool_factor(options: RankingOptions) -> int:
    """Return among how many times k candidates a list is chosen."""
    return POOL if options.diversity or options.calibration else 1


def _may_repeat(history: Histories, weights: Collection[float]) -> Int64[np.ndarray, " items"]:
    """Return the items of the history whose events all have one of these weights."""
    allowed = np.isin(history.weight, np.array(sorted(weights), np.float32))
    return np.setdiff1d(history.item_index, history.item_index[~allowed]).astype(np.int64)


def _one_each(
    lookup: CatalogLookup,
    scores: np.ndarray,
    rows: Int64[np.ndarray, " scored"],
    pins: Int64[np.ndarray, " pins"],
    history: Histories | None,
    options: RankingOptions,
) -> np.ndarray:
    """Return the scores with -inf for every item but the best of its group, `options.per_group` of them.

    Args:
        lookup: The catalog.
        scores: Of the items; -inf for those that may not be shown.
        rows: The items that were scored.
        pins: Items that stand first, and so stand for their groups.
        history: A user whose groups are left out; None leaves none out.
        options: `one_per` names the attribute; as many items are chosen as `diversity` and `calibration` choose among.
    """
    groups = lookup.groups(options.one_per or "")
    taken = Counter(value for row in pins for value in groups[row])
    if history is not None:
        taken.update(dict.fromkeys({v for row in history.item_index for v in groups[row]}, options.per_group))
    kept = np.full(len(scores), -np.inf, scores.dtype)
    left = options.k * _pool_factor(options)
    order = tie_order_of_rows(len(lookup.items))[rows]
    for place in top_k(scores[None], len(scores), [""], order).item_index[0] if len(scores) else ():
        if place < 0 or not left:
            break
        if all(taken[value] < options.per_group for value in groups[rows[place]]):
            taken.update(groups[rows[place]])
            kept[place] = scores[place]
            left -= 1
    return kept


def _similarity(lookup: CatalogLookup, content: Content, rows: Int64[np.ndarray, " pool"]) -> np.ndarray:
    """Return the similarity of candidates: the cosine of their content, or sharing a topic where there are no vectors."""
    fused = content.fused
    if fused is not None:
        vectors = fused.rows(rows)
        return np.maximum(vectors @ vectors.T, 0)
    labels = lookup.topics.labels[rows]
    return ((labels[:, None] == labels[None]) & (labels[:, None] >= 0)).astype(float)
