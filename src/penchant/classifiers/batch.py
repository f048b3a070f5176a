"""Classify a whole table and write the predictions.

In: a trained classifier and a table with columns as in training. Out: a Parquet or CSV file, the table with the predictions beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.prediction import evidence_line
from penchant.core.errors import ConfigError
from penchant.data.media.signals import KEY_NAMES


def predict_file(
    trained: TrainedClassifier,
    table: pl.DataFrame,
    output: Path,
    *,
    root: Path,
    columns: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Path:
    """Write the table with its predictions.

    New columns: `predicted`, `score`, `threshold`, `is_unsure`, `evidence`, `transcript` where speech is transcribed, `written` where
    pictures are read, `predicted_notes` (what could not be read and why, what the prediction is not), and one probability per class.

    Args:
        trained: From `TrainedClassifier.load`.
        table: Columns as in training.
        output: A .parquet or .csv file.
        root: Folder the paths of media are below.
        columns: Our columns' names to the table's.
        file: File of the table, below `root`. Where it holds readings of many samples, as the signals of training did, each key is one sample.

    Raises:
        ConfigError: The ending is neither .parquet nor .csv.
    """
    if output.suffix not in (".parquet", ".csv"):
        raise ConfigError(
            f"A file ending in {output.suffix or 'nothing'!r} is not written.",
            where=str(output),
            fix="name it .parquet or .csv",
        )
    table = _one_row_each(trained, table, root, file)
    predictions = trained.predict_table(table, root=root, columns=columns)
    inputs = trained.inputs
    new: dict[str, Sequence[Any]] = {
        "predicted": [one.label for one in predictions],
        "score": [one.score for one in predictions],
        "threshold": [one.threshold for one in predictions],
        "is_unsure": [one.is_unsure for one in predictions],
        "evidence": [evidence_line(one) for one in predictions],
        **({"transcript": [one.transcript for one in predictions]} if inputs.transcript is not None else {}),
        **({"written": [one.written for one in predictions]} if inputs.ocr is not None else {}),
        "predicted_notes": ["\n".join(one.notes) for one in predictions],
        **{f"probability.{name}": [one.probabilities[name] for one in predictions] for name in trained.classes},
    }
    written = table.drop([name for name in new if name in table.columns]).with_columns(
        **{name: pl.Series(values) for name, values in new.items()}
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".csv":
        written.write_csv(output)
    else:
        written.write_parquet(output)
    return output


def _one_row_each(trained: TrainedClassifier, table: pl.DataFrame, root: Path, file: Path | None) -> pl.DataFrame:
    """Return one row for each key of a table of readings; any other table unchanged."""
    key = next((name for name in table.columns if name.strip().lower() in KEY_NAMES), None)
    column = trained.inputs.media_columns.get("signal")
    if file is None or column is None or key is None or column in table.columns or not table[key].is_duplicated().any():
        return table
    ids = table[key].drop_nulls().cast(pl.String).str.strip_chars().unique(maintain_order=True)
    place = file.relative_to(root).as_posix()
    return pl.DataFrame({"sample_id": ids, column: [f"{place}#{one}" for one in ids]})
