from penchant.core.messages import Translator
from penchant.reporting.labels import metric_label, size_label, stage_label


def test_names_that_are_not_ours_stay_as_they_are():
    zh = Translator("zh")
    assert (zh.channel("text"), zh.channel("Report"), size_label(zh, "users"), size_label(zh, "Report")) == (
        "文本",
        "Report",
        "用户",
        "Report",
    )


def test_metrics_have_the_names_that_each_language_uses():
    shown = [
        metric_label(Translator(language), name)
        for language in ("en", "zh")
        for name in ("recall@20", "hit_rate@5", "macro_f1", "recall")
    ]
    assert shown == ["Recall@20", "Hit rate@5", "Macro F1", "Recall", "Recall@20", "命中率@5", "宏平均 F1", "召回率"]


def test_steps_that_are_not_ours_keep_their_names():
    assert [stage_label(Translator("zh"), name) for name in ("encode", "users")] == ["编码", "users"]
