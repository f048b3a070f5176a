"""The sentences a reader decides by, written out, and what to do next."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest

from penchant.core.messages import Translator, message
from penchant.data.doctor.warnings import DataWarning
from penchant.metrics.ablation import DOES_NOT_PAY, PAYS, Ablation, ModalityValue
from penchant.metrics.comparison import Cost
from penchant.metrics.intervals import BETTER, SAME, WORSE, Interval
from penchant.metrics.slices import Slice
from penchant.reporting import conclusions
from penchant.reporting import first_screen as screen

from .test_conclusions import board, gap, mean

EN, ZH = Translator("en"), Translator("zh")
WORST = DataWarning(
    0.9, message("{count} events are in two parts of the split.", count=3), message("drop duplicate events first")
)
SMALL = DataWarning(0.1, "Half of it.", "bring more")


@pytest.mark.parametrize(
    ("outcome", "value", "said"),
    [
        (BETTER, 0.03, "Yes: it recommends better than the best baseline, EASE. Recall@10 is higher by 15 %."),
        (WORSE, -0.002, "No: the best baseline, EASE, recommends better. Recall@10 is lower by 1.0 %."),
        (SAME, 0.03, "Not shown: on these users it cannot be told apart from the best baseline, EASE."),
    ],
)
def test_verdict_follows_the_outcome(outcome: str, value: float, said: str) -> None:
    assert screen.verdict(board("recall@10", gap(value, outcome)), EN) == said


def test_no_verdict_without_a_comparison() -> None:
    alone = board("recall@10", gap(0.03))
    assert screen.verdict(replace(alone, rows=alone.rows[:1]), EN) == ""


def test_baseline_that_is_best_on_the_test_is_named_where_another_was_chosen() -> None:
    chosen = board("recall@10", gap(0.03))
    assert screen.strongest_sentence(chosen, EN) == ""
    other = replace(chosen, strongest="EASE", to_strongest=gap(0.01, SAME))
    assert screen.strongest_sentence(other, EN) == (
        "Of all baselines, EASE is best on the test itself, Recall@10 0.200: ours against it +0.010 [0.000, 0.020], not distinguishable."
    )


def test_ceiling_is_given_as_the_share_that_is_reached() -> None:
    said = screen.ceiling_sentence(board("recall@10", gap(0.03)), {"recall@10": mean(0.4)}, EN)
    assert (
        "would reach Recall@10 0.400 [0.390, 0.410]; the rest is chance. Ours reaches 57 % of that, EASE 50 %." in said
    )
    assert screen.ceiling_sentence(board("recall@10", gap(0.03)), {}, EN) == ""


def test_lead_is_split_by_the_time_since_the_last_event() -> None:
    def part(group: str, users: int, value: float, outcome: str, dimension: str = screen.TIME_SINCE) -> Slice:
        nothing = Interval(0, 0, 0, 1)
        return Slice(dimension, group, "ndcg@10", users, users, None, nothing, mean(0.2), gap(value, outcome))

    rows = [part("within an hour", 90, 0.03, BETTER), part("over a day", 10, 0.005, SAME)]
    assert screen.lead_sentence([*rows, part("1-5", 100, 0.1, BETTER, "history length")], EN) == (
        "By the time since a user's last known event, NDCG@10: within an hour (90 % of users) +0.030 [0.020, 0.040], better; "
        "over a day (10 % of users) +0.005 [-0.005, 0.015], not distinguishable.".replace("-", "−")
    )
    assert screen.lead_sentence([part("1-5", 100, 0.1, BETTER, "history length")], EN) == ""
    several = [replace(rows[0], num_rows=360), replace(rows[1], num_rows=40), replace(rows[1], num_rows=400)]
    said = screen.lead_sentence(several, EN, has_requests=True)
    assert [f"({share} % of requests)" in said for share in (45, 5, 50)] == [True] * 3
    assert "（45 % 的请求）" in screen.lead_sentence(several, ZH, has_requests=True)


def test_cheap_modalities_without_a_gain_share_a_sentence() -> None:
    values = (
        ModalityValue("text", gap(0.03), Cost(1.0, 0.1, 99.0), PAYS),
        ModalityValue("audio", gap(0.001, SAME), Cost(1.0, 0.1, 50.0), SAME),
        ModalityValue("attribute", gap(0.001, SAME), Cost(0.1, 0.0), SAME),
        ModalityValue("bio", gap(0.001, SAME), Cost(0.0, 0.0), SAME),
    )
    coverage = {"text": screen.Coverage(1.0, 0, 99.0), "audio": screen.Coverage(1.0, 0, 50.0)}
    said = screen.modality_sentences(Ablation("ndcg@10", (), values), coverage, EN)
    assert len(said) == 3
    assert said[0].endswith("It costs 1 min 40 s once, nearly all of it to encode the content, and 0.1 ms per user.")
    assert said[1].startswith("Audio: not distinguishable from noise")
    assert said[2] == "Not distinguishable from noise, and cheap: attributes, users' bios."
    alone = screen.modality_sentences(Ablation("ndcg@10", (), values[2:3]), coverage, EN)
    assert alone == conclusions.ablation_sentences(Ablation("ndcg@10", (), values[2:3]), EN)


def test_only_harmful_warnings_stand_before_the_results() -> None:
    assert screen.warning_sentences([WORST, SMALL], EN) == ["3 events are in two parts of the split."]
    assert screen.warning_sentences([WORST], ZH) == ["3 个事件同时出现在划分的两部分中。"]


def test_steps_begin_with_the_data_and_then_the_modality_that_matters_most() -> None:
    values = (
        ModalityValue("text", gap(0.03), None, PAYS),
        ModalityValue("audio", gap(0.001, SAME), None, SAME),
        ModalityValue("image", gap(-0.02, WORSE), None, DOES_NOT_PAY),
        ModalityValue("attribute", gap(0.001, SAME), None, SAME),
    )
    coverage = {
        "text": screen.Coverage(0.9, 40, 10.0),
        "audio": screen.Coverage(1.0, 0, 60.0),
        "attribute": screen.Coverage(1.0, 0, 0.1),
    }
    steps = screen.next_steps([WORST, SMALL], None, Ablation("ndcg@10", (), values), coverage, EN)
    assert steps == [
        "3 events are in two parts of the split. To do: drop duplicate events first.",
        "Leave out image: lists are better without it.",
        "Audio: 1 min 0 s to encode and no gain to see; leave it out, or try another encoder.",
    ]
    alone = screen.next_steps([], None, Ablation("ndcg@10", (), values[:1]), coverage, EN)
    assert alone == ["Text: pays, and 40 items (10 %) have none; add it there."]
    unmeasured = {"audio": screen.Coverage(1.0, 0, nan)}
    assert screen.next_steps([], None, Ablation("ndcg@10", (), values[1:2]), unmeasured, EN) == []


def test_steps_after_a_comparison_that_decides_nothing_say_what_would_be_seen() -> None:
    undecided = board("recall@10", replace(gap(0.01, SAME), detectable=0.02))
    (step,) = screen.next_steps([], undecided, None, {}, EN)
    assert step.startswith("A difference below 0.020 would not be seen with 50 users")
    (step,) = screen.next_steps([], board("recall@10", gap(-0.03, WORSE)), None, {}, EN)
    assert step.startswith("EASE alone is better: serve it")
