"""The trained classifier and its bundle on disk.

In: a folder written by `penchant run`. Out: for any content, with modalities missing or unknown: class, probability, threshold, the words that
support it, and whether a reviewer should decide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64
from safetensors.numpy import load_file, save_file

from penchant.classifiers.bundle_checks import check_classifier, damaged
from penchant.classifiers.classifier import Classifier, ContentBatch, make_classifier, predict_members
from penchant.classifiers.combined import CombinedClassifier
from penchant.classifiers.course import WarningRule
from penchant.classifiers.evidence import Evidence, find_evidence
from penchant.classifiers.inputs import ClassifierInputs, FrozenChannel, PreparedContent
from penchant.classifiers.media_errors import Unread, both, without_unreadable
from penchant.classifiers.novelty import Novelty
from penchant.classifiers.prediction import Prediction
from penchant.core.artifacts import copy_report, open_artifact, read_artifact, write_artifact
from penchant.core.errors import PenchantError
from penchant.core.messages import message
from penchant.core.schema import MODALITIES
from penchant.data.media import MediaLimits
from penchant.encoders.catalog import ChannelConfig
from penchant.encoders.nudity import DetectedRegion
from penchant.encoders.ocr import OcrConfig
from penchant.encoders.transcript import TranscriptConfig
from penchant.reporting.written import WrittenReport

KIND = "classifier"
MEDIA = tuple(m for m in MODALITIES if m not in ("text", "attribute"))
"""Modalities of files."""
BLOCK = 1000
"""Rows of a batch classified at once."""
UNLIKE = "this is unlike anything learned, so every class is plausible: a reviewer must decide"
"""Note of a prediction for content unlike that of training."""


@dataclass(frozen=True)
class TrainedClassifier:
    """A trained classifier with everything that a prediction needs.

    Attributes:
        classes: Names.
        members: Classifiers that take part.
        tables: Their settings, `model` among them.
        combined: Their weights, the calibration, the thresholds.
        inputs: What it reads, and how.
        facts: Contents of the manifest: run, seed, task, notes.
        folder: Where it was read from; None before it was written.
        novelty: What content unlike that of training is; None for a detector.
        warning: Rule of courses over time, where it was trained on windows; None else.
    """

    classes: tuple[str, ...]
    members: Mapping[str, Classifier]
    tables: Mapping[str, Mapping[str, Any]]
    combined: CombinedClassifier
    inputs: ClassifierInputs
    facts: Mapping[str, Any]
    folder: Path | None = field(default=None, compare=False)
    novelty: Novelty | None = field(default=None, compare=False)
    warning: WarningRule | None = field(default=None, compare=False)

    @classmethod
    def load(cls, folder: str | Path) -> TrainedClassifier:
        """Return the classifier of a folder; its probabilities equal those of the run that wrote it.

        Raises:
            ArtifactError: It is missing, half-written, altered, or holds what no run writes.
        """
        return read_artifact(Path(folder), lambda: cls._read_checked(Path(folder)))

    @classmethod
    def _read_checked(cls, folder: Path) -> TrainedClassifier:
        manifest = open_artifact(folder, kind=KIND, exact=True)
        try:
            found = cls._read(folder, manifest["facts"])
            check_classifier(found.classes, found.members, found.combined, folder)
        except PenchantError:
            raise
        except Exception as error:  # whatever the files hold, the caller gets one kind of error
            lines = str(error).splitlines() or [""]
            raise damaged(f"{type(error).__name__}: {lines[0][:200]}", folder) from error
        return found

    @classmethod
    def _read(cls, folder: Path, about_run: Mapping[str, Any]) -> TrainedClassifier:
        facts = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
        arrays: dict[str, dict[str, np.ndarray]] = {}
        for key, array in load_file(folder / "learned.safetensors").items():
            owner, _, name = key.partition("/")
            arrays.setdefault(owner, {})[name] = array
        members = {
            name: make_classifier(name, about["table"]).restore(arrays.get(name, {}), about["facts"])
            for name, about in facts["members"].items()
        }
        return cls(
            tuple(facts["classes"]),
            members,
            {name: about["table"] for name, about in facts["members"].items()},
            CombinedClassifier.of(arrays["combined"], facts["combined"]),
            _inputs(facts),
            about_run,
            folder,
            Novelty.restore(arrays["novelty"]) if "novelty" in arrays else None,
            WarningRule.of(facts["warning"]) if facts.get("warning") else None,
        )

    @property
    def report(self) -> WrittenReport:
        """What the run measured.

        Raises:
            ArtifactError: It has no report.
        """
        return WrittenReport.beside(self.folder)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()

    def predict(
        self, *, text: str | Mapping[str, str] | None = None, evidence: bool = True, **content: str | Path | float
    ) -> Prediction:
        """Return the prediction for one piece of content.

        Args:
            text: Words; where the classifier reads several columns of them, column to words.
            evidence: Whether to find the words that support the prediction.
            content: Modality to the path of a file (image, audio, video, mesh, signal), or attribute to value. What the
                classifier does not read is ignored, with a note.

        Raises:
            DataError: The content holds nothing that the classifier reads.
        """
        row, ignored = self.inputs.row(text, content)
        found = self.predict_table(pl.DataFrame([row]), root=Path("/"), evidence=evidence)[0]
        reads = ", ".join(self.inputs.modalities)
        notes = tuple(
            message("{name} was ignored: the classifier reads {reads}", name=name, reads=reads) for name in ignored
        )
        return replace(found, notes=(*notes, *found.notes))

    def predict_table(
        self, table: pl.DataFrame, *, root: Path, evidence: bool = True, columns: Mapping[str, str] | None = None
    ) -> list[Prediction]:
        """Return the prediction for every row of a table; unknown columns are ignored, missing ones are missing content.

        Args:
            table: Columns as in training.
            root: Folder the paths of media are below.
            evidence: Whether to find the words that support each prediction.
            columns: Our columns' names to the table's.

        Raises:
            DataError: The table holds none of the columns learned from.
        """
        content = self.inputs.read(table, root, columns or {})
        return [found for part in content.parts(BLOCK) for found in self._predict(part, evidence)]

    def probability(self, batch: ContentBatch) -> Float64[np.ndarray, "samples classes"]:
        """Return (samples, classes) of content whose channels are encoded."""
        return self.combined.probability(*predict_members(self.members, batch))

    def save(self, folder: Path, *, report: Path | None = None) -> TrainedClassifier:
        """Write the classifier in one step; a report is copied beside it."""

        def write(staging: Path) -> None:
            arrays = {f"combined/{name}": array for name, array in self.combined.arrays().items()}
            for name, member in self.members.items():
                arrays |= {f"{name}/{key}": array for key, array in member.arrays().items()}
            if self.novelty is not None:
                arrays |= {f"novelty/{name}": array for name, array in self.novelty.arrays().items()}
            save_file(
                {name: np.ascontiguousarray(array) for name, array in arrays.items()}, staging / "learned.safetensors"
            )
            text = json.dumps(self._plain(), ensure_ascii=False, indent=2, default=str)
            (staging / "classifier.json").write_text(text, encoding="utf-8")
            copy_report(report, staging)

        write_artifact(folder, write, kind=KIND, facts=dict(self.facts))
        return self.load(folder)

    def _plain(self) -> dict[str, Any]:
        inputs = self.inputs
        return {
            "classes": list(self.classes),
            "members": {
                name: {"table": dict(self.tables[name]), "facts": member.facts()}
                for name, member in self.members.items()
            },
            "combined": self.combined.facts(),
            "channels": {
                name: {"config": c.config.model_dump(mode="json"), "modality": c.modality, "dim": c.dim}
                for name, c in inputs.channels.items()
            },
            "text_columns": list(inputs.text_columns),
            "media_columns": dict(inputs.media_columns),
            "attribute_columns": list(inputs.attribute_columns),
            "limits": inputs.limits.model_dump(mode="json"),
            "transcript": None if inputs.transcript is None else inputs.transcript.model_dump(mode="json"),
            "ocr": None if inputs.ocr is None else inputs.ocr.model_dump(mode="json"),
            "signals": inputs.signals,
            **({} if self.warning is None else {"warning": self.warning.facts()}),
        }

    def _predict(self, content: PreparedContent, evidence: bool) -> list[Prediction]:
        batch, unread = self._ready(content.batch)
        found, present = predict_members(self.members, batch)
        probability = self.combined.probability(found, present)
        answers, unsure = self.combined.decision.answers(probability), self.combined.decision.is_unsure(probability)
        thresholds = self.combined.decision.thresholds(probability)
        plausible = self.combined.decision.plausible(probability)
        novel = np.zeros(len(batch), bool) if self.novelty is None else self.novelty.is_novel(batch)
        is_empty = ~np.any(list(present.values()), axis=0)
        errors = both(content.unread, unread)
        predictions: list[Prediction] = []
        for row, k in enumerate(answers.tolist()):
            words: Evidence = ()
            regions: list[DetectedRegion] = []
            if evidence and not is_empty[row]:
                words = find_evidence(self.members, self.combined.ensemble, present, batch, row, k, self._again)
                regions = [region for member in self.members.values() for region in member.regions(batch, row)]
            predictions.append(
                Prediction(
                    self.classes[k],
                    float(probability[row, k]),
                    float(thresholds[row, k]),
                    dict(zip(self.classes, probability[row].tolist(), strict=True)),
                    bool(unsure[row] or novel[row] or is_empty[row]),
                    words,
                    content.transcripts[row] or "",
                    content.written[row] or "",
                    tuple(regions),
                    (*self._lacking(is_empty[row], errors[row]), *_unlike(novel[row]), *self.facts.get("notes", ())),
                    tuple(
                        name
                        for name, here in zip(self.classes, plausible[row] | novel[row] | is_empty[row], strict=True)
                        if here
                    ),
                    self.combined.decision.coverage,
                )
            )
        return predictions

    def _ready(self, batch: ContentBatch) -> tuple[ContentBatch, list[Unread]]:
        """Return content whose channels are encoded, without the files that cannot be read, and why they cannot."""
        batch, unread = self.inputs.encode(batch)
        read = {modality for member in self.members.values() for modality in member.modalities(batch)}
        batch, more = without_unreadable(batch, read - {channel.modality for channel in batch.channels.values()})
        return batch, both(unread, more)

    def _lacking(self, is_empty: bool, unread: Unread) -> tuple[str, ...]:
        """Return notes on the content that a prediction lacks."""
        why = (
            message("nothing could be read: these are the class frequencies of training")
            if self.is_trained
            else message("nothing could be read: this is no measurement, a reviewer must decide")
        )
        prior = (why,) if is_empty else ()
        ignored = (
            message("{name} was ignored: {error}", name=name, error=str(error)) for name, error in unread.items()
        )
        return (*prior, *ignored)

    @property
    def is_trained(self) -> bool:
        """Whether it learned from labelled samples, so that it knows how frequent each class is."""
        return any(table["model"] != "detected" for table in self.tables.values())

    def _again(self, batch: ContentBatch) -> Float64[np.ndarray, "samples classes"]:
        """Return probabilities of content that is not encoded yet."""
        return self.probability(self.inputs.encode(batch)[0])


def _inputs(facts: Mapping[str, Any]) -> ClassifierInputs:
    channels = {
        name: FrozenChannel(ChannelConfig.read(c["config"], where=f"classifier.json: {name}"), c["modality"], c["dim"])
        for name, c in facts["channels"].items()
    }
    transcript, ocr = facts.get("transcript"), facts.get("ocr")
    return ClassifierInputs(
        channels,
        tuple(facts["text_columns"]),
        facts["media_columns"],
        tuple(facts["attribute_columns"]),
        MediaLimits.read(facts["limits"], where="classifier.json: limits"),
        None if transcript is None else TranscriptConfig.read(transcript, where="classifier.json: transcript"),
        None if ocr is None else OcrConfig.read(ocr, where="classifier.json: ocr"),
        facts.get("signals"),
    )


def _unlike(is_novel: bool) -> tuple[str, ...]:
    """Return the note of content unlike that of training."""
    return (UNLIKE,) if is_novel else ()
