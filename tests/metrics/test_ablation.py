import numpy as np
import polars as pl
import pytest

from penchant.core.messages import Translator
from penchant.metrics.ablation import DOES_NOT_PAY, PAYS, Arm, ablate, gains_by_group
from penchant.metrics.comparison import Cost
from penchant.metrics.intervals import BETTER, SAME, BootstrapMeans, IntervalConfig, corrected
from penchant.metrics.slices import GroupLabels
from penchant.reporting.conclusions import ablation_sentences

USERS = 300
IDS = [f"u{n}" for n in range(USERS)]
FAST = IntervalConfig(resamples=400)
WHOLE = frozenset({"behaviour", "text", "image", "sound"})


def arm(uses: frozenset[str], worth: float | np.ndarray, seconds: float = 1.0) -> Arm:
    """Return an arm whose metric is `worth` above what a user would get anyway."""
    base = np.random.default_rng(0).uniform(0.1, 0.5, USERS)
    noise = np.random.default_rng(sorted(uses).__len__()).normal(0, 0.01, USERS)
    return Arm(uses, pl.DataFrame({"user_id": IDS, "ndcg@20": base + worth + noise}), Cost(seconds, seconds / 10))


def arms() -> list[Arm]:
    return [
        arm(WHOLE, 0.1, 9.0),
        arm(WHOLE - {"text"}, 0.05, 5.0),
        arm(WHOLE - {"image"}, 0.12, 8.0),
        arm(WHOLE - {"sound"}, 0.1, 9.0),
        arm(frozenset({"behaviour"}), 0.04),
        arm(frozenset({"text"}), -0.02),
        arm(frozenset({"behaviour", "text"}), 0.06),
    ]


def test_a_channel_pays_does_not_pay_or_cannot_be_told():
    found = ablate(arms(), metric="ndcg@20", config=FAST)
    outcomes = {p.channel: p.outcome for p in found.payoffs}
    assert outcomes == {"text": PAYS, "sound": SAME, "image": DOES_NOT_PAY}
    text = found.payoffs[0]
    assert text.gain.mean == pytest.approx(0.05, abs=0.005)
    assert text.cost is not None
    assert (text.cost.seconds, text.cost.milliseconds) == pytest.approx((4.0, 0.4))


def test_rows_say_what_they_leave_out_and_stand_beside_everything_and_behaviour():
    rows = ablate(arms(), metric="ndcg@20", config=FAST).rows
    assert [(row.kind, row.channel) for row in rows] == [
        ("all", ""),
        ("behaviour", ""),
        ("without", "image"),
        ("without", "sound"),
        ("without", "text"),
        ("only", "text"),
        ("some", ""),
    ]
    assert rows[0].to_all is None
    assert rows[0].to_behaviour is not None
    assert rows[0].to_behaviour.outcome == BETTER
    assert rows[1].to_behaviour is None
    assert rows[-1].uses == ("behaviour", "text")


def test_with_one_channel_leaving_it_out_is_behaviour_only():
    found = ablate([arm(frozenset({"behaviour", "text"}), 0.1), arm(frozenset({"behaviour"}), 0)], metric="ndcg@20")
    assert [(p.channel, p.outcome) for p in found.payoffs] == [("text", PAYS)]


def test_without_behaviour_only_there_is_no_difference_to_it():
    found = ablate([arm(frozenset({"text"}), 0.1)], metric="ndcg@20", config=FAST)
    assert found.rows[0].to_behaviour is None
    assert found.payoffs == ()


def test_a_channel_pays_for_the_group_that_uses_it():
    readers = np.arange(USERS) < 150
    found = gains_by_group(
        [arm(WHOLE, np.where(readers, 0.1, 0.05)), arm(WHOLE - {"text"}, 0.05)],
        GroupLabels(("readers", "lookers", "nobody"), np.where(readers, 0, 1)),
        metric="ndcg@20",
        config=FAST,
    )
    assert [(g.group, g.channel, g.gain.outcome) for g in found] == [
        ("readers", "text", BETTER),
        ("lookers", "text", SAME),
    ]


