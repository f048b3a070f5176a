"""Extract text from media with a cached model.

In: the pictures or sounds of a catalog, and a model that writes. Out: one text for each, for a column that joins the others.

Everything is put into words once: the text is kept by the hash of the file's content, with the model and settings that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import polars as pl

from penchant.core.errors import ConfigError, MediaError
from penchant.core.logs import logger, progress_bar
from penchant.core.schema import Finding, Samples
from penchant.data.clean.normalisation import normalise_column
from penchant.encoders.content import WORKERS, RawContent
from penchant.language.written import WrittenStore

BATCH = 16
"""Files put into words between two writes: the most work a killed run loses."""


@dataclass(frozen=True)
class TextExtractor:
    """A model that always writes the same words for the same content.

    Attributes:
        name: What the progress bar says.
        provenance: What every text is stored with.
        load: Brings the model into memory.
        write: Content to words, "" where there are none.
    """

    name: str
    provenance: Mapping[str, Any]
    load: Callable[[], None]
    write: Callable[[Any], str]


@dataclass(frozen=True)
class ExtractedText:
    """What came of it.

    Attributes:
        texts: (items,) words, None where there are none.
        num_files: Different files.
        num_worded: How many of them hold words.
        num_bare: How many could be opened and hold none.
        failures: What could not be opened, and why.
    """

    texts: list[str | None]
    num_files: int
    num_worded: int
    num_bare: int
    failures: tuple[str, ...]

    def first(self) -> tuple[str, ...]:
        """Return two texts to show."""
        return tuple(text for text in self.texts if text is not None)[:2]


def put_into_words(content: RawContent, scribe: TextExtractor, *, cache: Path | None, mark: str) -> ExtractedText:
    """Return the words of every row.

    Args:
        content: Pictures or sounds.
        scribe: Who writes.
        cache: Folder of what was written before; None keeps nothing.
        mark: Texts of another mark are not comparable.

    Raises:
        EncoderError: The model cannot be loaded.
        ArtifactError: The cache cannot be written.
    """
    known = {key: row for row, key in reversed(list(enumerate(content.keys))) if key is not None}
    store = None if cache is None else WrittenStore(cache, mark)
    written = {key: text for key, text in (store.read() if store else {}).items() if key in known}
    work = {key: row for key, row in known.items() if key not in written}
    failures: list[str] = []
    if work:
        scribe.load()
        written |= _write(content, scribe, work, store, failures)
    raw = pl.Series([written.get(key or "") or None for key in content.keys], dtype=pl.String)
    bare = sum(not text for text in written.values())
    return ExtractedText(normalise_column(raw).values.to_list(), len(known), len(written) - bare, bare, tuple(failures))


def check_free(columns: Sequence[str], into: str, where: str) -> None:
    """Check that the new column takes no other's place.

    Raises:
        ConfigError: There is one of that name.
    """
    if into in columns:
        raise ConfigError(
            f"There is a column {into!r} already.", where=f"{where}.into", fix="name the new column otherwise"
        )


def with_words(samples: Samples, into: str, texts: list[str | None], findings: list[Finding]) -> Samples:
    """Return the samples with one more column of text."""
    return replace(
        samples,
        table=samples.table.with_columns(pl.Series(into, texts, pl.String)),
        text_columns=(*samples.text_columns, into),
        findings=(*samples.findings, *findings),
    )


def _write(
    content: RawContent, scribe: TextExtractor, work: Mapping[str, int], store: WrittenStore | None, failures: list[str]
) -> dict[str, str]:
    """Return content hash to words; files are opened in threads while the model works."""

    def load(row: int) -> Any:
        try:
            return content.load(row)
        except MediaError as error:
            return error

    found: dict[str, str] = {}
    keys, began = list(work), perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool, progress_bar(scribe.name, len(keys)) as bar:
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            done: dict[str, str] = {}
            for key, loaded in zip(batch, pool.map(load, [work[key] for key in batch]), strict=True):
                if isinstance(loaded, MediaError):
                    failures.append(f"{content.place(work[key])}: {loaded.message}")
                else:
                    done[key] = scribe.write(loaded)
            if store is not None:
                store.append(done, dict(scribe.provenance))
            found |= done
            bar.advance(len(batch))
    logger.info("%s: %s in %.1f s", scribe.name, f"{len(keys):,}", perf_counter() - began)
    return found
