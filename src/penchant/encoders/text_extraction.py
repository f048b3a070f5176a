"""Extract text from media with a cached model.

In: the images or sounds of a catalog, and a model that extracts text. Out: one text for each, as a further text column.

Each file is read once: its text is stored by the hash of its content, with the model and settings that extracted it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import polars as pl

from penchant.core.errors import ConfigError, MediaError
from penchant.core.logs import logger, progress_bar
from penchant.core.schema import Catalog, Dataset, Finding, Samples, make_findings
from penchant.data.clean.normalisation import normalise_column
from penchant.encoders.content import WORKERS, RawContent
from penchant.language.written import WrittenStore

BATCH = 16
"""Files read between two writes: the most work that an interrupted run loses."""


class TextExtractor(ABC):
    """A deterministic model that extracts text from content.

    Attributes:
        title: Of the progress bar.
    """

    title: ClassVar[str]

    @property
    @abstractmethod
    def provenance(self) -> Mapping[str, Any]:
        """Model, weights and settings that every text is stored with."""

    @property
    @abstractmethod
    def _loaded(self) -> Any:
        """The model, in memory from the first access on."""

    @abstractmethod
    def extract(self, content: Any) -> str:
        """Return the text of some content, "" where there is none."""

    def load(self) -> None:
        """Bring the model into memory.

        Raises:
            EncoderError: It cannot be loaded.
            MissingExtraError: Its extra is not installed.
        """
        _ = self._loaded


@dataclass(frozen=True)
class ExtractedText:
    """Texts of a column of media.

    Attributes:
        texts: (items,) text, None where there is none.
        num_files: Different files.
        num_with_text: Files with text.
        num_without_text: Files that could be opened and hold no text.
        failures: Files that could not be opened, each with the reason.
    """

    texts: list[str | None]
    num_files: int
    num_with_text: int
    num_without_text: int
    failures: tuple[str, ...]

    def findings(self, done: str, failed: str, advice: str, without_media: str) -> list[Finding]:
        """Return the findings about files with text and about files that could not be opened.

        Args:
            done, failed: Names of the two checks.
            advice, without_media: Their advice.
        """
        examples = (text.replace("\n", " / ") for text in self.texts if text is not None)
        counted = [Finding(done, self.num_with_text, self.num_files, "kept", tuple(islice(examples, 2)), advice)]
        return counted + make_findings(
            failed,
            len(self.failures),
            self.num_files,
            "masked",
            examples=self.failures,
            advice=without_media,
            severity="warning",
        )


def extract_texts(content: RawContent, extractor: TextExtractor, *, cache: Path | None, mark: str) -> ExtractedText:
    """Return the text of every row.

    Args:
        content: Images or sounds.
        extractor: The model.
        cache: Folder of earlier texts; None stores nothing.
        mark: Fingerprint of the model and its settings; each has a cache of its own.

    Raises:
        EncoderError: The model cannot be loaded.
        ArtifactError: The cache cannot be written.
    """
    first_row = content.first_rows
    store = None if cache is None else WrittenStore(cache, mark)
    texts = {key: text for key, text in (store.read() if store else {}).items() if key in first_row}
    work = {key: row for key, row in first_row.items() if key not in texts}
    failures: list[str] = []
    if work:
        extractor.load()
        texts |= _extract(content, extractor, work, store, failures)
    raw = pl.Series([texts.get(key or "") or None for key in content.keys], dtype=pl.String)
    empty = sum(not text for text in texts.values())
    cells = normalise_column(raw).values.to_list()
    return ExtractedText(cells, len(first_row), len(texts) - empty, empty, tuple(failures))


def check_new_column(columns: Sequence[str], into: str, where: str) -> None:
    """Check that the new column replaces no other.

    Raises:
        ConfigError: There is a column of that name.
    """
    if into in columns:
        raise ConfigError(
            f"There is a column {into!r} already.", where=f"{where}.into", fix="choose another name for the new column"
        )


def with_text_column(
    samples: Samples,
    into: str,
    where: str,
    extract: Callable[[Catalog], tuple[list[str | None], list[Finding]]],
) -> Samples:
    """Return the samples with a further text column, extracted from their content.

    Args:
        samples: Clean.
        into: Name of the column.
        where: Table of the settings, for messages.
        extract: Returns the text of each row, and findings.

    Raises:
        ConfigError: There is a column of that name.
    """
    check_new_column(samples.table.columns, into, where)
    texts, findings = extract(samples.catalog())
    return replace(
        samples,
        table=samples.table.with_columns(pl.Series(into, texts, pl.String)),
        text_columns=(*samples.text_columns, into),
        findings=(*samples.findings, *findings),
    )


def items_with_text(
    dataset: Dataset,
    into: str,
    where: str,
    extract: Callable[[Catalog], tuple[list[str | None], list[Finding]]],
) -> Dataset:
    """Return the data with a further text column of its items; arguments as in `with_text_column`.

    Raises:
        ConfigError: There is a column of that name.
    """
    catalog = dataset.catalog
    check_new_column(catalog.table.columns, into, where)
    texts, findings = extract(catalog)
    table = catalog.table.with_columns(pl.Series(into, texts, pl.String))
    catalog = replace(catalog, table=table, text_columns=(*catalog.text_columns, into))
    return replace(dataset, catalog=catalog, findings=(*dataset.findings, *findings))


def _extract(
    content: RawContent,
    extractor: TextExtractor,
    work: Mapping[str, int],
    store: WrittenStore | None,
    failures: list[str],
) -> dict[str, str]:
    """Return content hash to text; files are opened in threads while the model works."""

    def load(row: int) -> Any:
        try:
            return content.load(row)
        except MediaError as error:
            return error

    texts: dict[str, str] = {}
    keys, began = list(work), perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool, progress_bar(extractor.title, len(keys)) as bar:
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            done: dict[str, str] = {}
            for key, loaded in zip(batch, pool.map(load, [work[key] for key in batch]), strict=True):
                if isinstance(loaded, MediaError):
                    failures.append(f"{content.place(work[key])}: {loaded.message}")
                else:
                    done[key] = extractor.extract(loaded)
            if store is not None:
                store.append(done, extractor.provenance)
            texts |= done
            bar.advance(len(batch))
    logger.info("%s: %s in %.1f s", extractor.title, f"{len(keys):,}", perf_counter() - began)
    return texts