def test_a_cost_that_timings_cannot_tell_is_no_cost():
    noisy = [
        arm(WHOLE, 0.1, 60.0),
        arm(WHOLE - {"text"}, 0.05, 30.0),
        arm(WHOLE - {"image"}, 0.05, 76.2),
        arm(WHOLE - {"sound"}, 0.05, 50.0),
    ]
    found = ablate(noisy, metric="ndcg@20", config=FAST)
    costs = {payoff.channel: payoff.cost for payoff in found.payoffs}
    assert costs == {"text": Cost(30.0, 3.0), "image": Cost(0.0, 0.0), "sound": Cost(0.0, 0.0)}
    said = {
        payoff.channel: text
        for payoff, text in zip(found.payoffs, ablation_sentences(found, Translator("en")), strict=True)
    }
    assert said["text"].endswith("It costs 30.0 s once and 3.0 ms per user.")
    assert said["image"].endswith("It has no measurable cost.")


def test_gains_are_paired_means_of_everything_minus_the_arm_without_the_channel():
    given = arms()
    found = ablate(given, metric="ndcg@20", config=FAST)
    score = {arm.uses: arm.table["ndcg@20"].to_numpy() for arm in given}
    channels = ("image", "sound", "text")
    columns = np.column_stack([score[WHOLE], *(score[WHOLE - {channel}] for channel in channels)])
    alone = dict(zip(channels, BootstrapMeans(columns, FAST).differences([(0, 1), (0, 2), (0, 3)]), strict=True))
    assert [payoff.channel for payoff in found.payoffs] == ["text", "sound", "image"]
    for payoff in found.payoffs:
        single = alone[payoff.channel]
        assert (payoff.gain.mean, payoff.gain.low, payoff.gain.high) == pytest.approx(
            (single.mean, single.low, single.high)
        )
    for row in found.rows:
        uses = frozenset(row.uses)
        assert row.score.mean == pytest.approx(score[uses].mean())
        assert row.cost == next(arm.cost for arm in given if arm.uses == uses)
        for difference, base in ((row.to_all, WHOLE), (row.to_behaviour, frozenset({"behaviour"}))):
            assert (difference is None) == (uses == base)
            if difference is not None:
                assert difference.mean == pytest.approx((score[uses] - score[base]).mean())
    assert found.metric == "ndcg@20"
    assert found.rows[0].uses == ("behaviour", "image", "sound", "text")


def test_leaving_behaviour_out_is_a_channel_too_and_a_cost_needs_two_timings():
    whole = frozenset({"behaviour", "text", "image"})
    found = ablate(
        [arm(whole, 0.1), Arm(whole - {"behaviour"}, arm(whole - {"behaviour"}, 0.0).table)],
        metric="ndcg@20",
        config=FAST,
    )
    assert [(p.channel, p.outcome, p.cost) for p in found.payoffs] == [("behaviour", PAYS, None)]
    assert [(row.kind, row.channel) for row in found.rows] == [("all", ""), ("without", "behaviour")]


def test_group_gains_are_means_over_the_group_and_allow_for_the_number_of_cells():
    given, group = arms(), np.arange(USERS) % 3
    found = gains_by_group(given, GroupLabels(("a", "b", "c"), group), metric="ndcg@20", config=FAST)
    score = {arm.uses: arm.table["ndcg@20"].to_numpy() for arm in given}
    assert [(g.group, g.channel) for g in found] == [(g, c) for g in "abc" for c in ("image", "sound", "text")]
    cells = [
        BootstrapMeans(np.column_stack([score[WHOLE], score[WHOLE - {c}]])[group == g], FAST).drawn(0, 1)
        for g in range(3)
        for c in ("image", "sound", "text")
    ]
    for one, expected in zip(found, corrected(cells, FAST), strict=True):
        gain = one.gain
        assert (gain.mean, gain.low, gain.high, gain.p) == pytest.approx(
            (expected.mean, expected.low, expected.high, expected.p)
        )
        assert (gain.outcome, gain.num_users) == (expected.outcome, 100)
