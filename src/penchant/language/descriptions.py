"""Item descriptions that a language model generates from the item's own content.

In: a catalog and the columns to read. Out: the same catalog with a further text column, and findings.

Descriptions are stored batch by batch with their provenance: an interrupted run continues, and unchanged content is described once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import polars as pl
from pydantic import Field

from penchant.core.artifacts import fingerprint
from penchant.core.errors import ConfigError, EncoderError, PenchantError, nearest
from penchant.core.logs import logger, progress_bar
from penchant.core.messages import message
from penchant.core.schema import Catalog, Dataset, Finding, make_findings
from penchant.language.engine import Prompt
from penchant.language.grounding import first_sentence, grounded, whole_sentences
from penchant.language.local import LocalConfig
from penchant.language.local_engine import LocalEngine
from penchant.language.written import WrittenStore

PROMPT = (
    "Describe in two sentences what the following is about and what it feels like. "
    "Use only what stands here; name no other works, people or places.\n\n{content}"
)
PATIENCE = (2, 4)
"""A description that has no end within `max_tokens` is written again with so many times as many, one after the other."""
TITLES = ("title", "name")
"""Columns that name an item, beside the catalog's own title column."""


class DescribeConfig(LocalConfig):
    """Generation of item descriptions: the `[describe]` table."""

    columns: list[str]
    """Columns that the model reads; a title only together with a column of text."""
    into: str = "described"
    """The new column, for a `[content.NAME]` table to read."""
    prompt: str = PROMPT
    """Prompt; {content} stands for the columns."""
    max_tokens: int = Field(80, ge=1)
    """Maximum length of a description."""
    max_characters: int = Field(2000, ge=1)
    """Maximum content read of each item."""
    min_characters: int = Field(40, ge=1)
    """An item with less text than this beside its title is not described: the model would use its own knowledge of the title."""
    keep_ungrounded: bool = False
    """Keep sentences with names or numbers that the item's content lacks."""
    batch_size: int = Field(8, ge=1)
    """Items described at once, and the most work that an interrupted run loses."""


def describe(dataset: Dataset, config: DescribeConfig | None, *, cache: Path) -> Dataset:
    """Return the data with a description of each item that has enough text of its own; others get none.

    Args:
        dataset: Clean.
        config: None changes nothing.
        cache: Folder of earlier descriptions.

    Raises:
        ConfigError: An unknown column, or no column except titles.
        EncoderError: The model cannot be loaded, or fails on every item.
        ArtifactError: The cache cannot be written.
    """
    if config is None:
        return dataset
    contents = _contents(dataset.catalog, config)
    writer = DescriptionWriter(config)
    written, failures = _written(contents, writer, cache, dataset.catalog.item_ids)
    texts = [None if content is None else written.get(content) for content in contents]
    if not config.keep_ungrounded:
        texts = [text and grounded(text, content or "") for text, content in zip(texts, contents, strict=True)]
    table = dataset.catalog.table.with_columns(pl.Series(config.into, [text or None for text in texts], pl.String))
    findings = _findings(contents, written, texts, failures, config)
    return replace(dataset, catalog=replace(dataset.catalog, table=table), findings=(*dataset.findings, *findings))


@dataclass(frozen=True)
class DescriptionWriter:
    """A language model that answers one prompt about each content, by greedy decoding."""

    config: DescribeConfig

    @cached_property
    def engine(self) -> LocalEngine:
        """The language model."""
        return LocalEngine(self.config, max_tokens=self.config.max_tokens, batch_size=self.config.batch_size)

    def _patient(self, times: int) -> LocalEngine:
        """Return the same model with room for texts that had no end within the limit."""
        room = times * self.config.max_tokens
        patient = LocalEngine(self.config, max_tokens=room, batch_size=self.config.batch_size)
        patient.__dict__["_parts"] = self.engine.parts  # loaded once
        return patient

    @property
    def provenance(self) -> dict[str, Any]:
        """Model and settings that every description is stored with."""
        return {**self.engine.provenance, "prompt": self.config.prompt}

    def __call__(self, contents: Sequence[str]) -> list[str]:
        """Return one description for each content, ended at its last whole sentence.

        A text without an end within `max_tokens` is written again with more room, and loses all but its first sentence.
        """
        prompts = [self._prompt(self.shortened(content)) for content in contents]
        texts = [whole_sentences(text) for text in self.engine.write(prompts)]
        for times in PATIENCE:
            if not (endless := [n for n, text in enumerate(texts) if not text]):
                break
            again = self._patient(times).write([prompts[n] for n in endless])
            for n, text in zip(endless, again, strict=True):
                texts[n] = first_sentence(text)
        return texts

    def fits(self, content: str) -> bool:
        """Return whether the prompt with all of a content, and the answer, are within the positions of the model."""
        return self.max_prompt is None or self.engine.num_tokens(self._prompt(content)) <= self.max_prompt

    def shortened(self, content: str) -> str:
        """Return as much of a content, from its beginning, as fits the positions of the model."""
        if self.fits(content):
            return content
        low, high = 0, len(content)
        while low < high - 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.fits(content[:middle]) else (low, middle)
        return content[:low]

    @cached_property
    def max_prompt(self) -> int | None:
        """Tokens that a prompt may have, at least half of the model's positions; None for a model that names no limit.

        Raises:
            EncoderError: The prompt alone leaves no position for content.
        """
        positions = self.engine.positions
        if positions is None:
            return None
        room = positions - min(self.config.max_tokens, positions // 2)
        length = self.engine.num_tokens(self._prompt(""))
        if length >= room:
            raise EncoderError(
                f"{self.config.model!r} reads {positions} tokens; the prompt has {length} and leaves none for the content.",
                where="prompt of the language model",
                fix="shorten the prompt, lower max_tokens, or name a model that reads more",
            )
        return room

    def _prompt(self, content: str) -> Prompt:
        return Prompt("", self.config.prompt.replace("{content}", content))


def _contents(catalog: Catalog, config: DescribeConfig) -> list[str | None]:
    """Return the content of each item for the model; None where it is too short."""
    _check(catalog, config)
    titles = {catalog.title_column, *TITLES}
    informative = [c for c in config.columns if c not in titles]
    if len(informative) < len(config.columns):  # beside a title, categories are not enough: a text is needed
        informative = [c for c in informative if c in catalog.text_columns]
    if not informative:
        raise ConfigError(
            f"The language model would read {', '.join(config.columns)} alone, and use its own knowledge of the titles.",
            where="describe.columns",
            fix="add a column of text, or leave the title out",
        )
    rows = catalog.table.select(config.columns).to_dicts()
    return [_content(row, informative, config) for row in rows]


def _check(catalog: Catalog, config: DescribeConfig) -> None:
    for column in config.columns:
        if column not in catalog.table.columns:
            raise ConfigError(
                f"There is no item column {column!r}.",
                where="describe.columns",
                fix=nearest(column, catalog.table.columns),
            )
    if config.into in catalog.table.columns:
        raise ConfigError(
            f"The items have a column {config.into!r} already.", where="describe.into", fix="choose another name"
        )
    if "{content}" not in config.prompt:
        raise ConfigError(
            "The prompt has no placeholder for the item's content.",
            where="describe.prompt",
            fix="write {content} into it",
        )


def _content(row: dict[str, Any], informative: Sequence[str], config: DescribeConfig) -> str | None:
    if sum(len(_words(row[column])) for column in informative) < config.min_characters:
        return None
    lines = [f"{column}: {_words(value)}" for column, value in row.items() if _words(value)]
    return "\n".join(lines)[: config.max_characters]


def _words(value: Any) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value).strip()


