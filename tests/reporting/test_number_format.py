import numpy as np
import pytest

from penchant.metrics.intervals import Difference, Interval
from penchant.reporting import number_format

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Interval(0.12134, 0.118, 0.1251, 9), "0.1213 [0.1180, 0.1251]"),
        (Interval(0.12134, 0.10, 0.14, 9), "0.121 [0.100, 0.140]"),
        (Interval(0.52, 0.1, 0.9, 9), "0.52 [0.10, 0.90]"),
        (Interval(0.52, NAN, NAN, 3), "0.520"),
        (Interval(NAN, NAN, NAN, 0), "–"),
    ],
)
def test_interval_shows_the_digits_it_supports(value, text):
    assert number_format.interval(value) == text


def test_difference_has_a_sign_and_a_true_minus():
    assert number_format.difference(Difference(0.0121, 0.009, 0.015, 0.01, "better", 99)) == "+0.0121 [0.0090, 0.0150]"
    assert number_format.difference(Difference(-0.05, -0.09, 0.01, 0.01, "worse", 99)) == "−0.050 [−0.090, 0.010]"
    assert number_format.points(Difference(0.0121, 0.009, 0.015, 0.01, "better", 99)) == "+1.2 [0.9, 1.5]"
    assert number_format.difference(None) == "–"


def test_zero_has_no_sign():
    assert number_format.signed(-0.0001, 2) == "0.00"
    assert number_format.signed(0.0001, 2) == "0.00"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00002, "< 0.1 ms"),
        (0.0004, "0.4 ms"),
        (0.85, "850 ms"),
        (12.34, "12.3 s"),
        (59.97, "1 min 0 s"),
        (200, "3 min 20 s"),
        (4320, "1 h 12 min"),
        (-2, "−2.0 s"),
        (None, "–"),
    ],
)
def test_seconds_are_read_at_a_glance(value, text):
    assert number_format.seconds(value) == text


def test_shares_counts_and_sizes():
    assert number_format.percent(0.1213) == "12.1 %"
    assert number_format.percent(np.nan) == "–"
    assert number_format.count(1234567) == "1,234,567"
    assert (number_format.size(1_900_000_000), number_format.size(512_000_000), number_format.size(None)) == (
        "1.9 GB",
        "512 MB",
        "–",
    )
