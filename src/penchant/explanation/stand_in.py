"""A stand-in that can be read: points for readable features with a tree of corrections, and a short list of rules, that give nearly the ensemble's scores.

In: the scores of some users, readable attributes of the items, the users' histories. Out: the points and the tree, rules, how much of the scores of
other users they give (fidelity), and how much each feature matters, over all users and by slice. A stand-in describes the model and explains no score exactly; it
says so where it gives too little of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from penchant.core.messages import Message, message
from penchant.core.notebook import table_html
from penchant.core.schema import Histories

LEAVES, RULES = 64, 8
"""Leaves of the tree of corrections and of the attribute tree, and of the small tree that is written as rules."""
PERMUTATIONS = 5
LEAST = 50
"""Pairs of user and item in a leaf at least."""
FAITHFUL = 0.8
"""Share of the variance of others' scores from which on a stand-in is called faithful."""
WEEK = 7 * 86_400 * 1_000_000
SHARE = "share of the history with the same "
LIKE = "likeness to the history: "
"""Before the name of a channel of content: the mean cosine to the items of the history."""
APPEAL, USERS, RECENT, AGE, SHARED = (
    "appeal to anybody",
    "users",
    "users in the last 7 days",
    "days since its first event",
    "users it shares with the history",
)


@dataclass(frozen=True)
class ReadableFeatures:
    """Features of a user and an item that a person understands.

    Attributes:
        attributes: Name to (items,) code of each item's value; -1 where it has none.
        numbers: Name to (items,) number.
        of_items: Name to (items,) count or age, as of the last event of all users.
        alike: (items, items) users in common, damped by the popularity of both.
        content: Channel to (items, dim) unit rows.
    """

    attributes: Mapping[str, Int64[np.ndarray, " items"]]
    numbers: Mapping[str, Float64[np.ndarray, " items"]]
    of_items: Mapping[str, Float64[np.ndarray, " items"]]
    alike: Float32[np.ndarray, "items items"]
    content: Mapping[str, Float32[np.ndarray, "items dim"]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        users: Histories,
        attributes: Mapping[str, Int64[np.ndarray, " items"]],
        numbers: Mapping[str, Float64[np.ndarray, " items"]],
        scores: Float32[np.ndarray, "users items"],
        content: Mapping[str, Float32[np.ndarray, "items dim"]] | None = None,
    ) -> ReadableFeatures:
        """Return the features; memory of items^2 float32.

        Args:
            users: All of the bundle.
            attributes: As of this class.
            numbers: As of this class.
            scores: Of other users than those the stand-in is tested on: their mean is an item's appeal to anybody.
            content: As of this class; None compares no content.
        """
        touched: Any = users.matrix() > 0
        touched = touched.astype(np.float32)
        popular = np.asarray(touched.sum(0), np.float64).ravel()
        last = int(users.at.max(initial=0))
        first = np.full(users.num_items, last, np.float64)
        np.minimum.at(first, users.item_index, users.at)
        recent = np.bincount(users.item_index[users.at > last - WEEK], minlength=users.num_items)
        alike = np.asarray((touched.T @ touched).todense(), np.float32)
        np.fill_diagonal(alike, 0)
        alike /= np.sqrt(np.outer(popular, popular) + 1).astype(np.float32)
        of_items = {
            APPEAL: scores.mean(0, dtype=np.float64),
            USERS: popular,
            RECENT: recent.astype(np.float64),
            AGE: (last - first) / (WEEK / 7),
        }
        return cls(attributes, numbers, of_items, alike, content or {})

    @property
    def names(self) -> tuple[str, ...]:
        shares = (SHARE + name for name in self.attributes)
        return (*shares, *self.numbers, *self.of_items, SHARED, *(LIKE + name for name in self.content))

    def standard(self, table: Float64[np.ndarray, "items features"]) -> Float64[np.ndarray, "items features"]:
        """Return the features of one user where what depends on the user is counted in standard deviations over the items, as members' scores are."""
        changed = table.copy()
        own = [n for n, name in enumerate(self.names) if name == SHARED or name.startswith((SHARE, LIKE))]
        part = changed[:, own]
        changed[:, own] = (part - part.mean(0)) / np.maximum(part.std(0), 1e-9)
        return changed

    def of_attributes(self, table: Float64[np.ndarray, "pairs features"]) -> Float64[np.ndarray, "pairs features"]:
        """Return the table without users in common and likeness, which stand for every attribute that makes people, or items, alike."""
        changed = table.copy()
        changed[:, self.names.index(SHARED) :] = 0
        return changed

    def table(self, history: Histories) -> Float64[np.ndarray, "items features"]:
        """Return the features of one user and every item."""
        weight = np.zeros(history.num_items)
        np.add.at(weight, history.item_index, np.maximum(history.weight, 0))
        total = max(float(weight.sum()), 1e-9)
        columns = []
        for codes in self.attributes.values():
            shares = np.bincount(codes + 1, weight, int(codes.max(initial=-1)) + 2) / total
            shares[0] = 0  # items without a value have nothing in common
            columns.append(shares[codes + 1])
        columns += [*self.numbers.values(), *self.of_items.values(), self.alike @ weight.astype(np.float32) / total]
        columns += [rows @ (rows.T @ weight.astype(np.float32)) / total for rows in self.content.values()]
        return np.stack(columns, axis=1)


