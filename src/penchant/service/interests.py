"""What a user is told: their interests, why a list is as it is, and their own edits of it.

In: a user's id. Out: profiles, contributions, counterfactuals; an edit is stored before the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from penchant.explanation.attribution import Method
from penchant.explanation.counterfactual import Counterfactual
from penchant.recommender.lists import Edit, last_edits
from penchant.recommender.lookup import ITEM
from penchant.service.schemas import EditIn
from penchant.service.snapshot import ServingSnapshot, Snapshots
from penchant.service.store import Store
from penchant.service.user_cache import UserState
from penchant.service.user_states import UserStates

if TYPE_CHECKING:
    from penchant.explanation.network_attribution import NetworkAttribution


def shown_profile(snapshot: ServingSnapshot, state: UserState) -> dict[str, Any]:
    """Return the interests of a state with weights and evidence, and its edits."""
    profile = snapshot.recommender.profile(state.history, scores=state.scores).as_dict()
    actions = {(e.name, e.value): e.action for e in state.edits}
    for interest in profile["interests"]:
        interest["edited"] = actions.get((interest["name"], interest["value"]))
    return {**profile, "edits": [asdict(e) for e in state.edits]}


class Interests:
    """Shows users their interests and lets them edit them.

    Args:
        store: Keeps the edits.
        snapshots: Know the catalog.
        states: Of users.
    """

    def __init__(self, store: Store, snapshots: Snapshots, states: UserStates) -> None:
        self._store, self._snapshots, self._states = store, snapshots, states

    def profile(self, user_id: str) -> tuple[dict[str, Any], int]:
        """Return interests with weights and evidence, the user's own edits, and the version for an ETag."""
        snapshot, state = self._states.one(user_id)
        return shown_profile(snapshot, state), state.version.user or 0

    def edit(self, user_id: str, edits: Sequence[EditIn], expected: int | None) -> tuple[dict[str, Any], int]:
        """Store a user's edits of their interests, of several of one value the last; their next list follows them.

        Raises:
            NotFoundError: An edit names an item or attribute that does not exist.
            ConflictError: The profile was changed since `expected`.
        """
        lookup = self._snapshots.current.recommender.lookup
        for e in edits:
            if e.name == ITEM:
                lookup.row(e.value)
            else:
                lookup.rows_with(e.name, e.value)
        changes = last_edits([Edit(e.name, e.value, e.action, e.strength) for e in edits])
        kept = [e for e in changes if e.action != "reset"]
        dropped = [e for e in changes if e.action == "reset"]
        self._store.edit(user_id, kept, dropped, expected=expected)
        return self.profile(user_id)

    def explain(self, user_id: str, item_id: str) -> dict[str, Any]:
        """Return the exact additive contributions to one score."""
        snapshot, state = self._states.one(user_id)
        return snapshot.recommender.explain(state.history, item_id, scores=state.scores).as_dict()

    def attribution(self, user_id: str, item_id: str, member: str | None, method: Method) -> NetworkAttribution:
        """Return which past events one network's score comes from, with its checks."""
        snapshot, state = self._states.one(user_id)
        return snapshot.recommender.attribute(state.history, item_id, member, method)

    def counterfactual(self, user_id: str, item_id: str, k: int) -> Counterfactual:
        """Return what would have to be different for an item to leave the user's list of k, or to enter it."""
        snapshot, state = self._states.one(user_id)
        return snapshot.counterfactual(state, item_id, k)
