"""Sentiment of users' reviews, written as the column `mood` of events.

In: interactions with the users' own words or voice notes, and trained classifiers of sentiment by language, or none (`built_in`). Out: the same interactions
with a `mood`, by which an unhappy event counts against its item, whatever its kind.
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
from penchant.encoders.mood import MoodReader
from penchant.encoders.transcript import SpeechRecogniser, TranscriptConfig, transcribe_catalog

ANY = "any"


class ReviewsConfig(Settings):
    """Classifiers that read the text of events, and their thresholds: the `[reviews]` table."""

    sentiment: dict[str, Path] = {}
    """Language of the words (en, zh, ...; "any" for those not named) to the folder of a trained classifier, relative to the settings
    file; empty reads no text."""
    built_in: bool = False
    """Read English and Chinese texts that no classifier of `sentiment` is named for with the built-in mood: a table of words with negations, and a
    linear model that learns in seconds from the run's rated texts, or from those that the table is sure of."""
    unhappy: list[str] = ["negative", "unhappy"]
    """Classes that mean the user did not like the item."""
    confidence_threshold: float = Field(0.7, gt=0.5, le=1)
    """Probability of these classes from which on an event is unhappy; between one minus this and this, the event keeps its weight."""
    transcript: TranscriptConfig | None = None
    """Speech recogniser for voice notes (the events' `audio`), whose transcripts are read too; None ignores voice notes."""

    def below(self, home: Path) -> Self:
        """Return the settings with classifiers looked for in a folder."""
        return self.model_copy(update={"sentiment": {name: home / path for name, path in self.sentiment.items()}})


def classify_reviews(dataset: Dataset, config: ReviewsConfig, limits: MediaLimits, *, cache: Path) -> Dataset:
    """Return the data whose events carry a `mood`: "happy", "unhappy", or null without text or where the mood is not clear.

    Equal texts are read once. The counts are added to the findings.

    Args:
        dataset: Clean.
        config: Without classifiers and without `built_in`, nothing changes.
        limits: Of voice notes.
        cache: Folder of earlier transcripts.

    Raises:
        DataError: No event has text.
        ConfigError: A classifier has none of the classes called unhappy.
        ArtifactError: A classifier is missing, half-written or altered.
    """
    if not config.sentiment and not config.built_in:
        return dataset
    words, findings = _words(dataset, config, limits, cache)
    if words.null_count() == len(words):
        raise DataError(
            f"None of {len(words):,} events has text to read.",
            where="interactions: text" if config.transcript is None else "interactions: text, audio",
            fix='map the column: [data.columns] text = "review", or leave [reviews] out',
        )
    rated = pl.DataFrame({"text": words, "rating": dataset.interactions.table["value"]}).drop_nulls("text")
    probability = pl.DataFrame({"text": words}).join(
        _read(rated.group_by("text").agg(pl.col("rating").mean()).sort("text"), config),
        on="text",
        how="left",
        maintain_order="left",
    )["unhappy"]
    events = dataset.interactions.table.with_columns(mood=_mood(probability, config.confidence_threshold))
    findings += _findings(events["mood"], probability, words)
    return replace(dataset, interactions=Interactions(events), findings=(*dataset.findings, *findings))


def _words(
    dataset: Dataset, config: ReviewsConfig, limits: MediaLimits, cache: Path
) -> tuple[pl.Series, list[Finding]]:
    """Return the text and transcript of each event, null without either."""
    events = dataset.interactions.table
    none = pl.repeat(None, events.height, dtype=pl.String, eager=True)
    written = events["text"] if "text" in events.columns else none
    if config.transcript is None or "audio" not in events.columns or dataset.catalog.media_root is None:
        return written.alias("text"), []
    rows = events.select(pl.int_range(pl.len()).cast(pl.String).alias("item_id"), "audio")
    notes = Catalog(rows, media_columns={"audio": "audio"}, media_root=dataset.catalog.media_root)
    transcripts, findings = transcribe_catalog(notes, SpeechRecogniser(config.transcript), limits, cache=cache)
    both = pl.DataFrame({"written": written, "spoken": pl.Series(transcripts, dtype=pl.String)})
    joined = both.select(
        pl.concat_str("written", "spoken", separator="\n", ignore_nulls=True).alias("text")
    ).to_series()
    return joined.set(joined == "", None), [replace(f, check=f"reviews.{f.check}") for f in findings]


