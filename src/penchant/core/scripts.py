"""Writing systems.

In: text. Out: which characters are Chinese, for patterns of words and for telling languages apart; Chinese text with the punctuation of Chinese.
"""

from __future__ import annotations

import re

import polars as pl

HAN_CHARACTERS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
"""Chinese characters, the rare ones of names and places among them, as a range inside the brackets of a pattern."""
HAN = re.compile(f"[{HAN_CHARACTERS}]")

WIDE_MARKS = {",": "，", "!": "！", "?": "？", ":": "：", ";": "；"}
"""Punctuation marks that Chinese writes one character wide. Cleaning folds them to ASCII (NFKC), so that both spellings of a text or a list are one."""


def wide_punctuation(text: pl.Expr) -> pl.Expr:
    """Return text in which every mark of `WIDE_MARKS` that follows a Chinese character is wide."""
    for mark, wide in WIDE_MARKS.items():
        text = text.str.replace_all(f"([{HAN_CHARACTERS}]){re.escape(mark)} ?", f"${{1}}{wide}")
    return text
