"""The price of ranking options: what diversity and calibration cost in NDCG, and how far a list follows popularity.

In: ours on the test. Out: a row for each strength of each option, with the paired difference to the plain list.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Int32
from scipy import sparse

from penchant.core.messages import message
from penchant.core.schema import Catalog, Embeddings, Histories, Recommendations
from penchant.metrics.beyond_accuracy import gini
from penchant.metrics.intervals import BootstrapMeans
from penchant.metrics.option_prices import CALIBRATION, DIVERSITY, PLAIN, Exposure, OptionPrice, Prices
from penchant.metrics.ranking import measure
from penchant.recommender.ranking import POOL
from penchant.recommender.reranking import Pool, divergence, mix_of, reranked

STRENGTHS = (0.1, 0.3, 0.5, 0.7)
"""Strengths of each option on the report."""
MAX_KINDS = 200
"""Values of an attribute up to which its mix is looked at: an id has one for each item."""
BATCH = 64
"""Users whose candidates' similarities are held at once."""


def calibrated_attribute(catalog: Catalog, wanted: str | None) -> str:
    """Return the attribute whose mix is looked at: the one that is wanted, else the first with 2 to `MAX_KINDS` values; "" without one."""
    sizes = {name: table["value"].n_unique() for name, table in catalog.categories().items()}
    if wanted is not None:
        return wanted if wanted in sizes else ""
    return next((name for name, size in sizes.items() if 2 <= size <= MAX_KINDS), "")


def option_prices(
    candidates: Recommendations,
    popular: Int32[np.ndarray, "users k"],
    histories: Histories,
    truth: Histories,
    catalog: Catalog,
    fused: Embeddings | None,
    *,
    k: int,
    attribute: str,
    provider: str,
) -> Prices:
    """Return the price of each ranking option.

    Args:
        candidates: Ours, at least `POOL` times as long as k where the catalog is.
        popular: The most popular items that each user may be shown.
        histories: Of these users.
        truth: What they chose.
        catalog: Items.
        fused: For the similarity of items; None takes the attribute.
        k: Length of the lists.
        attribute: From `calibrated_attribute`.
        provider: A categorical column, such as a brand; "" leaves the exposures out.
    """
    kinds = kinds_of(catalog, attribute)
    lists = dict(_lists(candidates, histories, kinds, fused, k))
    metric = f"ndcg@{k}"
    users = Recommendations(candidates.user_ids, candidates.item_index, candidates.score)
    scored = {
        key: measure(
            Recommendations(users.user_ids, found, np.zeros(found.shape, np.float32)), truth, ks=[k], metrics=["ndcg"]
        )
        for key, found in lists.items()
    }
    columns = np.column_stack([table[metric].to_numpy() for table in scored.values()])
    means = BootstrapMeans(columns, users=next(iter(scored.values()))["user_id"])
    differences = means.differences([(column, 0) for column in range(1, len(lists))])
    wanted = _wanted(kinds, histories)
    providers = _parts(catalog, provider) if provider else None
    rows = [
        OptionPrice(
            option,
            strength,
            means.interval(column),
            differences[column - 1] if column else None,
            _likeness(found, fused, kinds),
            float("nan") if not attribute else _divergence(found, kinds, wanted),
            _overlap(found, popular[:, :k]),
            float("nan") if providers is None else _gini(found, providers),
        )
        for column, ((option, strength), found) in enumerate(lists.items())
    ]
    exposures = () if providers is None else _exposures(lists[PLAIN, 0.0], truth, catalog, provider, providers)
    return Prices(metric, k, len(histories), attribute, provider, tuple(rows), exposures)


def kinds_of(catalog: Catalog, attribute: str) -> Float32[np.ndarray, "items kinds"]:
    """Return the part of each value of an attribute in every item; no column without an attribute."""
    if not attribute:
        return np.zeros((len(catalog), 0), np.float32)
    return _parts(catalog, attribute).toarray().astype(np.float32)


def _parts(catalog: Catalog, attribute: str) -> sparse.csr_array:
    """Return the part of each value of an attribute in every item, (items, values); sparse, since a marketplace has thousands of sellers."""
    table = catalog.categories()[attribute].unique()
    codes = table["value"].rank("dense").to_numpy().astype(np.int64) - 1
    shape = (len(catalog), int(codes.max(initial=-1)) + 1)
    marks = sparse.csr_array((np.ones(len(table)), (table["row"].to_numpy(), codes)), shape=shape)
    marks.data /= np.repeat(np.diff(marks.indptr), np.diff(marks.indptr))
    return marks


