"""The page of blocked and doubtful pictures, in both languages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from penchant.core.messages import Translator
from penchant.pipelines.moderation import ModerationConfig, _how
from penchant.reporting.moderation_report import ModerationResults, ScreenedImage, write_screening

DATA = ModerationResults(
    "run",
    "nudity",
    1234,
    (ScreenedImage("a.png", 0.9, 0.5, regions=(("FACE", 0.7),), preview="data:image/jpeg;base64,eA=="),),
    (ScreenedImage("b.png", 0.4, 0.5, is_readable=False),),
    _how(ModerationConfig(threshold=0.5)),
)


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (
            "en",
            (
                "1,234 pictures: 1 blocked, 1 for review, 1 of them unreadable",
                "Blocked: 1",
                "could not be opened",
                "score 0.90",
            ),
        ),
        ("zh", ("1,234 张图片：拦截 1 张，待审核 1 张，其中 1 张无法读取", "已拦截: 1", "无法打开", "分数 0.90")),
    ],
)
def test_page_is_in_the_readers_language(tmp_path: Path, language: str, expected: tuple[str, ...]) -> None:
    write_screening(DATA, tmp_path, Translator(language))
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    for words in expected:
        assert words in page
    assert expected[0] in text
    numbers = json.loads((tmp_path / "report.json").read_text())["screening"]
    assert numbers["protocol"] == list(map(str, DATA.protocol))  # values are the same in every language
    if language == "zh":
        assert 'lang="zh-CN"' in page
        shown = re.sub(r"<style>.*?</style>|<[^>]*>", "", page, flags=re.DOTALL)
        names = {"run", "nudity", "a.png", "b.png", "NudeNet", "FACE", *ModerationConfig().labels}
        for name in names:
            shown = shown.replace(name, "")
        assert re.findall(r"[A-Za-z]{4,}", shown) == []
