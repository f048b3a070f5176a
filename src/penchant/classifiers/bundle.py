"""The trained classifier and its bundle on disk.

In: a folder written by `penchant run`. Out: for any content, with modalities missing or unknown: class, probability, threshold, the words that
speak for it, and whether a person should be asked.
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

from penchant.classifiers.classifier import Classifier, ContentBatch
from penchant.classifiers.combined import CombinedClassifier
from penchant.classifiers.evidence import Evidence, find_evidence
from penchant.classifiers.factory import make_classifier
from penchant.classifiers.inputs import ClassifierInputs, FrozenChannel, PreparedContent
from penchant.classifiers.media_errors import Unread, both, without_unreadable
from penchant.classifiers.prediction import Prediction
from penchant.core.artifacts import copy_report, open_artifact, write_artifact
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
"""Rows of a batch judged at once."""


@dataclass(frozen=True)
class TrainedClassifier:
    """Everything a trained classifier needs to answer.

    Attributes:
        classes: Names.
        members: Classifiers that take part.
        tables: Their settings, `model` among them.
        combined: Their weights, the calibration, the thresholds.
        inputs: What it reads, and how.
        facts: What the manifest says: run, seed, task, notes.
        folder: Where it was read from; None before it was written.
    """

    classes: tuple[str, ...]
    members: Mapping[str, Classifier]
    tables: Mapping[str, Mapping[str, Any]]
    combined: CombinedClassifier
    inputs: ClassifierInputs
    facts: Mapping[str, Any]
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def load(cls, folder: str | Path) -> TrainedClassifier:
        """Return the classifier of a folder; its probabilities equal those of the run that wrote it.

        Raises:
            ArtifactError: It is missing, half-written or altered.
        """
        folder = Path(folder)
        manifest = open_artifact(folder, kind=KIND)
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
            manifest["facts"],
            folder,
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
        """Return what is said of one piece of content.

        Args:
            text: Words; where the classifier reads several columns of them, column to words.
            evidence: Look for the words that speak for the answer.
            content: Modality to the path of a file (image, audio, video, mesh, signal), or attribute to value. What was not learned
                from is left aside, with a note.

        Raises:
            DataError: There is nothing the classifier could judge by.
        """
        row, ignored = self.inputs.row(text, content)
        found = self.predict_table(pl.DataFrame([row]), root=Path("/"), evidence=evidence)[0]
        reads = ", ".join(self.inputs.modalities)
        notes = tuple(f"{name} was left aside: it learned from {reads}" for name in ignored)
        return replace(found, notes=(*notes, *found.notes))

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
        given = self.inputs.read(table, root, columns or {})
        return [said for part in given.parts(BLOCK) for said in self._judge(part, evidence)]

    def probability(self, view: ContentBatch) -> Float64[np.ndarray, "samples classes"]:
        """Return (samples, classes) of content whose channels are encoded."""
        found = {name: member.log_probability(view) for name, member in self.members.items()}
        return self.combined.probability(found, {name: member.present(view) for name, member in self.members.items()})

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
        }

    def _judge(self, given: PreparedContent, evidence: bool) -> list[Prediction]:
        view, unread = self._ready(given.view)
        found = {name: member.log_probability(view) for name, member in self.members.items()}
        present = {name: member.present(view) for name, member in self.members.items()}
        probability = self.combined.probability(found, present)
        answers, unsure = self.combined.decision.answers(probability), self.combined.decision.is_unsure(probability)
        thresholds = self.combined.decision.thresholds(probability)
        nothing = ~np.any(list(present.values()), axis=0)
        errors = both(given.unread, unread)
        said: list[Prediction] = []
        for row, k in enumerate(answers.tolist()):
            words: Evidence = ()
            regions: list[DetectedRegion] = []
            if evidence and not nothing[row]:
                words = find_evidence(self.members, self.combined.ensemble, present, view, row, k, self._again)
                regions = [region for member in self.members.values() for region in member.regions(view, row)]
            said.append(
                Prediction(
                    self.classes[k],
                    float(probability[row, k]),
                    float(thresholds[row, k]),
                    dict(zip(self.classes, probability[row].tolist(), strict=True)),
                    bool(unsure[row] or nothing[row]),
                    words,
                    given.heard[row] or "",
                    given.written[row] or "",
                    tuple(regions),
                    (*_lacking(nothing[row], errors[row]), *self.facts.get("notes", ())),
                )
            )
        return said

    def _ready(self, view: ContentBatch) -> tuple[ContentBatch, list[Unread]]:
        """Return content whose channels are encoded, without the files that cannot be read, and why they cannot."""
        view, unread = self.inputs.encode(view)
        looks = {modality for member in self.members.values() for modality in member.modalities(view)}
        view, more = without_unreadable(view, looks - {channel.modality for channel in view.channels.values()})
        return view, both(unread, more)

    def _again(self, view: ContentBatch) -> Float64[np.ndarray, "samples classes"]:
        """Return probabilities of content nothing of which is encoded yet."""
        return self.probability(self.inputs.encode(view)[0])


def _inputs(facts: Mapping[str, Any]) -> ClassifierInputs:
    channels = {
        name: FrozenChannel(ChannelConfig.read(c["config"], where=f"classifier.json: {name}"), c["modality"], c["dim"])
        for name, c in facts["channels"].items()
    }
    voices, prints = facts.get("transcript"), facts.get("ocr")
    return ClassifierInputs(
        channels,
        tuple(facts["text_columns"]),
        facts["media_columns"],
        tuple(facts["attribute_columns"]),
        MediaLimits.read(facts["limits"], where="classifier.json: limits"),
        None if voices is None else TranscriptConfig.read(voices, where="classifier.json: transcript"),
        None if prints is None else OcrConfig.read(prints, where="classifier.json: ocr"),
    )


def _lacking(is_nothing: bool, unread: Unread) -> tuple[str, ...]:
    """Return what an answer had to do without."""
    prior = ("nothing could be read: this is how often each class occurs",) if is_nothing else ()
    return (*prior, *(f"{modality} was left aside: {error}" for modality, error in unread.items()))
