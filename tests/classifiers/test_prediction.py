"""Predictions as lines of text."""

from __future__ import annotations

import pytest

from penchant.classifiers.prediction import Prediction, percent, prediction_lines


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0.0%"),
        (1e-7, "below 0.1%"),
        (0.0004999, "below 0.1%"),
        (0.0005, "0.1%"),
        (0.4567, "45.7%"),
        (0.9994, "99.9%"),
        (1 - 1e-9, "above 99.9%"),
        (1.0, "100.0%"),
    ],
)
def test_a_share_is_not_rounded_to_never_or_always(value: float, said: str) -> None:
    assert percent(value) == said


def test_answer_comes_first_and_notes_last() -> None:
    found = Prediction(
        "glad",
        0.9,
        1e-7,
        {"cross": 0.1, "glad": 0.9},
        True,
        evidence=(("lovely", 1.234),),
        transcript="so lovely",
        written="GRAND\nHOTEL",
        notes=("not a diagnosis",),
    )
    assert prediction_lines(found) == [
        "glad  90.0% (threshold below 0.1%)  UNSURE: needs review",
        "glad 90.0%, cross 10.0%",
        'transcript: "so lovely"',
        "because of lovely +1.23",
        'written: "GRAND / HOTEL"',
        "not a diagnosis",
    ]
