"""Clean text columns.

In: a table and the names of its text columns. Out: the table with normalised texts, and findings about repaired, empty and duplicate texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import polars as pl

from penchant.core.messages import message
from penchant.core.schema import MAX_EXAMPLES, Finding, make_findings
from penchant.data.clean.normalisation import CHANGES, NormalisedText, normalise_column

Owner = Callable[[int], str]
"""Returns the name of a row of a table in an example ("item 12")."""


def clean_text(table: pl.DataFrame, columns: Iterable[str], owner: Owner) -> tuple[pl.DataFrame, list[Finding]]:
    """Normalise text columns; the counts are cells, over all of the columns."""
    done = {name: normalise_column(table[name]) for name in columns}
    total = sum(table.height - table[name].null_count() for name in done)
    findings: list[Finding] = []
    for change in CHANGES:
        masks = {name: text.changed[change] for name, text in done.items()}
        examples = _text_examples(table, done, masks, owner)
        count = sum(int(mask.sum()) for mask in masks.values())
        findings += make_findings(
            f"text.{change}", count, total, "repaired", examples=examples, advice=_TEXT_ADVICE[change]
        )
    emptied = {name: text.emptied for name, text in done.items()}
    findings += make_findings(
        "text.empty",
        sum(int(mask.sum()) for mask in emptied.values()),
        total,
        "masked",
        examples=_text_examples(table, done, emptied, owner),
        advice=message("these cells hold no text; the items count as having none"),
    )
    return table.with_columns([text.values for text in done.values()]), findings


_TEXT_ADVICE = {
    "html": message("markup was removed and entities were turned into characters"),
    "mojibake": message("the files were once read in a wrong encoding: export them again as UTF-8"),
    "control": message("invisible characters were removed"),
}


def _text_examples(
    table: pl.DataFrame, done: dict[str, NormalisedText], masks: dict[str, pl.Series], owner: Owner
) -> list[str]:
    """Show the first cells before and after."""
    shown: list[str] = []
    for name, mask in masks.items():
        for row in mask.arg_true()[: MAX_EXAMPLES - len(shown)]:
            before, after = table[name][row], done[name].values[row]
            shown.append(
                message(
                    "{place}, {column}: {before} became {after}",
                    place=owner(row),
                    column=name,
                    before=repr(str(before)[:60]),
                    after=repr((after or "")[:60]),
                )
            )
    return shown


def normalise_categories(table: pl.DataFrame, columns: Iterable[str]) -> pl.DataFrame:
    """Bring category names into one form, so that "Café" written two ways is one category."""
    for name in columns:
        kind = table.schema[name]
        if kind not in {pl.String, pl.List(pl.String)}:
            continue
        column = table[name]
        names = (column if kind == pl.String else column.explode(empty_as_null=True)).drop_nulls().unique()
        clean_names = normalise_column(names).values
        if names.equals(clean_names):
            continue
        element = pl.col(name) if kind == pl.String else pl.element()
        renamed = element.replace_strict(names, clean_names, default=None)
        table = table.with_columns(renamed if kind == pl.String else pl.col(name).list.eval(renamed.drop_nulls()))
    return table


def duplicate_texts(table: pl.DataFrame, columns: Iterable[str], min_length: int) -> list[Finding]:
    """Report items that share a text; columns whose values repeat (a director, a rating) are skipped."""
    count = total = 0
    examples: list[str] = []
    for name in columns:
        long = table.select("item_id", text=name).filter(pl.col("text").str.len_chars() >= min_length)
        shared = long.group_by("text", maintain_order=True).agg("item_id").filter(pl.col("item_id").list.len() > 1)
        if long.height == 0 or 2 * long["text"].n_unique() < long.height:
            continue
        total += long.height
        count += int(shared["item_id"].list.len().sum())
        for text, ids in shared.head(MAX_EXAMPLES).iter_rows():
            some = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
            examples.append(message("items {ids}, {column}: {text}", ids=some, column=name, text=repr(text[:60])))
    advice = message("these items have equal texts: check that they are different items")
    return make_findings("text.duplicate", count, total, "kept", examples=examples, advice=advice)