def _read(rated: pl.DataFrame, config: ReviewsConfig) -> pl.DataFrame:
    """Return the probability that each text is unhappy, null without a classifier for its language."""
    texts = rated["text"]
    languages = texts.map_elements(language, return_dtype=pl.String)
    named = [name if name in config.sentiment else ANY for name in languages]
    table = pl.DataFrame({"text": texts, "reader": named})
    parts = [pl.DataFrame(schema={"text": pl.String, "unhappy": pl.Float64})]
    for name, folder in config.sentiment.items():
        trained = TrainedClassifier.load(folder)
        unhappy = [k for k in trained.classes if k in config.unhappy]
        if not unhappy or not trained.inputs.text_columns:
            raise ConfigError(
                f"The classifier separates {', '.join(trained.classes)} by {', '.join(trained.inputs.modalities)}; "
                f"none of {', '.join(config.unhappy)} is among its classes, or it reads no text.",
                where=f"reviews.sentiment.{name}",
                fix="name its class of unhappy words: [reviews] unhappy = [...]",
            )
        mine = table.filter(pl.col("reader") == name)["text"]
        predictions = trained.predict_table(
            mine.alias(trained.inputs.text_columns[0]).to_frame(), root=Path(), evidence=False
        )
        probability = pl.Series([sum(one.probabilities[k] for k in unhappy) for one in predictions], dtype=pl.Float64)
        parts.append(pl.DataFrame({"text": mine, "unhappy": probability}))
    if config.built_in and ANY not in config.sentiment:
        rest = rated.filter(~pl.Series([name in config.sentiment for name in named], dtype=pl.Boolean))
        reader = MoodReader.fit(rest["text"].to_list(), rest["rating"].fill_null(float("nan")).to_numpy())
        good = pl.Series(reader(rest["text"].to_list()), dtype=pl.Float64).fill_nan(None)
        parts.append(pl.DataFrame({"text": rest["text"], "unhappy": 1 - good}).drop_nulls())
    return pl.concat(parts)


def _mood(probability: pl.Series, confidence_threshold: float) -> pl.Series:
    unhappy = pl.when(pl.col("probability") >= confidence_threshold).then(pl.lit("unhappy"))
    mood = unhappy.when(pl.col("probability") <= 1 - confidence_threshold).then(pl.lit("happy"))
    return pl.DataFrame({"probability": probability}).select(mood.alias("mood")).to_series()


def _findings(mood: pl.Series, probability: pl.Series, words: pl.Series) -> list[Finding]:
    """Return the counts of moods for the report."""
    with_text, read = len(words) - words.null_count(), len(probability) - probability.null_count()
    unhappy = mood == "unhappy"
    shown = words.filter(unhappy.fill_null(False)).unique(maintain_order=True).head(3)
    found = [
        Finding(
            "reviews.happy",
            int((mood == "happy").sum()),
            with_text,
            "kept",
            (),
            message("these events keep the weight of their kind"),
        ),
        Finding(
            "reviews.unhappy",
            int(unhappy.sum()),
            with_text,
            "repaired",
            tuple(text[:60] for text in shown),
            message("these events count against their items (histories.unhappy), whatever their kind"),
        ),
        Finding(
            "reviews.unsure",
            read - mood.count(),
            with_text,
            "kept",
            (),
            message("not clear: these events keep the weight of their kind"),
        ),
    ]
    if with_text > read:
        advice = message("no classifier reads their language: name one in [reviews.sentiment]")
        found.append(Finding("reviews.not_read", with_text - read, with_text, "kept", (), advice, "warning"))
    return found
