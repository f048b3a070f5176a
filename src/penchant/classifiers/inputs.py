"""Inputs of a trained classifier, and new content in the form of the training content.

In: words, numbers and files, with any of them missing or unknown. Out: a `ContentBatch` with its frozen channels, its transcripts and
printed text, and the error of every file that could not be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32

from penchant.classifiers.classifier import ContentBatch
from penchant.classifiers.media_errors import Unread, both, none_unread, refused, watched, why_wordless
from penchant.core.errors import DataError
from penchant.core.logs import progress_bar
from penchant.core.schema import Catalog, Embeddings
from penchant.data.clean.normalisation import normalise_column
from penchant.data.media import MediaLimits
from penchant.encoders.catalog import PRECOMPUTED, ChannelConfig, encode_batches, make_encoder
from penchant.encoders.content import find_content
from penchant.encoders.encoder import Encoder
from penchant.encoders.ocr import OcrConfig, OcrReader, read_pictures
from penchant.encoders.transcript import SpeechRecogniser, TranscriptConfig, transcribe_catalog


@dataclass(frozen=True)
class FrozenChannel:
    """One frozen channel, so that new content is encoded as training content was.

    Attributes:
        config: Encoder, columns and options.
        modality: What it reads.
        dim: Numbers for each item.
    """

    config: ChannelConfig
    modality: str
    dim: int


@dataclass(frozen=True)
class PreparedContent:
    """Content in the form of training content, with transcripts, printed text and unreadable files.

    Attributes:
        batch: The content.
        transcripts: (rows,) speech of the sound, where it is transcribed.
        written: (rows,) text printed in the picture, where it is read.
        unread: (rows,) files that could not be read.
    """

    batch: ContentBatch
    transcripts: Sequence[str | None]
    written: Sequence[str | None]
    unread: Sequence[Unread]

    def parts(self, size: int) -> Iterator[PreparedContent]:
        """Yield the rows in order, at most `size` at once."""
        for start in range(0, len(self.batch), size):
            part = slice(start, start + size)
            rows = np.arange(len(self.batch))[part]
            yield PreparedContent(self.batch.take(rows), self.transcripts[part], self.written[part], self.unread[part])


@dataclass(frozen=True)
class ClassifierInputs:
    """What a trained classifier reads.

    Attributes:
        channels: Frozen channels by name.
        text_columns: Columns with words.
        media_columns: Modality to column.
        attribute_columns: Categories and numbers.
        limits: Of media files.
        transcript: Speech recogniser, whose transcript is read as text; None for none.
        ocr: Reader of text printed in pictures; None for none.
        signals: File below the folder of media that held every sample's readings in training, found by `sample_id`; None where each
            sample had a file of its own.
    """

    channels: Mapping[str, FrozenChannel]
    text_columns: tuple[str, ...]
    media_columns: Mapping[str, str]
    attribute_columns: tuple[str, ...]
    limits: MediaLimits = field(default_factory=MediaLimits)
    transcript: TranscriptConfig | None = None
    ocr: OcrConfig | None = None
    signals: str | None = None

    @property
    def modalities(self) -> list[str]:
        """What it reads, attributes by their own names."""
        found = ["text"] if self.text_columns else []
        found += list(self.opened)
        return [*found, *self.attribute_columns]

    @property
    def opened(self) -> dict[str, str]:
        """Modality to column of the files it opens: those of training, sound that is transcribed, pictures whose text is read."""
        if not self.text_columns:
            return dict(self.media_columns)
        readers = {"audio": self.transcript, "image": self.ocr}
        return {
            **{modality: modality for modality, reader in readers.items() if reader is not None},
            **self.media_columns,
        }

    def row(
        self, text: str | Mapping[str, str] | None, content: Mapping[str, str | Path | float]
    ) -> tuple[dict[str, Any], list[str]]:
        """Return one piece of content as a row whose files lie below /, and the names of what it does not read.

        Raises:
            DataError: The content holds nothing that it reads.
        """
        row: dict[str, Any] = {}
        ignored: list[str] = []
        if text is not None and not self.text_columns:
            ignored.append("text")
        elif isinstance(text, Mapping):
            row |= {column: _encodable(value) for column, value in text.items() if column in self.text_columns}
        elif text is not None:
            row[self.text_columns[0]] = _encodable(text)
        for name, value in content.items():
            column = self.opened.get(name, name)
            if name in self.opened:
                row[column] = Path(value).absolute().relative_to("/").as_posix()  # type: ignore[arg-type]
            elif name in self.attribute_columns:
                row[column] = _encodable(value) if isinstance(value, str) else value
            else:
                ignored.append(name)
        if not row:
            reads = ", ".join(self.modalities)
            raise DataError(
                f"The content holds nothing to classify: the classifier reads {reads}.",
                where=f"the content given ({', '.join(ignored) or 'none'})",
                fix=f"give {reads}",
            )
        return row, ignored

    def read(self, table: pl.DataFrame, root: Path, columns: Mapping[str, str]) -> PreparedContent:
        """Return a table in the form of training content, text normalised, nothing encoded yet.

        Args:
            table: Columns as in training; unknown ones are ignored, missing ones are missing content.
            root: Folder the paths of media are below.
            columns: Our columns' names to the table's.

        Raises:
            DataError: The table holds none of the columns learned from.
        """
        table = self._with_signals(table, columns)
        transcripts: list[str | None] = [None] * table.height
        written: list[str | None] = [None] * table.height
        unread = none_unread(table.height)
        sounds = self._files(table, "audio", root, columns)
        if self.transcript is not None and sounds is not None:
            transcripts, findings = transcribe_catalog(sounds, self._recogniser, self.limits, cache=None)
            unread = both(unread, why_wordless(sounds, "audio", transcripts, findings, self.limits))
            table = self._joined(table, transcripts, self.transcript.into, columns)
        pictures = self._files(table, "image", root, columns)
        if self.ocr is not None and pictures is not None:
            written, findings = read_pictures(pictures, self._reader, self.limits, cache=None)
            unread = both(unread, why_wordless(pictures, "image", written, findings, self.limits))
            table = self._joined(table, written, self.ocr.into, columns)
        return PreparedContent(self._batch(table, root, columns), transcripts, written, unread)

    def encode(self, batch: ContentBatch) -> tuple[ContentBatch, list[Unread]]:
        """Return the batch with its frozen channels; an unreadable file is missing, with its error for each row."""
        channels, unread = {}, none_unread(len(batch))
        for name, channel in self.channels.items():
            values, present = np.zeros((len(batch), channel.dim), np.float32), np.zeros(len(batch), bool)
            if name in self._encoders:
                self._fill(values, present, batch, name, unread)
            channels[name] = Embeddings(name, channel.modality, values, present, channel.config.encoder)
        return replace(batch, channels=channels), unread

    def _fill(
        self,
        values: Float32[np.ndarray, "rows dim"],
        present: Bool[np.ndarray, " rows"],
        batch: ContentBatch,
        name: str,
        unread: Sequence[Unread],
    ) -> None:
        """Fill in the vectors of one channel, their presence, and the errors of unreadable files."""
        channel, encoder, failures = self.channels[name], self._encoders[name], list[str]()
        columns, modality = channel.config.columns, channel.modality
        content, errors = watched(find_content(batch.catalog, columns, modality, self.limits, where=f"content.{name}"))
        work = [(str(row), row) for row, key in enumerate(content.keys) if key is not None]
        size = channel.config.batch_size or encoder.batch_size
        with progress_bar(f"encode {name}", len(work)) as bar:
            for keys, vectors in encode_batches(encoder, content, work, failures, size=size, proven=True):
                rows = [int(key) for key in keys]
                values[rows], present[rows] = vectors, True
                bar.advance(len(keys))
        for _, row in work:
            if not present[row] and modality in self.media_columns:
                unread[row][modality] = errors.get(row) or refused(content, row, name, failures)

    def _with_signals(self, table: pl.DataFrame, columns: Mapping[str, str]) -> pl.DataFrame:
        """Return the table with the place of each row's readings, where those of training were in one table beside it."""
        column, key = self.media_columns.get("signal", ""), columns.get("sample_id", "sample_id")
        column = columns.get(column, column)
        if self.signals is None or column in table.columns or key not in table.columns:
            return table
        place = pl.format("{}#{}", pl.lit(self.signals), pl.col(key).cast(pl.String).str.strip_chars())
        return table.with_columns(place.alias(column))

    def _files(self, table: pl.DataFrame, modality: str, root: Path, columns: Mapping[str, str]) -> Catalog | None:
        """Return a table's files of one modality; None where it has no such column, or words are not read."""
        column = self.opened.get(modality, modality)
        column = columns.get(column, column)
        if not self.text_columns or column not in table.columns:
            return None
        ids = pl.Series("item_id", range(table.height)).cast(pl.String)
        cells = table.select(ids, pl.col(column).cast(pl.String).alias(modality))
        return Catalog(cells, media_columns={modality: modality}, media_root=root)

    def _joined(
        self, table: pl.DataFrame, words: Sequence[str | None], into: str, columns: Mapping[str, str]
    ) -> pl.DataFrame:
        """Return a table with words in the column they had in training, else behind the first column of words."""
        ours = into if into in self.text_columns else self.text_columns[0]
        theirs = columns.get(ours, ours)
        more = pl.Series(words, dtype=pl.String)
        parts = [pl.col(theirs).cast(pl.String), more] if theirs in table.columns else [more]
        joined = table.select(pl.concat_str(parts, separator="\n", ignore_nulls=True).alias(theirs)).to_series()
        return table.with_columns(joined.set(joined == "", None))

    def _batch(self, table: pl.DataFrame, root: Path, columns: Mapping[str, str]) -> ContentBatch:
        wanted = [*self.text_columns, *self.media_columns.values(), *self.attribute_columns]
        theirs = {name: columns.get(name, name) for name in wanted}
        if not any(name in table.columns for name in theirs.values()):
            raise DataError(
                f"The table has none of the columns {', '.join(wanted)}.",
                where=", ".join(table.columns[:10]),
                fix="name them as in training, or map them: --column OURS=YOURS",
            )
        cells = {
            ours: table[name] if name in table.columns else pl.repeat(None, table.height, dtype=pl.String, eager=True)
            for ours, name in theirs.items()
        }
        for name in self.text_columns:
            cells[name] = normalise_column(cells[name].cast(pl.String)).values
        for name in self.media_columns.values():
            cells[name] = cells[name].cast(pl.String)
        ids = pl.Series("item_id", [str(row) for row in range(table.height)], dtype=pl.String)
        whole = pl.DataFrame([ids, *(series.alias(name) for name, series in cells.items())])
        catalog = Catalog(
            whole, None, self.text_columns, dict(self.media_columns), self.attribute_columns, media_root=root
        )
        return ContentBatch(catalog, {}, self.limits)

    @cached_property
    def _recogniser(self) -> SpeechRecogniser:
        return SpeechRecogniser(self.transcript or TranscriptConfig())

    @cached_property
    def _reader(self) -> OcrReader:
        return OcrReader(self.ocr or OcrConfig())

    @cached_property
    def _encoders(self) -> dict[str, Encoder]:
        """The encoders of all channels, loaded once."""
        made = {
            name: make_encoder(name, channel.config)
            for name, channel in self.channels.items()
            if channel.config.encoder != PRECOMPUTED
        }
        for encoder in made.values():
            encoder.load()
        return made


def _encodable(text: str) -> str:
    """Return text that can be written as UTF-8: half of a surrogate pair, as a cut emoji leaves, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def channels_of(embeddings: Mapping[str, Embeddings], configs: Mapping[str, ChannelConfig]) -> dict[str, FrozenChannel]:
    """Return the settings that encode new content in the same way."""
    return {name: FrozenChannel(configs[name], e.modality, e.dim) for name, e in embeddings.items()}
