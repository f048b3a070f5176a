import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.metrics.interest import Curve, Reliability
from penchant.metrics.intervals import Interval
from penchant.reporting import plots

NAN = float("nan")


@given(st.lists(st.floats(-1e4, 1e4).filter(lambda v: v == 0 or abs(v) > 1e-6), min_size=1, max_size=5))
def test_scale_holds_all_values_and_0_between_few_round_ticks(values):
    scale = plots.PlotScale.over(values)
    slack = 1e-6 * scale.step
    assert scale.low - slack <= min(0, *values)
    assert scale.high + slack >= max(0, *values)
    assert any(abs(tick) < slack for tick in scale.ticks())
    assert 2 <= len(scale.ticks()) <= 8


def test_scale_labels_have_the_decimals_of_the_step():
    scale = plots.PlotScale.over([-0.011, 0.03])
    assert [scale.label(t) for t in scale.ticks()] == ["−0.02", "0.00", "0.02", "0.04"]
    assert plots.PlotScale.over([NAN]).ticks()[0] == 0


def test_bar_ends_at_the_mean_and_its_whisker_at_the_interval():
    svg = ET.fromstring(plots.bar(plots.PlotScale(0, 1, 0.5), Interval(0.5, 0.25, 0.75, 9), "ours"))
    rect = svg.find("rect")
    assert (rect.get("x"), rect.get("width"), rect.get("class")) == ("0.00%", "50.00%", "bar ours")
    whisker = [line for line in svg.findall("line") if line.get("class").startswith("whisker")]
    assert (whisker[0].get("x1"), whisker[0].get("x2")) == ("25.00%", "75.00%")


@pytest.mark.parametrize("value", [Interval(0.3, NAN, NAN, 2), Interval(NAN, NAN, NAN, 0)])
def test_what_is_missing_is_not_drawn(value):
    for svg in (plots.bar(plots.PlotScale(0, 1, 1), value, "x"), plots.dots(plots.PlotScale(0, 1, 1), [(value, "x")])):
        assert "nan" not in svg
        assert "whisker" not in svg


def test_curves_are_whole_xml_and_escape_their_words():
    curve = Curve((0.0, 0.5, 1.0), (0.0, 0.8, 1.0))
    svg = ET.fromstring(plots.curves([(curve, "ours")], x="<x>", y='"y"', alt="a & b", diagonal=True))
    assert svg.get("aria-label") == "a & b"
    assert "<x>" in [text.text for text in svg.findall("text")]
    trust = plots.calibration([(Reliability((0.2,), (0.3,), (5,), 0.1), "ours")], x="x", y="y", alt="z")
    assert ET.fromstring(trust).find("circle") is not None


def test_stacked_shares_follow_one_another():
    svg = ET.fromstring(plots.stacked([(0.5, "a"), (0.0, "b"), (0.25, "c")]))
    assert [(r.get("x"), r.get("width")) for r in svg.findall("rect")] == [("0.00%", "50.00%"), ("50.00%", "25.00%")]
