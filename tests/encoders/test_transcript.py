"""What is said becomes words, once for each sound; silence and noise become none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from penchant.core.errors import ConfigError, EncoderError
from penchant.core.schema import Catalog, Samples
from penchant.data.media import MediaLimits
from penchant.encoders.transcript import SpeechRecogniser, TranscriptConfig, transcribe, transcribe_catalog

RATE = 16_000
SPOKEN = "The room was lovely and the staff were very friendly"
speaks = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: apt-get install espeak-ng"
)


def say(words: str, path: Path) -> Path:
    subprocess.run(["espeak-ng", "-w", str(path), words], check=True)
    return path


def sounds(folder: Path) -> Samples:
    """Return somebody speaking, silence, a tone, a broken file and nothing."""
    time = np.arange(2 * RATE) / RATE
    soundfile.write(folder / "silence.wav", np.zeros(2 * RATE), RATE)
    soundfile.write(folder / "tone.wav", 0.3 * np.sin(2 * np.pi * 440 * time), RATE)
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    table = pl.DataFrame(
        {
            "sample_id": list("abcde"),
            "label": ["glad", "cross", "glad", "cross", "glad"],
            "audio": ["said.wav", "silence.wav", "tone.wav", "broken.wav", None],
        }
    )
    return Samples(table, ("cross", "glad"), media_columns={"audio": "audio"}, media_root=folder)


@speaks
def test_what_is_said_joins_the_words(tmp_path: Path) -> None:
    samples = sounds(tmp_path)
    say(SPOKEN, tmp_path / "said.wav")
    found = transcribe(samples, TranscriptConfig(), MediaLimits(), cache=tmp_path / "cache")
    assert found.text_columns == ("transcript",)
    assert found.table["transcript"].to_list() == [f"{SPOKEN}.", None, None, None, None]
    counts = {finding.check: finding.count for finding in found.findings}
    assert counts == {"transcript.text": 1, "transcript.nothing": 2, "transcript.failed": 1}
    assert "broken.wav" in found.findings[2].examples[0]


@speaks
def test_a_sound_is_transcribed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say("Nothing worked at all", tmp_path / "a.wav")
    shutil.copy(tmp_path / "a.wav", tmp_path / "b.wav")
    catalog = Catalog(
        pl.DataFrame({"item_id": ["1", "2"], "audio": ["a.wav", "b.wav"]}),
        media_columns={"audio": "audio"},
        media_root=tmp_path,
    )
    times = 0
    extract = SpeechRecogniser.extract

    def counted(self: SpeechRecogniser, samples: np.ndarray) -> str:
        nonlocal times
        times += 1
        return extract(self, samples)

    monkeypatch.setattr(SpeechRecogniser, "extract", counted)
    first, _ = transcribe_catalog(
        catalog, SpeechRecogniser(TranscriptConfig()), MediaLimits(), cache=tmp_path / "cache"
    )
    again, _ = transcribe_catalog(
        catalog, SpeechRecogniser(TranscriptConfig()), MediaLimits(), cache=tmp_path / "cache"
    )
    assert first == again
    assert first[0] == first[1]
    assert times == 1


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    samples = sounds(tmp_path)
    assert transcribe(samples, None, MediaLimits(), cache=tmp_path) is samples
    with pytest.raises(ConfigError, match="There is a column 'label' already"):
        transcribe(samples, TranscriptConfig(into="label"), MediaLimits(), cache=tmp_path)
    (tmp_path / "model").mkdir()
    with pytest.raises(EncoderError, match="cannot be loaded"):
        transcribe(samples, TranscriptConfig(model=str(tmp_path / "model")), MediaLimits(), cache=tmp_path)
