"""Which members stand in which arm, written out."""

from __future__ import annotations

import pytest

from hand_made import channel
from penchant.core.schema import BEHAVIOUR, Content
from penchant.experiment.ablation_plan import plan_ablation

pytestmark = pytest.mark.usefixtures("hand_made")
COLUMN = [[1.0], [0.0]]
CONTENT = Content(
    {
        "plot": channel("plot", "text", COLUMN),
        "still": channel("still", "image", COLUMN),
        "poster": channel("poster", "image", COLUMN),
    }
)
TABLES = {
    "popularity": {"model": "popularity"},
    "like_plot": {"model": "content_knn", "channel": "plot"},
    "like_fused": {"model": "content_knn"},
    "mixed": {"model": "content_regression", "channels": ["plot", "poster"], "regularisation": 3},
    "slow": {"model": "costly_witness"},
}
B, T, P = BEHAVIOUR, "text", "image"
QUICK = {
    frozenset({B, T, P}): ("popularity", "like_plot", "like_fused", "mixed"),
    frozenset({B}): ("popularity",),
    frozenset({B, T}): ("popularity", "like_plot", "like_fused [plot]", "mixed [plot]"),
    frozenset({B, P}): ("popularity", "like_fused [poster, still]", "mixed [poster]"),
    frozenset({T, P}): ("like_plot", "like_fused"),
    frozenset({P}): ("like_fused [poster, still]",),
    frozenset({T}): ("like_plot", "like_fused [plot]"),
}


def test_costly_members_stand_in_the_first_arm_only() -> None:
    plans, pool = plan_ablation(TABLES, CONTENT)
    assert (plans[0].uses, plans[0].members) == (frozenset({B, T, P}), tuple(TABLES))
    assert {plan.uses: plan.members for plan in plans[1:]} == QUICK
    assert len(plans) == 1 + len(QUICK)
    assert set(pool) == {name for plan in plans for name in plan.members}
    assert not any(name.startswith("slow [") for name in pool)


def test_costly_members_are_fitted_for_every_arm_where_that_is_asked() -> None:
    plans, _ = plan_ablation(TABLES, CONTENT, networks=True)
    found = {plan.uses: plan.members for plan in plans}
    assert len(plans) == len(found) == len(QUICK)
    assert found[frozenset({B, T, P})] == tuple(TABLES)
    assert found[frozenset({B})] == ("popularity", "slow [no content]")
    assert found[frozenset({B, T})] == (*QUICK[frozenset({B, T})], "slow [plot]")
    assert found[frozenset({B, P})] == (*QUICK[frozenset({B, P})], "slow [poster, still]")
    assert found[frozenset({P})] == QUICK[frozenset({P})]  # it learns from behaviour


def test_a_variant_may_see_its_own_channels_only_and_keeps_its_other_settings() -> None:
    _, pool = plan_ablation(TABLES, CONTENT)
    assert pool["mixed [plot]"].channels == {"plot"}
    assert pool["mixed [plot]"].table == {**TABLES["mixed"], "channels": ["plot"]}
    assert pool["like_fused [poster, still]"].channels == {"still", "poster"}
    assert pool["like_fused [poster, still]"].table == TABLES["like_fused"]
    for name, table in TABLES.items():
        assert (pool[name].table, pool[name].channels) == (table, None)


def test_without_content_there_is_one_arm_of_behaviour() -> None:
    plans, _ = plan_ablation({"popularity": {"model": "popularity"}}, Content())
    assert [(plan.uses, plan.members) for plan in plans] == [(frozenset({B}), ("popularity",))]


def test_user_content_is_left_out_channel_by_channel_and_a_comparison_needs_both_sides() -> None:
    content = Content({"still": channel("still", "image", COLUMN)}, user_channels={"photo": "still", "hour": "context"})
    tables = {
        "popularity": {"model": "popularity"},
        "own_photo": {"model": "user_content_knn", "channel": "photo", "item_channel": "still"},
        "own": {"model": "user_content_regression"},
        "context": {"model": "context_popularity"},
    }
    plans, _ = plan_ablation(tables, content)
    found = {plan.uses: plan.members for plan in plans}
    everything = frozenset({B, P, "photo", "context"})
    assert found[everything] == tuple(tables)
    assert found[everything - {"photo"}] == ("popularity", "context")
    assert found[everything - {P}] == ("popularity", "own", "context")
    assert found[everything - {"context"}] == ("popularity", "own_photo", "own")
    assert frozenset({"photo"}) not in found  # a comparison with the items' pictures says nothing without them
