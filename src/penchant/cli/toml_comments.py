"""Settings with comments, as `penchant init` writes them.

In: texts and values. Out: lines of TOML.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from penchant.cli.printing import shell_word, toml_text
from penchant.core.messages import Message, Translator, message


def head(name: str, file: Path, say: Translator) -> Iterator[str]:
    """Yield the first lines: what to do with the file, and the name of the run."""
    yield comment(
        say(
            message(
                "Written by `penchant init`. Read it, correct what is wrong, then: penchant check, doctor, run {file}",
                file=shell_word(file),
            )
        )
    )
    yield comment(say(message("Every setting, with its meaning: penchant list settings")))
    yield f"name = {toml_text(name)}"


def comment(text: str) -> str:
    """Return a text as a comment: one line, whatever the data's own names hold."""
    return "# " + "".join(c if c.isprintable() else " " for c in text)


def inline(pairs: Mapping[str, str]) -> str:
    """Return an inline table."""
    return f"{{ {', '.join(f'{toml_text(a) if not a.isidentifier() or not a.isascii() else a} = {toml_text(b)}' for a, b in pairs.items())} }}"


def array(values: Sequence[str]) -> str:
    """Return an array of texts."""
    return f"[{', '.join(map(toml_text, values))}]"


def said(roles: Mapping[Message, Collection[str]], say: Translator) -> Iterator[str]:
    """Yield a comment for each text that is about at least one column."""
    for text, columns in roles.items():
        if columns:
            yield comment(say(text))


def media_files(folder: str | None, missing: Collection[str], say: Translator) -> Iterator[str]:
    """Yield the setting of the folder that paths of media start from, and which columns' files were not found there."""
    if folder:
        yield comment(say(message("paths of media start here")))
        yield f"media_folder = {toml_text(folder)}"
    if missing:
        yield comment(
            say(
                message(
                    "CHECK THIS: no file of {columns} was found; set media_folder to the folder that the paths start from",
                    columns=", ".join(missing),
                )
            )
        )
