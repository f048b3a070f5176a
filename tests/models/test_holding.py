"""Members that hold another one, of a catalog that has grown."""

from __future__ import annotations

import numpy as np
import pytest

from hand_made import histories
from penchant.core.schema import Content
from penchant.models.holding import HoldingMember
from penchant.models.member import FittedItems, make_member

EVENTS = [[0, 1, 2], [1, 2, 3], [0, 3], [2, 3, 1]]


@pytest.mark.parametrize("model", ["lifted", "compressed"])
def test_a_grown_member_is_restored_with_what_it_holds(model: str) -> None:
    table = {"model": model, "of": {"model": "item_knn"}}
    grown = make_member("held", table).fit(histories(EVENTS, 4)).add_items(Content.NONE, range(4, 6))
    plain = make_member("of", table["of"]).fit(histories(EVENTS, 4))
    assert isinstance(grown, HoldingMember)
    grown = grown._holding(FittedItems(plain, 4))  # as of a member that cannot score new items
    again = make_member("held", table).restore({name: array.copy() for name, array in grown.arrays().items()})
    asked = histories([[0, 5, 2]], 6)
    np.testing.assert_array_equal(again.score(asked), grown.score(asked))
