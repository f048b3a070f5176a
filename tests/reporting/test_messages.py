from string import Formatter

import pytest

from penchant.reporting.messages import WORDS, Words


@pytest.mark.parametrize("key", WORDS)
def test_both_languages_have_the_same_gaps(key):
    gaps = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in WORDS[key]]
    assert gaps[0] == gaps[1]


def test_names_that_are_not_ours_stay_as_they_are():
    words = Words("zh")
    assert (words.channel("text"), words.channel("report"), words.size("users"), words.size("league")) == (
        "文本",
        "report",
        "用户",
        "league",
    )


def test_metrics_have_the_names_that_each_language_uses():
    shown = [
        Words(language).metric(name) for language in ("en", "zh") for name in ("recall@20", "hit_rate@5", "macro_f1")
    ]
    assert shown == ["Recall@20", "Hit rate@5", "Macro F1", "Recall@20", "命中率@5", "宏平均 F1"]


def test_steps_that_are_not_ours_keep_their_names():
    assert [Words("zh").stage(name) for name in ("encode", "users")] == ["编码", "users"]


def test_braces_in_a_value_are_only_text():
    assert Words("en")("against", name="{0.__class__}") == "against {0.__class__}"
