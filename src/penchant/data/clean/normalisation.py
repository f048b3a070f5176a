"""Normalise text.

In: raw text columns. Out: NFKC text without markup or damage, and the rows of each kind of damage.
"""

from __future__ import annotations

import html
import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from html.entities import html5
from typing import Any

import ftfy
import polars as pl

from penchant.core.scripts import HAN, HAN_CHARACTERS

INLINE_TAGS = (
    "a|abbr|b|bdi|bdo|big|cite|code|del|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|tt|u|var|wbr"
)
BLOCK_TAGS = (
    "address|article|aside|blockquote|body|br|button|caption|center|col|dd|div|dl|dt|figcaption|figure|footer|form|h[1-6]|head"
    "|header|hr|html|iframe|img|input|label|li|link|main|meta|nav|ol|option|p|pre|section|select|source|table|tbody|td|textarea"
    "|tfoot|th|thead|title|tr|ul|video"
)
_HIDDEN = r"(?is)<!--.*?-->|<(?:script|style)\b[^<>]*>.*?</(?:script|style)\s*>"
_INLINE = rf"(?i)</?(?:{INLINE_TAGS})(?:\s[^<>]*)?/?>"
_BLOCK = rf"(?i)</?(?:{BLOCK_TAGS})(?:\s[^<>]*)?/?>"
_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
_ENTITY_PATTERN = re.compile(_ENTITY)
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffd]"
"""Joiners (200c, 200d) stay: emoji and several scripts are written with them."""
_SPACE = r"[\s\u0085\u2028\u2029]+"

_SCRIPTS = {
    "zh": HAN,
    "ja": re.compile("[\u3041-\u30ff]"),
    "ko": re.compile("[\uac00-\ud7af]+"),
    "ru": re.compile("[\u0400-\u04ff]+"),
    "ar": re.compile("[\u0600-\u06ff]+"),
    "en": re.compile("[A-Za-z]+"),
    "other": re.compile("[^\\W\\d_A-Za-z\u0400-\u06ff\u3041-\u30ff\uac00-\ud7af" + HAN_CHARACTERS + "]+"),
}
_WORD = re.compile(f"([{HAN_CHARACTERS}]+)|((?:(?![{HAN_CHARACTERS}_])\\w)+(?:['-](?:(?![{HAN_CHARACTERS}_])\\w)+)*)")

CHANGES = ("html", "mojibake", "control")
"""Repairs of `normalise_column`, in its order; NFKC and white space are not counted."""


@dataclass(frozen=True)
class NormalisedText:
    """A normalised text column.

    Attributes:
        values: Normalised text; null where it is empty.
        changed: For each of `CHANGES`, (rows,) bool: this row was repaired.
        emptied: (rows,) bool: not null before, null now.
    """

    values: pl.Series
    changed: dict[str, pl.Series]
    emptied: pl.Series


def normalise_column(texts: pl.Series) -> NormalisedText:
    """Return a column of NFKC text, each in one line: no markup, entities, control characters or mojibake.

    Only rows that hold a suspicious character reach Python, so clean text costs a few passes of Rust.
    """
    texts = texts.cast(pl.String)
    steps = (
        texts,
        without_html := _strip_html(texts),
        repaired := _repair_mojibake(without_html),
        _strip_control(repaired),
    )
    changed = {
        name: (before != after).fill_null(False) for name, before, after in zip(CHANGES, steps, steps[1:], strict=False)
    }
    values = steps[-1].str.normalize("NFKC").str.replace_all(_SPACE, " ").str.strip_chars()
    values = values.set(values == "", None)
    return NormalisedText(values.alias(texts.name), changed, texts.is_not_null() & values.is_null())


def language(text: str) -> str:
    """Return "zh", "ja", "ko", "ru", "ar", "en" or "other" by script.

    For reports and the choice of an encoder; no language detection: unaccented Latin script counts as English.
    One Han character counts as much as one Latin word.
    """
    counts = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS.items()}
    if counts["ja"] > 0.1 * (counts["ja"] + counts["zh"]):
        return "ja"
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else "other"


