"""A trained classifier on disk, and what can be asked of it.

In: a folder written by `penchant run`. Out: for any content, with modalities missing or unknown: class, probability, threshold, the words that
speak for it, and whether a person should be asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64
from safetensors.numpy import load_file, save_file

from penchant.core.artifacts import open_artifact, write_artifact
from penchant.core.errors import ConfigError, DataError
from penchant.core.schema import MODALITIES, Catalog, Embeddings
from penchant.data.media import MediaLimits
from penchant.data.normalisation import normalise_column
from penchant.encoders.catalog import PRECOMPUTED, ChannelConfig, encode_batches, make_encoder
from penchant.encoders.content import find_content
from penchant.encoders.encoder import Encoder
from penchant.encoders.nudity import Region
from penchant.encoders.ocr import OcrConfig, Reader, read_pictures
from penchant.encoders.transcript import Listener, TranscriptConfig, listen
from penchant.models.classifiers.classifier import Classifier, View
from penchant.models.classifiers.combined import Combined
from penchant.models.classifiers.evidence import Evidence, find_evidence

KIND = "classifier"
MEDIA = tuple(m for m in MODALITIES if m not in ("text", "attribute"))
BLOCK = 1000
"""Rows of a batch judged at once."""


@dataclass(frozen=True)
class Channel:
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
class Prediction:
    """What is said of one piece of content.

    Attributes:
        label: The class.
        score: Its probability, 0 to 1.
        threshold: From which probability on it is the answer, the other classes keeping their proportions.
        probabilities: Of every class.
        is_unsure: A person should be asked.
        evidence: Words that speak most for the class, with what each adds to its logit; empty where there are none.
        heard: What is said in the sound; empty where nobody speaks, or the classifier was not asked to listen.
        written: What stands written in the picture; empty where nothing does, or the classifier was not asked to read it.
        regions: Where a detector saw what the answer rests on, the surest first; empty where none takes part.
        notes: What was not used, and what the answer is not.
    """

    label: str
    score: float
    threshold: float
    probabilities: Mapping[str, float]
    is_unsure: bool
    evidence: tuple[tuple[str, float], ...] = ()
    heard: str = ""
    written: str = ""
    regions: tuple[Region, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainedClassifier:
    """Everything a trained classifier needs to answer.

    Attributes:
        classes: Names.
        members: Classifiers that take part.
        tables: Their settings, `model` among them.
        combined: Their weights, the calibration, the thresholds.
        channels: Frozen channels by name.
        text_columns: Columns with words.
        media_columns: Modality to column.
        attribute_columns: Categories and numbers.
        facts: What the manifest says: run, seed, task, notes.
        limits: Of media files.
        transcript: Who writes down what is said, so that it is read as words; None where nobody does.
        ocr: Who reads what stands written in pictures; None where nobody does.
        folder: Where it was read from; None before it was written.
    """

    classes: tuple[str, ...]
    members: Mapping[str, Classifier]
    tables: Mapping[str, Mapping[str, Any]]
    combined: Combined
    channels: Mapping[str, Channel]
    text_columns: tuple[str, ...]
    media_columns: Mapping[str, str]
    attribute_columns: tuple[str, ...]
    facts: Mapping[str, Any]
    limits: MediaLimits = field(default_factory=MediaLimits)
    transcript: TranscriptConfig | None = None
    ocr: OcrConfig | None = None
    folder: Path | None = field(default=None, compare=False)

    def predict(
        self, *, text: str | Mapping[str, str] | None = None, evidence: bool = True, **content: str | Path | float
    ) -> Prediction:
        """Return what is said of one piece of content.

        Args:
            text: Words; where the classifier reads several columns of them, column to words.
            evidence: Look for the words that speak for the answer.
            content: Modality to the path of a file (image, audio, video, mesh, signal), or attribute to value. What was not learned
                from is left aside, with a note.

        Raises:
            DataError: There is nothing the classifier could judge by.
        """
        row: dict[str, Any] = {}
        ignored: list[str] = []
        if text is not None and not self.text_columns:
            ignored.append("text")
        elif isinstance(text, Mapping):
            row |= {column: value for column, value in text.items() if column in self.text_columns}
        elif text is not None:
            row[self.text_columns[0]] = text
        for name, value in content.items():
            column = self.opened.get(name, name)
            if name in self.opened:
                row[column] = Path(value).absolute().relative_to("/").as_posix()  # type: ignore[arg-type]
            elif name in self.attribute_columns:
                row[column] = value
            else:
                ignored.append(name)
        if not row:
            reads = ", ".join(self.modalities)
            raise DataError(
                f"There is nothing to judge by: it learned from {reads}.",
                where=f"the content given ({', '.join(ignored) or 'none'})",
                fix=f"give {reads}",
            )
        found = self.predict_table(pl.DataFrame([row]), root=Path("/"), evidence=evidence)[0]
        notes = tuple(f"{name} was left aside: it learned from {', '.join(self.modalities)}" for name in ignored)
        return replace(found, notes=(*notes, *found.notes))

    @property
    def modalities(self) -> list[str]:
        found = ["text"] if self.text_columns else []
        found += list(self.opened)
        return [*found, *self.attribute_columns]

    @property
    def opened(self) -> dict[str, str]:
        """Modality to column of the files it opens: what it learned from, sound where somebody listens, pictures where somebody reads."""
        if not self.text_columns:
            return dict(self.media_columns)
        asked = {"audio": self.transcript, "image": self.ocr}
        return {**{modality: modality for modality, who in asked.items() if who is not None}, **self.media_columns}

    def predict_table(
        self, table: pl.DataFrame, *, root: Path, evidence: bool = True, columns: Mapping[str, str] | None = None
    ) -> list[Prediction]:
        """Return what is said of every row of a table; columns it does not know are left aside, missing ones are missing content.

        Args:
            table: Columns as in training.
            root: Folder the paths of media are below.
            evidence: Look for the words that speak for each answer.
            columns: Our columns' names to the table's.

        Raises:
            DataError: The table holds none of the columns learned from.
        """
        table, heard, written = self._as_words(table, root, columns or {})
        view_all = self.view(table, root, columns or {})
        found: list[Prediction] = []
        for start in range(0, len(view_all), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(view_all)))
            found += self._judge(self._encoded(view_all.take(rows)), evidence)
        return [
            replace(one, heard=said or "", written=read or "")
            for one, said, read in zip(found, heard, written, strict=True)
        ]

    def _as_words(
        self, table: pl.DataFrame, root: Path, columns: Mapping[str, str]
    ) -> tuple[pl.DataFrame, list[str | None], list[str | None]]:
        """Return the table with what is said and what stands written among its words, and both for each row."""
        heard: list[str | None] = [None] * table.height
        written: list[str | None] = [None] * table.height
        sounds = self._opened(table, "audio", root, columns)
        if self.transcript is not None and sounds is not None:
            heard, _ = listen(sounds, self._listener, self.limits, cache=None)
            table = self._joined(table, heard, self.transcript.into, columns)
        pictures = self._opened(table, "image", root, columns)
        if self.ocr is not None and pictures is not None:
            written, _ = read_pictures(pictures, self._reader, self.limits, cache=None)
            table = self._joined(table, written, self.ocr.into, columns)
        return table, heard, written

    def _opened(self, table: pl.DataFrame, modality: str, root: Path, columns: Mapping[str, str]) -> Catalog | None:
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

    def probability(self, view: View) -> Float64[np.ndarray, "samples classes"]:
        """Return (samples, classes) of content whose channels are encoded."""
        found = {name: member.log_probability(view) for name, member in self.members.items()}
        return self.combined.probability(found, {name: member.present(view) for name, member in self.members.items()})

    def view(self, table: pl.DataFrame, root: Path, columns: Mapping[str, str]) -> View:
        """Return a table as classifiers see it, words in the form they had in training, nothing encoded yet."""
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
        return View(catalog, {}, self.limits)

    def save(self, folder: Path, *, report: Path | None = None) -> TrainedClassifier:
        """Write the classifier in one step; a report is copied beside it."""

        def write(staging: Path) -> None:
            arrays = {f"combined/{name}": array for name, array in self.combined.arrays().items()}
            for name, member in self.members.items():
                arrays |= {f"{name}/{key}": array for key, array in member.arrays().items()}
            save_file(
                {name: np.ascontiguousarray(array) for name, array in arrays.items()}, staging / "learned.safetensors"
            )
            text = json.dumps(self._plain(), ensure_ascii=False, indent=2, default=str)
            (staging / "classifier.json").write_text(text, encoding="utf-8")
            if report is not None:
                (staging / "report").mkdir()
                for file in sorted(report.iterdir()):
                    (staging / "report" / file.name).write_bytes(file.read_bytes())

        write_artifact(folder, write, kind=KIND, facts=dict(self.facts))
        return load_classifier(folder)

    def _plain(self) -> dict[str, Any]:
        return {
            "classes": list(self.classes),
            "members": {
                name: {"table": dict(self.tables[name]), "facts": member.facts()}
                for name, member in self.members.items()
            },
            "combined": self.combined.facts(),
            "channels": {
                name: {"config": c.config.model_dump(mode="json"), "modality": c.modality, "dim": c.dim}
                for name, c in self.channels.items()
            },
            "text_columns": list(self.text_columns),
            "media_columns": dict(self.media_columns),
            "attribute_columns": list(self.attribute_columns),
            "limits": self.limits.model_dump(mode="json"),
            "transcript": None if self.transcript is None else self.transcript.model_dump(mode="json"),
            "ocr": None if self.ocr is None else self.ocr.model_dump(mode="json"),
        }

    @cached_property
    def _listener(self) -> Listener:
        return Listener(self.transcript or TranscriptConfig())

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.ocr or OcrConfig())

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

    def _encoded(self, view: View) -> View:
        """Return the view with its frozen channels; what cannot be read is missing."""
        channels = {}
        for name, channel in self.channels.items():
            values = np.zeros((len(view), channel.dim), np.float32)
            present = np.zeros(len(view), bool)
            if name in self._encoders:
                content = find_content(
                    view.catalog, channel.config.columns, channel.modality, self.limits, where=f"content.{name}"
                )
                work = [(str(row), row) for row, key in enumerate(content.keys) if key is not None]
                encoder = self._encoders[name]
                size = channel.config.batch_size or encoder.batch_size
                for keys, vectors in encode_batches(encoder, content, work, [], size=size, proven=True):
                    rows = [int(key) for key in keys]
                    values[rows], present[rows] = vectors, True
            channels[name] = Embeddings(name, channel.modality, values, present, channel.config.encoder)
        return replace(view, channels=channels)

    def _judge(self, view: View, evidence: bool) -> list[Prediction]:
        found = {name: member.log_probability(view) for name, member in self.members.items()}
        present = {name: member.present(view) for name, member in self.members.items()}
        probability = self.combined.probability(found, present)
        answers, unsure = self.combined.decision.answers(probability), self.combined.decision.is_unsure(probability)
        thresholds = self.combined.decision.thresholds(probability)
        nothing = ~np.any(list(present.values()), axis=0)
        said: list[Prediction] = []
        for row, k in enumerate(answers.tolist()):
            words: Evidence = ()
            regions: list[Region] = []
            if evidence and not nothing[row]:
                words = find_evidence(self.members, self.combined.stack, present, view, row, k, self._again)
                regions = [region for member in self.members.values() for region in member.regions(view, row)]
            notes = ("nothing could be read: this is how often each class occurs",) if nothing[row] else ()
            said.append(
                Prediction(
                    self.classes[k],
                    float(probability[row, k]),
                    float(thresholds[row, k]),
                    dict(zip(self.classes, probability[row].tolist(), strict=True)),
                    bool(unsure[row] or nothing[row]),
                    words,
                    regions=tuple(regions),
                    notes=(*notes, *self.facts.get("notes", ())),
                )
            )
        return said

    def _again(self, view: View) -> Float64[np.ndarray, "samples classes"]:
        """Return probabilities of content nothing of which is encoded yet."""
        return self.probability(self._encoded(view))


def load_classifier(folder: str | Path) -> TrainedClassifier:
    """Return a classifier; its probabilities equal those of the run that wrote it.

    Raises:
        ArtifactError: It is missing, half-written or altered.
    """
    from penchant.models.classifiers import CLASSIFIERS

    folder = Path(folder)
    manifest = open_artifact(folder, kind=KIND)
    facts = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for key, array in load_file(folder / "learned.safetensors").items():
        owner, _, name = key.partition("/")
        arrays.setdefault(owner, {})[name] = array
    members: dict[str, Classifier] = {}
    for name, about in facts["members"].items():
        settings = {key: value for key, value in about["table"].items() if key != "model"}
        cls = CLASSIFIERS.load(about["table"]["model"])
        made = cls(cls.Config.read(settings, where=f"classifier.json: {name}"), name=name)
        members[name] = made.restore(arrays.get(name, {}), about["facts"])
    about_voices, about_print = facts.get("transcript"), facts.get("ocr")
    channels = {
        name: Channel(ChannelConfig.read(c["config"], where=f"classifier.json: {name}"), c["modality"], c["dim"])
        for name, c in facts["channels"].items()
    }
    return TrainedClassifier(
        tuple(facts["classes"]),
        members,
        {name: about["table"] for name, about in facts["members"].items()},
        Combined.of(arrays["combined"], facts["combined"]),
        channels,
        tuple(facts["text_columns"]),
        facts["media_columns"],
        tuple(facts["attribute_columns"]),
        manifest["facts"],
        MediaLimits.read(facts["limits"], where="classifier.json: limits"),
        None if about_voices is None else TranscriptConfig.read(about_voices, where="classifier.json: transcript"),
        None if about_print is None else OcrConfig.read(about_print, where="classifier.json: ocr"),
        folder,
    )


def predict_file(
    trained: TrainedClassifier,
    table: pl.DataFrame,
    output: Path,
    *,
    root: Path,
    columns: Mapping[str, str] | None = None,
) -> Path:
    """Write the table with `predicted`, `score`, `threshold`, `is_unsure`, `evidence`, `heard` where somebody listens, `written` where
    somebody reads pictures, and a column for each class's probability.

    Args:
        trained: From `load_classifier`.
        table: What is judged.
        output: A .parquet or .csv file.
        root: Folder the paths of media are below.
        columns: Our columns' names to the table's.

    Raises:
        ConfigError: The ending is neither .parquet nor .csv.
    """
    if output.suffix not in (".parquet", ".csv"):
        raise ConfigError(
            f"A file ending in {output.suffix or 'nothing'!r} is not written.",
            where=str(output),
            fix="name it .parquet or .csv",
        )
    found = trained.predict_table(table, root=root, columns=columns)
    said: dict[str, Sequence[Any]] = {
        "predicted": [one.label for one in found],
        "score": [one.score for one in found],
        "threshold": [one.threshold for one in found],
        "is_unsure": [one.is_unsure for one in found],
        "evidence": ["; ".join([*map(_word_line, one.evidence), *map(region_line, one.regions)]) for one in found],
        **({"heard": [one.heard for one in found]} if trained.transcript is not None else {}),
        **({"written": [one.written for one in found]} if trained.ocr is not None else {}),
        **{f"probability.{name}": [one.probabilities[name] for one in found] for name in trained.classes},
    }
    written = table.drop([name for name in said if name in table.columns]).with_columns(
        **{name: pl.Series(values) for name, values in said.items()}
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".csv":
        written.write_csv(output)
    else:
        written.write_parquet(output)
    return output


def channels_of(embeddings: Mapping[str, Embeddings], configs: Mapping[str, ChannelConfig]) -> dict[str, Channel]:
    """Return what is needed to encode new content as this was."""
    return {name: Channel(configs[name], e.modality, e.dim) for name, e in embeddings.items()}


def classes_line(prediction: Prediction) -> str:
    """Return every class with its probability on one line, the most probable first."""
    ordered = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {value:.1%}" for name, value in ordered)


def region_line(region: Region) -> str:
    """Return what was seen where, in words."""
    middle = (region.left + region.width / 2, region.top + region.height / 2)
    return f"{region.label} {region.score:.2f} at {middle[0]:.0%} from the left, {middle[1]:.0%} from the top"


def _word_line(pair: tuple[str, float]) -> str:
    return f"{pair[0]} {pair[1]:+.2f}"
