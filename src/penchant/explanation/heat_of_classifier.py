"""What in one piece of content adds to a classifier's answer.

In: a trained classifier and content as `predict` takes it. Out: `Heat` for each text, picture and sound given. Every version of the content is predicted by
the whole classifier; only a picture that EfficientNet encodes needs one pass of the network for its places.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32, Float64

from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.classifier import ContentBatch
from penchant.classifiers.combined import log_odds
from penchant.classifiers.images import ImageContent
from penchant.classifiers.network import NetworkClassifier
from penchant.core.errors import DataError
from penchant.data.media import load_audio, load_image
from penchant.data.media.images import PICTURE_SIDE
from penchant.encoders.audio import RATE
from penchant.encoders.catalog import make_encoder
from penchant.encoders.image import EfficientNet
from penchant.explanation.heat import content_heat, grad_cam
from penchant.reporting.heat import Heat

DRAWN = ("text", "image", "audio")
"""Modalities whose changed versions can be given to the classifier."""


def classifier_heat(
    trained: TrainedClassifier,
    *,
    text: str | None = None,
    label: str | None = None,
    seed: int = 0,
    **content: str | Path,
) -> list[Heat]:
    """Return the heat over each text, picture and sound that a classifier reads.

    Args:
        trained: With the encoders it needs.
        text: Words.
        label: Class whose log odds are explained; None takes the answer.
        seed: Of the checks' random pieces.
        content: Modality to a file, as `predict` takes them.

    Raises:
        DataError: There is no such class, or nothing given has heat.
        MediaError: A file cannot be decoded.
    """
    asked = _Asked(trained, text, dict(content), label)
    found = []
    if text is not None and trained.inputs.text_columns:
        found.append(content_heat("text", "text", text, asked.of_texts, seed=seed))
    for modality in DRAWN[1:]:
        if modality in content and modality in trained.inputs.opened:
            found.append(asked.media(modality, Path(content[modality]), seed))
    if not found:
        reads = ", ".join(trained.inputs.modalities)
        raise DataError(
            "Nothing that was given has heat.",
            where="text, image, audio",
            fix=f"give one that the classifier reads: {reads}",
        )
    return found


class _Asked:
    """The log odds of one class for versions of one content."""

    def __init__(
        self, trained: TrainedClassifier, text: str | None, content: dict[str, str | Path], label: str | None
    ) -> None:
        self.trained, self.text, self.content = trained, text, content
        answer = trained.predict(text=text, evidence=False, **content)
        label = answer.label if label is None else label
        if label not in trained.classes:
            raise DataError(
                f"There is no class {label!r}.", where="label", fix=f"choose one of {', '.join(trained.classes)}"
            )
        self.place = trained.classes.index(label)

    def of_texts(self, texts: Sequence[Any]) -> Float64[np.ndarray, " versions"]:
        return self._of([self.trained.inputs.row(str(text), self.content)[0] for text in texts])

    def media(self, modality: str, path: Path, seed: int) -> Heat:
        """Return the heat over a picture or a sound."""
        limits = self.trained.inputs.limits
        if modality == "audio":
            raw: Any = load_audio(path, limits, rate=RATE, loudness=None)
        else:
            raw = load_image(path, limits, max_side=PICTURE_SIDE)

        def score(versions: Sequence[Any]) -> Float64[np.ndarray, " versions"]:
            with tempfile.TemporaryDirectory() as folder:
                files = [_written(version, Path(folder) / str(n)) for n, version in enumerate(versions)]
                rows = [self.trained.inputs.row(self.text, {**self.content, modality: file})[0] for file in files]
                return self._of(rows)

        channel = self._only_channel() if modality == "image" else None
        if channel is None:
            return content_heat(modality, modality, raw, score, seed=seed)
        name, encoder = channel
        return grad_cam(encoder, modality, raw, score, lambda vectors: self._of_vectors(name, vectors), seed=seed)

    def _only_channel(self) -> tuple[str, EfficientNet] | None:
        """Return the channel of EfficientNet where nothing else reads pictures."""
        inputs = self.trained.inputs
        of_pictures = [n for n, c in inputs.channels.items() if c.modality == "image"]
        networks = [member for member in self.trained.members.values() if isinstance(member, NetworkClassifier)]
        opened = any(isinstance(branch, ImageContent) for one in networks for branch in one.branches.values())
        if len(of_pictures) != 1 or opened or inputs.ocr is not None:
            return None
        encoder = make_encoder(of_pictures[0], inputs.channels[of_pictures[0]].config)
        if not isinstance(encoder, EfficientNet):
            return None
        encoder.load()
        return of_pictures[0], encoder

    def _of_vectors(
        self, channel: str, vectors: Float32[np.ndarray, "versions dim"]
    ) -> Float64[np.ndarray, " versions"]:
        batch = self._encoded.take(np.zeros(len(vectors), np.int64))
        channels = {**batch.channels, channel: replace(batch.channels[channel], values=vectors)}
        probability = self.trained.probability(ContentBatch(batch.catalog, channels, batch.limits))
        return np.asarray(log_odds(probability)[:, self.place], np.float64)

    @cached_property
    def _encoded(self) -> ContentBatch:
        row = self.trained.inputs.row(self.text, self.content)[0]
        return self.trained.inputs.encode(self.trained.inputs.read(pl.DataFrame([row]), Path("/"), {}).batch)[0]

    def _of(self, rows: Sequence[Mapping[str, Any]]) -> Float64[np.ndarray, " versions"]:
        content = self.trained.inputs.read(pl.DataFrame(rows), Path("/"), {})
        probability = self.trained.probability(self.trained.inputs.encode(content.batch)[0])
        return np.asarray(log_odds(probability)[:, self.place], np.float64)


def _written(version: Any, path: Path) -> Path:
    """Write a picture or samples to a file without loss."""
    if isinstance(version, np.ndarray):
        import soundfile

        path = path.with_suffix(".wav")
        soundfile.write(path, version, RATE, subtype="FLOAT")
        return path
    path = path.with_suffix(".png")
    version.save(path)
    return path
