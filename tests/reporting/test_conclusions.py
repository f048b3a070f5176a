"""Every sentence of the conclusions, written out."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest

from penchant.core.messages import Translator, message
from penchant.metrics.ablation import DOES_NOT_PAY, PAYS, Ablation, AblationRow, ModalityValue
from penchant.metrics.classification_results import ClassificationResults, ClassificationRow, ReviewLoad
from penchant.metrics.comparison import Cost, Leaderboard, LeaderboardRow
from penchant.metrics.interest import Curve, InterestResults, Reliability
from penchant.metrics.intervals import BETTER, SAME, WORSE, Difference, Interval
from penchant.reporting import conclusions

EN, ZH = Translator("en"), Translator("zh")


def mean(value: float, half: float = 0.01) -> Interval:
    return Interval(value, value - half, value + half, 50)


def gap(value: float, outcome: str = BETTER, half: float = 0.01) -> Difference:
    return Difference(value, value - half, value + half, 0.01, outcome, 50)


def board(metric: str, gain: Difference, *, role: str = "ours") -> Leaderboard:
    def row(name: str, role: str, lift: float, differences: dict[str, Difference]) -> LeaderboardRow:
        return LeaderboardRow(name, role, {m: mean(0.2 + lift) for m in ("recall@10", "ndcg@10")}, differences)

    ours = row("Ours", role, gain.mean, {"recall@10": gain, "ndcg@10": replace(gain, outcome=SAME)})
    return Leaderboard(metric, ("recall@10", "ndcg@10"), "EASE", "test", 50, (row("EASE", "baseline", 0, {}), ours))


RECALL = "Ours finds 23.0 % of what users chose next within 10 recommendations; EASE finds 20.0 %: better, +3.0 [2.0, 4.0] points, relatively +15 %."
NDCG = "NDCG@10: Ours 0.230, EASE 0.200: not distinguishable, +0.030 [0.020, 0.040]."


def test_the_headline_says_what_people_found_and_then_the_deciding_metric() -> None:
    assert conclusions.leaderboard_sentences(board("ndcg@10", gap(0.03)), EN) == [RECALL, NDCG]
    assert conclusions.leaderboard_sentences(board("recall@10", gap(0.03)), EN) == [RECALL]
    without = replace(board("ndcg@10", gap(0.03)), metrics=("ndcg@10",))
    assert conclusions.leaderboard_sentences(without, EN) == [NDCG]


def test_a_narrow_interval_of_the_deciding_metric_shows_four_decimals() -> None:
    said = conclusions.leaderboard_sentences(board("ndcg@10", gap(0.03, half=0.002)), EN)
    assert said[1] == "NDCG@10: Ours 0.2300, EASE 0.2000: not distinguishable, +0.0300 [0.0280, 0.0320]."


def test_without_ours_the_first_row_that_was_compared_stands_for_it() -> None:
    assert conclusions.leaderboard_sentences(board("recall@10", gap(0.03), role="member"), EN) == [RECALL]
    alone = board("recall@10", gap(0.03))
    assert conclusions.leaderboard_sentences(replace(alone, rows=alone.rows[:1]), EN) == []


@pytest.mark.parametrize(
    ("gain", "shares"),
    [
        (
            0.005,
            "20.5 % of what users chose next within 10 recommendations; EASE finds 20.0 %: better, +0.5 [-0.5, 1.5]",
        ),
        (
            0.0049,
            "20.49 % of what users chose next within 10 recommendations; EASE finds 20.00 %: better, +0.49 [-0.51, 1.49]",
        ),
        (
            -0.012,
            "18.8 % of what users chose next within 10 recommendations; EASE finds 20.0 %: better, -1.2 [-2.2, -0.2]",
        ),
    ],
)
def test_small_gains_of_recall_get_another_digit(gain: float, shares: str) -> None:
    said = conclusions.leaderboard_sentences(board("recall@10", gap(gain)), EN)
    assert [text.partition(", relatively")[0] for text in said] == [f"Ours finds {shares} points".replace("-", "−")]


PAYING = ModalityValue("text", gap(0.03), Cost(30.0, 3.0), PAYS)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            PAYING,
            "Text: pays; without it, NDCG@10 is lower by 0.030 [0.020, 0.040]. It costs 30.0 s once and 3.0 ms per user.",
        ),
        (
            ModalityValue("attribute", gap(-0.03, WORSE), None, DOES_NOT_PAY),
            "Attributes: does not pay; without it, NDCG@10 is higher by 0.030 [0.020, 0.040].",
        ),
        (
            ModalityValue("plot", gap(-0.003, SAME), Cost(0.0, 0.0), SAME),
            "Plot: not distinguishable from noise; having it changes NDCG@10 by −0.003 [−0.013, 0.007]. "
            "It has no measurable cost.",
        ),
        (
            ModalityValue("text", gap(0.03), Cost(0.0, 3.0), PAYS),
            "Text: pays; without it, NDCG@10 is lower by 0.030 [0.020, 0.040]. "
            "It costs nothing measurable once and 3.0 ms per user.",
        ),
        (
            ModalityValue("text", gap(0.03), Cost(12.0, 3.0, 60.0), PAYS),
            "Text: pays; without it, NDCG@10 is lower by 0.030 [0.020, 0.040]. "
            "It costs 1 min 12 s once, 1 min 0 s of it to encode the content, and 3.0 ms per user.",
        ),
        (
            ModalityValue("text", gap(0.03), Cost(2.0, 3.0, nan), PAYS),
            "Text: pays; without it, NDCG@10 is lower by 0.030 [0.020, 0.040]. "
            "What its content takes to encode was not measured.",
        ),
        (
            ModalityValue("text", gap(0.03), Cost(2.0, 0.0), PAYS),
            "Text: pays; without it, NDCG@10 is lower by 0.030 [0.020, 0.040]. "
            "It costs 2.0 s once and nothing measurable per user.",
        ),
    ],
)
def test_whether_a_channel_pays(value: ModalityValue, sentence: str) -> None:
    assert conclusions.payoff_sentence(value, "ndcg@10", EN) == sentence
    assert conclusions.ablation_sentences(Ablation("ndcg@10", (), (value, PAYING)), EN) == [
        sentence,
        conclusions.payoff_sentence(PAYING, "ndcg@10", EN),
    ]


def test_an_uneven_interval_of_a_loss_is_turned_round() -> None:
    loss = ModalityValue("text", Difference(-0.03, -0.05, -0.02, 0.01, WORSE, 50), None, DOES_NOT_PAY)
    assert conclusions.payoff_sentence(loss, "ndcg@10", EN).endswith("is higher by 0.030 [0.020, 0.050].")


def yes_or_no(auc: Interval, name: str = "Ours") -> InterestResults:
    nothing = Curve((), ())
    return InterestResults(
        name, 9, 3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, auc, 0.5, nothing, nothing, Reliability((), (), (), 0.0)
    )


def test_what_an_auc_means() -> None:
    said = "Asked whether a user likes an item, Ours puts a liked item above a disliked one 71.2 % of the time"
    found = conclusions.classified_sentence(yes_or_no(Interval(0.712, 0.7, 0.724, 50)), EN)
    assert found == f"{said} [70.0 %, 72.4 %]. Disliked is what the user rated or marked so."
    assert (
        conclusions.classified_sentence(yes_or_no(Interval(0.712, nan, nan, 3)), EN)
        == f"{said}. Disliked is what the user rated or marked so."
    )
    own = message("the user's own rate of likes")
    assert ZH(own) != own
    assert ZH(own) in conclusions.classified_sentence(yes_or_no(mean(0.7), own), ZH)
    drawn = replace(yes_or_no(Interval(0.712, 0.7, 0.724, 50)), is_explicit=False)
    assert "above one drawn at random from those the user never touched 71.2 %" in conclusions.classified_sentence(
        drawn, EN
    )


def test_the_headline_names_what_was_ranked_and_what_would_not_be_seen() -> None:
    unseen = replace(gap(0.003, SAME), detectable=0.014)
    said = conclusions.leaderboard_sentences(board("ndcg@10", unseen), EN, "the whole catalog")
    assert "within 10 recommendations from the whole catalog; EASE finds" in said[0]
    assert said[1].endswith("not distinguishable, +0.003 [−0.007, 0.013] (below 0.014 would not be seen).")
    assert conclusions.outcome(unseen, EN) == "not distinguishable (below 0.014 would not be seen)"
    assert conclusions.outcome(gap(0.03), EN) == "better"


def labelled(
    outcomes: dict[tuple[str, ...], Difference], review_load: ReviewLoad, notes: tuple[str, ...] = ()
) -> ClassificationResults:
    scores = {"accuracy": mean(0.81), "macro_f1": mean(0.72), "auc": mean(0.93)}
    rows = [ClassificationRow("penchant", "ours", ("text", "audio"), scores)]
    rows += [ClassificationRow("+".join(uses), "alone", uses, scores, found) for uses, found in outcomes.items()]
    rows.append(ClassificationRow("the rest", "member", ("image",), scores, gap(0.5)))
    curve = Reliability((), (), (), 0.0)
    return ClassificationResults(
        ("a", "b"), "b", "macro_f1", 1234, 99, 1, tuple(rows), (), (), curve, (), review_load, notes
    )


FIRST = (
    "Of 1,234 test samples, accuracy is 0.810 [0.800, 0.820], macro F1 0.720 [0.710, 0.730], AUC 0.930 [0.920, 0.940]."
)
NOBODY = ReviewLoad(0.0, 0.81, 0.81)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (gap(0.02), "Fusion helps: it is better than every modality alone."),
        (gap(-0.02, WORSE), "Fusion hurts: one modality alone is better. Use that one."),
        (
            gap(0.0, SAME),
            "Fusion does not help measurably: it is not distinguishable from at least one modality alone.",
        ),
    ],
)
def test_whether_fusion_helps_is_said_with_every_modality_alone(second: Difference, said: str) -> None:
    found = conclusions.labelled_sentences(labelled({("text",): gap(0.03), ("audio", "video"): second}, NOBODY), EN)
    compared = {0.02: "+0.020 [0.010, 0.030]", -0.02: "−0.020 [−0.030, −0.010]", 0.0: "0.000 [−0.010, 0.010]"}[
        second.mean
    ]
    assert found == [
        FIRST,
        f"{said} Ours minus each alone, Macro F1: text +0.030 [0.020, 0.040]; audio + video {compared}.",
    ]


def test_what_is_left_to_a_person_and_what_a_reader_must_know() -> None:
    note = message("the most frequent class")
    found = labelled({}, ReviewLoad(0.125, 0.9, 0.81), (note, "mind the gap"))
    asked = "With 12.5 % of them left to a reviewer, the accuracy of the other answers is 90.0 %, instead of 81.0 %."
    assert conclusions.labelled_sentences(found, EN) == [FIRST, asked, note, "mind the gap"]
    assert conclusions.labelled_sentences(found, ZH)[2:] == [ZH(note), "mind the gap"]
    assert ZH(note) != note


def test_names_of_rows_and_arms() -> None:
    score = mean(0.1)
    row = ClassificationRow("x", "alone", ("text", "plot"), {})
    assert conclusions.labelled_role(row, EN) == "alone: text + plot"
    assert conclusions.labelled_role(replace(row, uses=()), EN) == "alone"

    def arm(kind: str, uses: tuple[str, ...], channel: str = "") -> str:
        return conclusions.arm_name(AblationRow(kind, uses, channel, score, None, None, None), EN)

    assert arm("all", ("behaviour", "text")) == "everything"
    assert arm("behaviour", ("behaviour",)) == "behaviour only"
    assert arm("only", ("text",), "text") == "text only"
    assert arm("without", ("behaviour",), "attribute") == "all but attributes"
    assert arm("some", ("behaviour", "attribute")) == "behaviour + attributes"


def test_sentences_are_said_in_the_language_of_the_page() -> None:
    leaderboard, value = board("ndcg@10", gap(0.03)), PAYING
    said = [
        *conclusions.leaderboard_sentences(leaderboard, ZH),
        conclusions.payoff_sentence(value, "ndcg@10", ZH),
        conclusions.payoff_sentence(replace(value, cost=Cost(0.0, 3.0)), "ndcg@10", ZH),
        conclusions.payoff_sentence(replace(value, cost=Cost(0.0, 0.0)), "ndcg@10", ZH),
        conclusions.classified_sentence(yes_or_no(mean(0.7)), ZH),
        *conclusions.labelled_sentences(labelled({("text",): gap(0.03)}, ReviewLoad(0.1, 0.9, 0.8)), ZH),
        conclusions.labelled_role(ClassificationRow("x", "alone", ("text",), {}), ZH),
    ]
    words = (" of ", " it ", "nothing", "better", "each", "alone", "text", "costs", "finds", "pays")
    for sentence in said:
        assert any("\u4e00" <= sign <= "\u9fff" for sign in sentence)
        assert not [word for word in words if word in sentence.lower()], sentence