def words(text: str) -> list[str]:
    """Return lower-case words in order: jieba for Chinese, runs of letters and digits for the rest."""
    tokens: list[str] = []
    for han, other in _WORD.findall(text.lower().replace("’", "'")):
        if han:
            tokens.extend(_segmenter().cut(han))
        else:
            tokens.append(other)
    return tokens


def _strip_html(texts: pl.Series) -> pl.Series:
    """Turn entities into characters, then drop tags: scraped text is often escaped first."""
    suspicious = texts.str.contains("[<&]").fill_null(False)
    if not suspicious.any():
        return texts
    chosen = texts.filter(suspicious)
    for _ in range(2):  # twice escaped (&amp;nbsp;) is common
        entities = chosen.str.contains(_ENTITY)
        chosen = _apply(chosen, entities, _unescape)
    chosen = chosen.str.replace_all(_HIDDEN, " ").str.replace_all(_INLINE, "").str.replace_all(_BLOCK, " ")
    return _put(texts, suspicious, chosen)


def _unescape(text: str) -> str:
    """Turn whole entities into characters; `html.unescape` would also take the start of a name (&notit; to ¬it;)."""
    return _ENTITY_PATTERN.sub(
        lambda found: html.unescape(found[0]) if found[0][1] == "#" else html5.get(found[0][1:], found[0]), text
    )


def _repair_mojibake(texts: pl.Series) -> pl.Series:
    """Undo text that was read in the wrong encoding."""
    return _apply(texts, texts.str.contains(r"[^\x00-\x7f]"), _repair)


def _strip_control(texts: pl.Series) -> pl.Series:
    return texts.str.replace_all(_CONTROL, "")


def _apply(texts: pl.Series, where: pl.Series, function: Any) -> pl.Series:
    """Apply a Python function to some rows."""
    where = where.fill_null(False)
    if not where.any():
        return texts
    return _put(texts, where, pl.Series([function(text) for text in texts.filter(where)], dtype=pl.String))


def _put(texts: pl.Series, where: pl.Series, new: pl.Series) -> pl.Series:
    """Return `texts` with the rows of `where` replaced, in order."""
    return texts.clone().scatter(where.arg_true(), new)  # scatter writes in place


def _repair(text: str) -> str:
    """Undo one wrong encoding: by ftfy, then the two wrong encodings of Chinese text that ftfy does not cover."""
    repaired = ftfy.fix_encoding(text)
    return repaired if repaired != text else next(_repair_chinese(text), text)


def _repair_chinese(text: str) -> Iterator[str]:
    """Yield the text as it was before UTF-8 was read as GBK, or GBK as Latin-1.

    Genuine text can rarely be decoded this way, and a result counts only if it is common Chinese.
    """
    for wrong, right in (("gb18030", "utf-8"), ("latin-1", "gb2312")):
        if wrong == "latin-1" and sum(c > "\x7f" for c in text) < 0.6 * len(text):
            continue  # Western text with accents
        try:
            repaired = text.encode(wrong).decode(right)
        except UnicodeError:
            continue
        non_ascii = [character for character in repaired if character > "\x7f"]
        if len(non_ascii) >= 2 and sum(map(_is_common_chinese, non_ascii)) >= 0.9 * len(non_ascii):
            yield repaired


def _is_common_chinese(character: str) -> bool:
    """Return whether it is one of the 3,755 frequent characters of GB 2312 (first level), or full-width punctuation."""
    code = character.encode("gb2312", "replace")
    return len(code) == 2 and (0xB0 <= code[0] <= 0xD7 or code[0] in {0xA1, 0xA3})


@lru_cache(maxsize=1)
def _segmenter() -> Any:
    """Return jieba's segmenter, built in memory (about a second).

    Its own start would read and write a marshalled cache in the shared temporary folder, where another account could place one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # written for an older Python
        import jieba

    jieba.setLogLevel(logging.ERROR)
    segmenter = jieba.Tokenizer()
    segmenter.FREQ, segmenter.total = segmenter.gen_pfdict(segmenter.get_dict_file())
    segmenter.initialized = True
    return segmenter