def _lists(
    candidates: Recommendations,
    histories: Histories,
    kinds: Float32[np.ndarray, "items kinds"],
    fused: Embeddings | None,
    k: int,
) -> Iterator[tuple[tuple[str, float], Int32[np.ndarray, "users k"]]]:
    """Yield the lists of each option and strength, the plain ones first."""
    yield (PLAIN, 0.0), candidates.item_index[:, :k]
    vectors = kinds if fused is None else fused.unit()
    wanted = _wanted(kinds, histories)
    options = [(DIVERSITY, s) for s in STRENGTHS] + [(CALIBRATION, s) for s in STRENGTHS if kinds.shape[1]]
    if not vectors.shape[1]:
        options = [(option, s) for option, s in options if option != DIVERSITY]
    for option, strength in options:
        parts = []
        for start in range(0, len(histories), BATCH):
            rows = candidates.item_index[start : start + BATCH, : k * POOL]
            scores = np.where(rows >= 0, candidates.score[start : start + BATCH, : k * POOL], -np.inf)
            near = None
            if option == DIVERSITY:
                near = np.maximum(vectors[rows] @ vectors[rows].transpose(0, 2, 1), 0)
            pool = Pool(scores, near, kinds[rows], wanted[start : start + BATCH])
            settings = {"diversity": strength} if option == DIVERSITY else {"calibration": strength}
            chosen = reranked(pool, k, **settings)
            found = np.take_along_axis(rows, np.maximum(chosen, 0), 1)
            parts.append(np.where(chosen >= 0, found, -1).astype(np.int32))
        yield (option, strength), np.concatenate(parts)


def _wanted(kinds: Float32[np.ndarray, "items kinds"], histories: Histories) -> Float32[np.ndarray, "users kinds"]:
    rows = [histories.rows(user, user + 1) for user in range(len(histories))]
    mixes = [mix_of(kinds, own.item_index, own.weight) for own in rows]
    return np.stack(mixes) if mixes else np.zeros((0, kinds.shape[1]), np.float32)


def _likeness(found: Int32[np.ndarray, "users k"], fused: Embeddings | None, kinds: np.ndarray) -> float:
    vectors = kinds if fused is None else fused.unit()
    if not vectors.shape[1] or found.shape[1] < 2:
        return float("nan")
    means = []
    for row in found:
        own = vectors[row[row >= 0]]
        if len(own) > 1:
            total, squares = own.sum(0), float((own * own).sum())
            means.append((float(total @ total) - squares) / (len(own) * (len(own) - 1)))
    return float(np.mean(means)) if means else float("nan")


def _divergence(found: Int32[np.ndarray, "users k"], kinds: np.ndarray, wanted: np.ndarray) -> float:
    mix = np.where((found >= 0)[..., None], kinds[found], 0).sum(1)
    has = wanted.sum(1) > 0
    return float(divergence(wanted[has], mix[has]).mean()) if has.any() else float("nan")


def _overlap(found: Int32[np.ndarray, "users k"], popular: Int32[np.ndarray, "users k"]) -> float:
    """Return the mean share of the lists that stands in the list of popular items too."""
    shares = [
        np.isin(own[own >= 0], best[best >= 0]).mean()
        for own, best in zip(found, popular, strict=True)
        if (own >= 0).any()
    ]
    return float(np.mean(shares)) if shares else float("nan")


def _shares(rows: np.ndarray, providers: sparse.csr_array) -> np.ndarray:
    """Return each provider's part of some items; an item counts as often as it stands there."""
    total = np.bincount(rows, minlength=providers.shape[0]) @ providers
    return np.asarray(total / max(float(total.sum()), 1e-12))


def _gini(found: Int32[np.ndarray, "users k"], providers: sparse.csr_array) -> float:
    return gini((1e6 * _shares(found[found >= 0], providers)).astype(np.int64))


def _exposures(
    found: Int32[np.ndarray, "users k"], truth: Histories, catalog: Catalog, provider: str, providers: sparse.csr_array
) -> tuple[Exposure, ...]:
    """Return the shares of the ten providers with the most places, and of the others together."""
    names = sorted(catalog.categories()[provider]["value"].unique().to_list())
    of_lists, of_catalog = _shares(found[found >= 0], providers), _shares(np.arange(len(catalog)), providers)
    of_choices = _shares(truth.item_index[truth.weight > 0], providers)
    order = np.argsort(-of_lists, kind="stable")
    rows = [Exposure(names[n], float(of_lists[n]), float(of_choices[n]), float(of_catalog[n])) for n in order[:10]]
    if len(order) > 10:
        rest = order[10:]
        sums = (float(part[rest].sum()) for part in (of_lists, of_choices, of_catalog))
        rows.append(Exposure(message("{count} others", count=len(rest)), *sums))
    return tuple(rows)
