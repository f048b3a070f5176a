"""Sentiment of users' reviews, written as the column `mood` of events.

In: interactions with the users' own words or voice notes, and trained classifiers of sentiment by language. Out: the same interactions
with a `mood`, by which an unhappy event counts against its item whatever its kind says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Self

import polars as pl
from pydantic import Field

from penchant.classifiers.bundle import TrainedClassifier
from penchant.core.config import Settings
from penchant.core.errors import ConfigError, DataError
from penchant.core.messages import message
from penchant.core.schema import Catalog, Dataset, Finding, Interactions
from penchant.data.clean.normalisation import language
from penchant.data.media import MediaLimits
from penchant.encoders.transcript import SpeechRecogniser, TranscriptConfig, transcribe_catalog

ANY = "any"


class ReviewsConfig(Settings):
    """Who reads the events' words, and from when on they count: the `[reviews]` table."""

    sentiment: dict[str, Path] = {}
    """Language of the words (en, zh, ...; "any" for those not named) to the folder of a trained classifier, relative to the settings
    file; empty reads no words."""
    unhappy: list[str] = ["negative", "unhappy"]
    """Classes that mean the user did not like the item."""
    confidence_threshold: float = Field(0.7, gt=0.5, le=1)
    """Probability of these classes from which on an event is unhappy; where it is above one minus this, the event keeps its weight."""
    transcript: TranscriptConfig | None = None
    """Who writes down voice notes (the events' `audio`), so that they are read too; None leaves them unheard."""

    def below(self, home: Path) -> Self:
        """Return the settings with classifiers looked for in a folder."""
        return self.model_copy(update={"sentiment": {name: home / path for name, path in self.sentiment.items()}})


def classify_reviews(dataset: Dataset, config: ReviewsConfig, limits: MediaLimits, *, cache: Path) -> Dataset:
    """Return the data whose events carry a `mood`: "happy", "unhappy", or null where nothing is said or it is not clear.

    Equal words are read once. What it says is among the findings.

    Args:
        dataset: Clean.
        config: Without classifiers, nothing changes.
        limits: Of voice notes.
        cache: Folder of what was heard before.

    Raises:
        DataError: No event has words.
        ConfigError: A classifier has none of the classes called unhappy.
        ArtifactError: A classifier is missing, half-written or altered.
    """
    if not config.sentiment:
        return dataset
    words, findings = _words(dataset, config, limits, cache)
    if words.null_count() == len(words):
        raise DataError(
            f"None of {len(words):,} events has words of its own to read.",
            where="interactions: text" if config.transcript is None else "interactions: text, audio",
            fix='map the column: [data.columns] text = "review", or leave [reviews] out',
        )
    chance = pl.DataFrame({"text": words}).join(
        _read(words.drop_nulls().unique().sort(), config), on="text", how="left", maintain_order="left"
    )["unhappy"]
    events = dataset.interactions.table.with_columns(mood=_mood(chance, config.confidence_threshold))
    findings += _findings(events["mood"], chance, words)
    return replace(dataset, interactions=Interactions(events), findings=(*dataset.findings, *findings))


def _words(
    dataset: Dataset, config: ReviewsConfig, limits: MediaLimits, cache: Path
) -> tuple[pl.Series, list[Finding]]:
    """Return what is written and said with each event, null where there is nothing."""
    events = dataset.interactions.table
    none = pl.repeat(None, events.height, dtype=pl.String, eager=True)
    written = events["text"] if "text" in events.columns else none
    if config.transcript is None or "audio" not in events.columns or dataset.catalog.media_root is None:
        return written.alias("text"), []
    rows = events.select(pl.int_range(pl.len()).cast(pl.String).alias("item_id"), "audio")
    notes = Catalog(rows, media_columns={"audio": "audio"}, media_root=dataset.catalog.media_root)
    heard, findings = transcribe_catalog(notes, SpeechRecogniser(config.transcript), limits, cache=cache)
    both = pl.DataFrame({"written": written, "heard": pl.Series(heard, dtype=pl.String)})
    joined = both.select(pl.concat_str("written", "heard", separator="\n", ignore_nulls=True).alias("text")).to_series()
    return joined.set(joined == "", None), [replace(f, check=f"reviews.{f.check}") for f in findings]


def _read(texts: pl.Series, config: ReviewsConfig) -> pl.DataFrame:
    """Return each text's probability of being unhappy, null where no classifier reads its language."""
    spoken = texts.map_elements(language, return_dtype=pl.String)
    named = [name if name in config.sentiment else ANY for name in spoken]
    table = pl.DataFrame({"text": texts, "reader": named})
    found = [pl.DataFrame(schema={"text": pl.String, "unhappy": pl.Float64})]
    for name, folder in config.sentiment.items():
        trained = TrainedClassifier.load(folder)
        unhappy = [k for k in trained.classes if k in config.unhappy]
        if not unhappy or not trained.inputs.text_columns:
            raise ConfigError(
                f"The classifier tells {', '.join(trained.classes)} apart by {', '.join(trained.inputs.modalities)}; "
                f"none of {', '.join(config.unhappy)} is among its classes, or it reads no words.",
                where=f"reviews.sentiment.{name}",
                fix="name its class of unhappy words: [reviews] unhappy = [...]",
            )
        mine = table.filter(pl.col("reader") == name)["text"]
        said = trained.predict_table(mine.alias(trained.inputs.text_columns[0]).to_frame(), root=Path(), evidence=False)
        chance = pl.Series([sum(one.probabilities[k] for k in unhappy) for one in said], dtype=pl.Float64)
        found.append(pl.DataFrame({"text": mine, "unhappy": chance}))
    return pl.concat(found)


def _mood(chance: pl.Series, confidence_threshold: float) -> pl.Series:
    unhappy = pl.when(pl.col("chance") >= confidence_threshold).then(pl.lit("unhappy"))
    mood = unhappy.when(pl.col("chance") <= 1 - confidence_threshold).then(pl.lit("happy"))
    return pl.DataFrame({"chance": chance}).select(mood.alias("mood")).to_series()


def _findings(mood: pl.Series, chance: pl.Series, words: pl.Series) -> list[Finding]:
    """Count what was said, as a reader of the report would ask."""
    said, read = len(words) - words.null_count(), len(chance) - chance.null_count()
    unhappy = mood == "unhappy"
    shown = words.filter(unhappy.fill_null(False)).unique(maintain_order=True).head(3)
    found = [
        Finding(
            "reviews.happy",
            int((mood == "happy").sum()),
            said,
            "kept",
            (),
            message("these events weigh what their kind says"),
        ),
        Finding(
            "reviews.unhappy",
            int(unhappy.sum()),
            said,
            "repaired",
            tuple(text[:60] for text in shown),
            message("these events count against their items (histories.unhappy), whatever their kind says"),
        ),
        Finding(
            "reviews.unsure",
            read - mood.count(),
            said,
            "kept",
            (),
            message("not clear: they weigh what their kind says"),
        ),
    ]
    if said > read:
        advice = message("no classifier reads their language: name one in [reviews.sentiment]")
        found.append(Finding("reviews.not_read", said - read, said, "kept", (), advice, "warning"))
    return found
