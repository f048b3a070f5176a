"""Emotions spoken by espeak-ng, speakers of the test unheard: `python benchmarks/emotion.py FOLDER`.

In: espeak-ng. Out: a generated set in FOLDER, and on unheard speakers the accuracy of Whisper's layers and of statistics of the sound. An emotion is no more
here than ranges of pitch, speed and loudness, which overlap, under noise: this checks that the machinery works, and says nothing of people.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import soundfile

from penchant.classifiers.classifier import ContentBatch, make_classifier
from penchant.core.seeds import generator
from penchant.data.media import MediaLimits
from penchant.data.read.samples import SamplesConfig, read_samples
from penchant.encoders.catalog import ChannelConfig, encode_catalog
from penchant.experiment.fit_classifiers import make_score_function
from penchant.experiment.imbalance import unweighted
from penchant.metrics.intervals import draw_counts

SPEAKERS = [*(f"m{n}" for n in range(1, 8)), *(f"f{n}" for n in range(1, 6))]
"""Voice variants of espeak-ng."""
SENTENCES = [
    "The train leaves at seven in the morning",
    "I put the letter on the kitchen table",
    "They will come back on Sunday evening",
    "The bag is standing next to the door",
    "She has been waiting for an hour",
    "We could see the lake from the window",
]
PROSODY = {  # pitch, speed in words a minute, loudness: mean and spread of each
    "neutral": ((50, 10), (165, 15), (100, 20)),
    "happy": ((62, 10), (180, 15), (115, 20)),
    "sad": ((40, 10), (140, 15), (80, 20)),
    "angry": ((55, 10), (185, 15), (140, 20)),
}
ROWS = {
    "statistics of the sound (voice)": {"channels": ["voice"]},
    "log-mel and cepstra (mel)": {"channels": ["mel"]},
    "both": {"channels": ["voice", "mel"]},
    "Whisper's layers, chosen on validation": {"channels": ["layers"], "parts": 5},
}
STRENGTHS = [0.03, 0.3, 3.0]
FOLDS = 6


def main(folder: Path) -> None:
    """Write the set, and print the accuracy of each row on speakers that it did not hear, and the gain of the layers over each other row."""
    write(folder)
    samples = read_samples(SamplesConfig(path=folder / "samples.csv", text=[], media={"audio": "audio"}))
    channels = {name: ChannelConfig(encoder=name) for name in ("voice", "mel")}
    channels["layers"] = ChannelConfig(encoder="whisper_layers")
    embeddings, _ = encode_catalog(samples.catalog(), channels, cache=folder / "cache", limits=MediaLimits())
    batch, labels = ContentBatch(samples.catalog(), embeddings), samples.labels()
    speaker = np.unique(samples.table["group"].to_numpy(), return_inverse=True)[1]
    score = make_score_function("cross_entropy")
    right: dict[str, np.ndarray] = {name: np.zeros(len(labels)) for name in ROWS}
    for fold in range(FOLDS):
        test = speaker % FOLDS == fold
        held = speaker % FOLDS == (fold + 1) % FOLDS
        parts = [np.flatnonzero(one) for one in (~test & ~held, held, test)]
        train, validation = (unweighted(rows, labels[rows], len(samples.classes)) for rows in parts[:2])
        for name, table in ROWS.items():
            model = make_classifier("row", {"model": "linear", "strength": STRENGTHS, **table})
            model.fit(batch, train, validation, score, seed=0)
            said = model.log_probability(batch.take(parts[2])).argmax(axis=1)
            right[name][parts[2]] = said == labels[parts[2]]
    drawn = draw_counts(generator(0, "benchmark.emotion"), 2_000, len(SPEAKERS))
    ours = list(ROWS)[-1]
    for name, hits in right.items():
        gain = (drawn @ np.bincount(speaker, right[ours] - hits)) / (drawn @ np.bincount(speaker))
        low, high = np.quantile(gain, (0.025, 0.975))
        print(
            f"{name}: accuracy {hits.mean():.3f}, layers {(right[ours] - hits).mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        )


def write(folder: Path) -> None:
    """Write the set."""
    rng, rows = np.random.default_rng(0), []
    folder.mkdir(parents=True, exist_ok=True)
    for speaker in SPEAKERS:
        for emotion, ranges in PROSODY.items():
            for number, sentence in enumerate(SENTENCES):
                pitch, speed, loud = (int(np.clip(rng.normal(*one), 5, 350)) for one in ranges)
                name = f"{speaker}-{emotion}-{number}.wav"
                with tempfile.NamedTemporaryFile(suffix=".wav") as file:
                    voice = [
                        "-v",
                        f"en+{speaker}",
                        "-p",
                        str(min(pitch, 99)),
                        "-s",
                        str(speed),
                        "-a",
                        str(min(loud, 200)),
                    ]
                    subprocess.run(["espeak-ng", *voice, "-w", file.name, sentence], check=True)
                    sound, rate = soundfile.read(file.name)
                noise = rng.standard_normal(len(sound)) * sound.std() * rng.uniform(0.1, 0.7)
                soundfile.write(folder / name, np.clip(sound + noise, -1, 1), rate)
                rows.append({"audio": name, "label": emotion, "group": speaker})
    pl.DataFrame(rows).write_csv(folder / "samples.csv")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
