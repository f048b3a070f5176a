"""The settings of a first run on labelled samples.

In: what labelled data was taken for. Out: a TOML file with comments, in the reader's language.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from penchant.cli.printing import toml_text
from penchant.cli.toml_comments import array, comment, head, inline, media_files, said
from penchant.core.messages import Translator, message

if TYPE_CHECKING:
    from penchant.data.read.guessing_samples import SamplesGuess

SHOWN_CLASSES = 20


def labelled_settings(found: SamplesGuess, name: str, file: Path, say: Translator, language: str) -> str:
    """Return the settings of a first run as TOML with comments.

    Args:
        found: What the data is taken for.
        name: Of the run.
        file: Where the settings will be: paths in them start there.
        say: For the comments.
        language: Of the report.
    """
    top = ('task = "classification"', *head(name, file, say))
    end = ("", "[evaluation]", f"language = {toml_text(language)}", "")
    return "\n".join([*top, *_data(found, file, say), *_split(found, say), *end])


def _data(found: SamplesGuess, file: Path, say: Translator) -> Iterator[str]:
    config, samples = found.config, found.samples
    relative = Path(os.path.relpath(config.path.absolute(), file.parent.absolute()))
    yield from ("", "[data]")
    yield comment(say(message("{rows} rows", rows=f"{len(samples):,}")))
    yield f"path = {toml_text(relative.as_posix())}"
    if config.columns:
        yield f"columns = {inline(config.columns)}"
    counts = samples.table["label"].value_counts(sort=True).head(SHOWN_CLASSES)
    yield comment(say(message("classes: {classes}", classes=", ".join(f"{c} ({n:,})" for c, n in counts.iter_rows()))))
    yield comment(say(message("names that say more, where the classes are numbers or codes:")))
    yield f"# labels = {inline({counts['label'][0]: counts['label'][0]})}"
    roles = {
        message("text: {columns}", columns=", ".join(samples.text_columns)): samples.text_columns,
        message(
            "media: {columns}", columns=", ".join(f"{c} ({m})" for m, c in samples.media_columns.items())
        ): samples.media_columns,
    }
    yield from said(roles, say)
    yield from media_files(config.media_folder, found.missing_media, say)
    if found.unused:
        yield comment(say(message("not read: {columns}", columns=", ".join(found.unused))))
        yield comment(
            say(
                message(
                    "such of them as are known before the label may be learned from; one that follows from it would give it away:"
                )
            )
        )
        yield f"# attributes = {array(found.unused[:1])}"


def _split(found: SamplesGuess, say: Translator) -> Iterator[str]:
    """Say which samples are the test; the settings' own default draws them."""
    columns = found.samples.table.columns
    yield ""
    if "part" in columns:
        yield comment(say(message("the test is the part that the data itself names")))
    elif "group" in columns:
        yield comment(say(message("samples of one group stay together: the test has other groups than the training")))
    else:
        yield comment(
            say(
                message(
                    "the test is a random part; where several samples come from one person, name the column: [data.columns] group"
                )
            )
        )