@dataclass(frozen=True)
class Rule:
    """One rule: items that fulfil every condition have about this score.

    Attributes:
        conditions: (feature, "<=" or ">", bound).
        score: Mean score of the pairs that it holds for.
        share: Part of all pairs of user and item.
    """

    conditions: tuple[tuple[str, str, float], ...]
    score: float
    share: float

    def __str__(self) -> str:
        said = " and ".join(f"{name} {sign} {bound:.3g}" for name, sign, bound in self.conditions) or "always"
        return f"{said}: score {self.score:+.2f} ({self.share:.1%} of pairs)"


@dataclass(frozen=True)
class Points:
    """A score as a sum: so much for each unit of a feature, and a correction by a tree for what features do together.

    Attributes:
        base: Of every item.
        weights: (features,) score for one unit of each; what depends on the user is counted in standard deviations (`ReadableFeatures.standard`).
        tree: A fitted scikit-learn tree of `LEAVES` leaves.
    """

    base: float
    weights: Float64[np.ndarray, " features"]
    tree: Any

    @classmethod
    def of(cls, table: Float64[np.ndarray, "pairs features"], target: Float64[np.ndarray, " pairs"]) -> Points:
        """Return the points that fit some scores by least squares, and the tree that fits what they miss."""
        from sklearn.linear_model import LinearRegression  # slow to import
        from sklearn.tree import DecisionTreeRegressor

        line = LinearRegression().fit(table, target)
        tree = DecisionTreeRegressor(max_leaf_nodes=LEAVES, min_samples_leaf=LEAST, random_state=0)
        return cls(float(line.intercept_), line.coef_, tree.fit(table, target - line.predict(table)))

    def predict(self, table: Float64[np.ndarray, "pairs features"]) -> Float64[np.ndarray, " pairs"]:
        """Return the scores."""
        return np.asarray(self.base + table @ self.weights + self.tree.predict(table), np.float64)


@dataclass(frozen=True)
class StandIn:
    """Points, a tree and rules in place of the ensemble.

    Attributes:
        features: Of users and items.
        points: What gives the scores.
        attribute_tree: A tree of `LEAVES` leaves without users in common and likeness (`ReadableFeatures.of_attributes`).
        rules: Of a tree of `RULES` leaves, the highest score first.
        fidelity: R2 of the points and the tree on the scores of users it was not fitted to.
        rules_fidelity: The same of the rules.
        importance: Feature to the loss of R2 when it is permuted among the items, on the same users; the largest first.
        by_slice: Slice of users to its importance.
        num_users: Users it was fitted to, and tested on.
    """

    features: ReadableFeatures
    points: Points
    attribute_tree: Any
    rules: tuple[Rule, ...]
    fidelity: float
    rules_fidelity: float
    importance: dict[str, float]
    by_slice: dict[str, dict[str, float]]
    num_users: tuple[int, int]

    @property
    def text(self) -> Message:
        """How far the stand-in may be believed, as a sentence."""
        known = {"share": f"{self.fidelity:.0%}", "rules": f"{self.rules_fidelity:.0%}", "wanted": f"{FAITHFUL:.0%}"}
        if self.fidelity >= FAITHFUL:
            return message("The points give {share} of the scores of other users, the rules {rules}.", **known)
        return message(
            "The points give {share} of the scores of other users, the rules {rules}: less than {wanted}, so they describe the model and do not stand for it.",
            **known,
        )

    def weights(self) -> dict[str, float]:
        """Return the points of each feature, the largest first: for a standard deviation over the user's items where it depends on the user."""
        found = dict(zip(self.features.names, self.points.weights.tolist(), strict=True))
        return dict(sorted(found.items(), key=lambda pair: -abs(pair[1])))

    def attribute_of(self, history: Histories, *, seed: int = 0) -> dict[str, float]:
        """Return how much the attribute tree's scores of one user change when an attribute is permuted among the items; the largest first."""
        table, rng = self.features.of_attributes(self.features.table(history)), np.random.default_rng(seed)
        before, found = self.attribute_tree.predict(table), {}
        for place, name in enumerate(self.features.attributes):
            changed = np.tile(table, (PERMUTATIONS, 1))
            changed[:, place] = np.concatenate([rng.permutation(table[:, place]) for _ in range(PERMUTATIONS)])
            lost = self.attribute_tree.predict(changed) - np.tile(before, PERMUTATIONS)
            found[name] = float(np.square(lost).mean())
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return {
            "fidelity": self.fidelity,
            "rules_fidelity": self.rules_fidelity,
            "points": self.weights(),
            "rules": [{"text": str(r), "score": r.score, "share": r.share} for r in self.rules],
            "importance": self.importance,
            "by_slice": self.by_slice,
            "users": list(self.num_users),
            "text": str(self.text),
        }

    def _repr_html_(self) -> str:
        return table_html(str(self.text), ("rule",), [(str(rule),) for rule in self.rules])


