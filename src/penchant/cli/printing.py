"""Formatting of answers and errors.

In: answers as lines, tables or JSON values. Out: text on stdout; progress and errors on stderr.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from penchant.cli.speaking import SpokenTable, said, spoken_language
from penchant.core.error_translations import translated_parts
from penchant.core.errors import PenchantError
from penchant.core.logs import console, show_logs
from penchant.core.messages import message

out = Console(highlight=False, soft_wrap=True)


@contextmanager
def reported_errors(as_json: bool) -> Iterator[None]:
    """Show progress, and turn errors into three lines (or JSON, for programs) and exit code 1."""
    show_logs()
    try:
        yield
    except PenchantError as error:
        if as_json:
            typer.echo(json.dumps(error.as_dict(), ensure_ascii=False))
        else:
            print_error(error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        show(said(message("Stopped. Finished encodings are kept; run the same command to continue.")))
        raise typer.Exit(130) from None


def print_error(error: PenchantError) -> None:
    """Print what is wrong, where, and how to mend it, in the language of this command; `--json` is for programs and stays English."""
    console.print(f"[bold red]{type(error).__name__}[/]", end=" ")
    language = spoken_language()
    if language == "en":
        console.print(str(error), markup=False)
        return
    what, where, fix = translated_parts(error, language)
    lines = (what, f"  {said(message('where'))}: {where}", f"  {said(message('fix'))}: {fix}")
    console.print("\n".join(lines), markup=False)


def show(line: str) -> None:
    """Print one line beside the progress, on stderr."""
    console.print(line, markup=False)


def print_answer(answer: Any, as_json: bool) -> None:
    """Print an answer: as JSON, or each of its lines."""
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=2, default=str))
    else:
        typer.echo(os.linesep.join(said(str(line) if not isinstance(line, str) else line) for line in answer))


def shell_word(word: object) -> str:
    """Return a word as a shell reads it back; ids are the data's own, so control characters are written as escapes."""
    text = str(word)
    if text.isprintable():
        return shlex.quote(text)
    escaped = (f"\\{c}" if c in "'\\" else c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
    return f"$'{''.join(escaped)}'"


def plain_text(markdown: str) -> str:
    """Return Markdown without the marks that only a renderer needs: escapes and entities."""
    return unescape(re.sub(r"\\([^\w\s]|_)", r"\1", markdown))


def toml_text(text: str) -> str:
    """Return a text as a TOML string; JSON's escapes are TOML's too, but for the character 127."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def columns_table(*columns: str) -> Table:
    """Return an empty table without lines; its headings are translated where `cli/speaking.py` has them."""
    table = SpokenTable(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    return table