def _written(
    contents: Sequence[str | None], writer: DescriptionWriter, cache: Path, item_ids: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Return content to description, and the items that failed."""
    store = WrittenStore(cache, fingerprint(writer.provenance))
    first = {content: row for row, content in reversed(list(enumerate(contents))) if content is not None}
    keys = {fingerprint(content): content for content in first}
    written = {keys[key]: text for key, text in store.read().items() if key in keys}
    missing = sorted(
        (content for content in first if content not in written), key=lambda content: (-len(content), content)
    )
    failures: list[str] = []
    began, size = perf_counter(), writer.config.batch_size
    with progress_bar("describe", len(missing)) as bar:
        for start in range(0, len(missing), size):
            batch = missing[start : start + size]
            done, failed = _write_halving(writer, batch)
            failures += [
                message("{place}: {error}", place=message("item {id}", id=item_ids[first[content]]), error=reason)
                for content, reason in failed
            ]
            if not written and not done and len(failed) > 1:
                raise EncoderError(
                    f"{writer.config.model!r} fails on every item of its first batch: {failed[0][1]}.",
                    where="describe",
                    fix="check that this model writes text, and the prompt",
                )
            store.append({fingerprint(content): text for content, text in done.items()}, writer.provenance)
            written |= done
            bar.advance(len(batch))
    if missing:
        logger.info("describe: %s items in %.1f s", f"{len(missing):,}", perf_counter() - began)
    return written, failures


def _write_halving(writer: DescriptionWriter, batch: Sequence[str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Describe a batch; where that fails, find the failing items by halving."""
    try:
        answers = dict(zip(batch, writer(batch), strict=True))
    except (PenchantError, MemoryError):
        raise
    except Exception as error:
        if len(batch) == 1:
            return {}, [(batch[0], f"{type(error).__name__}: {error}".splitlines()[0])]
        middle = len(batch) // 2
        (done, failed), (more, others) = (_write_halving(writer, half) for half in (batch[:middle], batch[middle:]))
        return {**done, **more}, [*failed, *others]
    limit = PATIENCE[-1] * writer.config.max_tokens
    reason = message(
        "the model wrote no whole sentence within {tokens} tokens: raise describe.max_tokens", tokens=limit
    )
    empty: list[tuple[str, str]] = [(content, reason) for content, text in answers.items() if not text]
    return {content: text for content, text in answers.items() if text}, empty


def _findings(
    contents: Sequence[str | None],
    written: dict[str, str],
    texts: Sequence[str | None],
    failures: Sequence[str],
    config: DescribeConfig,
) -> list[Finding]:
    total = len(contents)
    is_cut = [
        content is not None and content in written and text != written[content]
        for content, text in zip(contents, texts, strict=True)
    ]
    source = message(
        "generated by {model}, greedy, from {columns}; the model may know more about the items than that",
        model=config.model,
        columns=", ".join(config.columns),
    )
    short = message("these items have too little text of their own for a description")
    ungrounded = message("sentences with names or numbers that the item's content lacks were removed")
    failed = message("the item has no description")
    return [
        Finding("describe.written", sum(bool(text) for text in texts), total, "kept", advice=source),
        *make_findings("describe.too_little", sum(c is None for c in contents), total, "masked", advice=short),
        *make_findings("describe.ungrounded", sum(is_cut), total, "repaired", advice=ungrounded),
        *make_findings(
            "describe.failed", len(failures), total, "masked", examples=failures, advice=failed, severity="warning"
        ),
    ]
