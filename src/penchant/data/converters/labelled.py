"""Public labelled data sets in their published formats.

In: the folder of one data set. Out: `Samples`; columns that reveal the label are not content.
"""

from __future__ import annotations

import polars as pl

from penchant.core.schema import Samples
from penchant.data.read.columns import rename
from penchant.data.read.samples import SamplesConfig, assemble_samples, read_parts_of
from penchant.data.read.tables import read_table


def read_mm_sentiment(config: SamplesConfig) -> Samples:
    """Read tweets with a picture: positive, negative, neutral."""
    config = config.with_defaults(columns={"sample_id": "guid"}, text=["text"], media={"image": "image"})
    return assemble_samples(config, read_table(config.path / "data.csv"))


def read_zh_sentiment(config: SamplesConfig) -> Samples:
    """Read ChnSentiCorp's Chinese hotel reviews: positive, negative."""
    config = config.with_defaults(labels={"1": "positive", "0": "negative"}, text=["review"], media={})
    return assemble_samples(config, read_table(config.path / "ChnSentiCorp_htl_all.csv"))


def read_cold(config: SamplesConfig) -> Samples:
    """Read Chinese posts, safe or offensive, with their published parts; the column `split` contradicts the files and is not used.

    Source: Deng et al., COLD: a benchmark for Chinese offensive language detection, EMNLP 2022.
    """
    config = config.with_defaults(labels={"0": "safe", "1": "offensive"}, text=["TEXT"], media={})
    names = {"train": "train", "validation": "dev", "test": "test"}
    return assemble_samples(
        config, read_parts_of({part: config.path / f"cold_zh_{name}.csv" for part, name in names.items()})
    )


def read_davidson(config: SamplesConfig) -> Samples:
    """Read English tweets: hate, offensive, neither; the annotators' votes beside the label are not content.

    Source: Davidson et al., Automated hate speech detection and the problem of offensive language, ICWSM 2017.
    """
    labels = {"0": "hate", "1": "offensive", "2": "neither"}
    config = config.with_defaults(columns={"label": "class"}, labels=labels, text=["tweet"], media={})
    return assemble_samples(config, read_table(config.path / "davidson_en.csv"))


def read_memes(config: SamplesConfig) -> Samples:
    """Read memes with their words: offensive or not; the annotations of valence, sarcasm and emotion are not content."""
    config = config.with_defaults(
        columns={"sample_id": "Name", "label": "Level1"},
        labels={"off": "offensive", "non-off": "harmless"},
        text=["Text"],
        media={"image": "image"},
    )
    return assemble_samples(config, read_table(config.path / "data.csv"))


def read_depresjon(config: SamplesConfig) -> Samples:
    """Read wrist activity by the minute, of patients with depression and of controls; one sample is one person.

    Columns recorded for patients only (scores, inpatient, ...) are empty for controls and so reveal the label: not content.

    Source: Garcia-Ceja et al., Depresjon: a motor activity database of depression episodes, MMSys 2018.
    """
    raw = read_table(config.path / "scores.csv")
    raw = rename(raw, {"sample_id": "id"}, ("sample_id",), "data.columns")
    label = pl.col("sample_id").str.split("_").list.first()
    table = raw.table.select("sample_id", "age", "gender", label=label, group="sample_id")
    config = config.with_defaults(signals="actigraphy.csv.gz", text=[], media={})
    return assemble_samples(config, raw.having(table))


def read_cough(config: SamplesConfig) -> Samples:
    """Read coughs, positive or negative for COVID-19; `source` is kept, since the label depends on it.

    Compare within one source only: a model that recognises the recording channel predicts most labels.
    """
    raw = read_table(config.path / "data.csv")
    raw = raw.having(raw.table.with_columns(audio="audio/" + pl.col("filename")))
    config = config.with_defaults(
        columns={"sample_id": "filename", "label": "covid19"},
        labels={"True": "positive", "False": "negative"},
        text=[],
        media={"audio": "audio"},
    )
    return assemble_samples(config, raw)