def distil(
    features: ReadableFeatures,
    fitted: Sequence[tuple[Histories, Float32[np.ndarray, " items"]]],
    held_out: Sequence[tuple[Histories, Float32[np.ndarray, " items"]]],
    *,
    seed: int = 0,
) -> StandIn:
    """Return the stand-in of some users' scores, tested on others.

    Args:
        features: Of users and items; their appeal must not know the scores of `held_out`.
        fitted: Users and their scores.
        held_out: Other users and their scores.
        seed: Of permutations.

    Source: Craven & Shavlik, Extracting tree-structured representations of trained networks, NIPS 1995; permutation importance: Breiman, 2001.
    """
    from sklearn.tree import DecisionTreeRegressor  # slow to import

    table, standard, target = _pairs(features, fitted)
    points = Points.of(standard, target)
    own = DecisionTreeRegressor(max_leaf_nodes=LEAVES, min_samples_leaf=LEAST, random_state=0)
    own.fit(features.of_attributes(table), target)
    small = DecisionTreeRegressor(max_leaf_nodes=RULES, min_samples_leaf=LEAST, random_state=0).fit(table, target)
    tests, standard_tests, truth = _pairs(features, held_out)
    lengths = np.array([history.num_events for history, _ in held_out])
    row_lengths = np.repeat(lengths, features.alike.shape[0])
    middle = np.median(lengths) if len(lengths) else 0.0
    slices = {"short histories": row_lengths <= middle, "long histories": row_lengths > middle}
    rng = np.random.default_rng(seed)
    return StandIn(
        features,
        points,
        own,
        tuple(_rules(small, features.names)),
        1 - float(np.square(points.predict(standard_tests) - truth).mean() / max(float(truth.var()), 1e-12)),
        float(small.score(tests, truth)),
        _importance(points, features.names, standard_tests, truth, rng),
        {
            name: _importance(points, features.names, standard_tests[rows], truth[rows], rng)
            for name, rows in slices.items()
            if rows.any()
        },
        (len(fitted), len(held_out)),
    )


def _pairs(
    features: ReadableFeatures, users: Sequence[tuple[Histories, Float32[np.ndarray, " items"]]]
) -> tuple[Float64[np.ndarray, "pairs features"], Float64[np.ndarray, "pairs features"], Float64[np.ndarray, " pairs"]]:
    """Return the features of every user and item, the same in standard deviations, and the scores."""
    tables = [features.table(history) for history, _ in users]
    scores = np.concatenate([scores for _, scores in users]).astype(np.float64)
    return np.concatenate(tables), np.concatenate([features.standard(table) for table in tables]), scores


def _importance(
    points: Points,
    names: Sequence[str],
    table: Float64[np.ndarray, "pairs features"],
    truth: Float64[np.ndarray, " pairs"],
    rng: np.random.Generator,
) -> dict[str, float]:
    variance = max(float(np.square(truth - truth.mean()).mean()), 1e-12)
    loss, found = np.square(points.predict(table) - truth).mean(), {}
    for place, name in enumerate(names):
        changed = table.copy()
        changed[:, place] = rng.permutation(changed[:, place])
        found[name] = float((np.square(points.predict(changed) - truth).mean() - loss) / variance)
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _rules(tree: Any, names: Sequence[str]) -> list[Rule]:
    """Return the leaves of a tree as rules, the highest score first; of two bounds of one feature on one side the narrower is kept."""
    inner, whole = tree.tree_, float(tree.tree_.weighted_n_node_samples[0])
    found: list[Rule] = []

    def walk(node: int, bounds: dict[tuple[str, str], float]) -> None:
        if inner.children_left[node] < 0:
            conditions = tuple((name, sign, bound) for (name, sign), bound in bounds.items())
            found.append(
                Rule(conditions, float(inner.value[node].ravel()[0]), inner.weighted_n_node_samples[node] / whole)
            )
            return
        name, bound = names[inner.feature[node]], float(inner.threshold[node])
        walk(inner.children_left[node], {**bounds, (name, "<="): bound})
        walk(inner.children_right[node], {**bounds, (name, ">"): bound})

    walk(0, {})
    return sorted(found, key=lambda rule: -rule.score)
