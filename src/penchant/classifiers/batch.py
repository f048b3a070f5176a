"""Classify a whole table and write the predictions.

In: a trained classifier and a table with columns as in training. Out: a Parquet or CSV file, the table with the answers beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.prediction import evidence_line
from penchant.core.errors import ConfigError


def predict_file(
    trained: TrainedClassifier,
    table: pl.DataFrame,
    output: Path,
    *,
    root: Path,
    columns: Mapping[str, str] | None = None,
) -> Path:
    """Write the table with `predicted`, `score`, `threshold`, `is_unsure`, `evidence`, `heard` where somebody listens, `written` where
    somebody reads pictures, `predicted_notes` (what could not be read and why, what the answer is
    not), and a column for each class's probability.

    Args:
        trained: From `TrainedClassifier.load`.
        table: What is judged.
        output: A .parquet or .csv file.
        root: Folder the paths of media are below.
        columns: Our columns' names to the table's.

    Raises:
        ConfigError: The ending is neither .parquet nor .csv.
    """
    if output.suffix not in (".parquet", ".csv"):
        raise ConfigError(
            f"A file ending in {output.suffix or 'nothing'!r} is not written.",
            where=str(output),
            fix="name it .parquet or .csv",
        )
    found = trained.predict_table(table, root=root, columns=columns)
    inputs = trained.inputs
    said: dict[str, Sequence[Any]] = {
        "predicted": [one.label for one in found],
        "score": [one.score for one in found],
        "threshold": [one.threshold for one in found],
        "is_unsure": [one.is_unsure for one in found],
        "evidence": [evidence_line(one) for one in found],
        **({"heard": [one.heard for one in found]} if inputs.transcript is not None else {}),
        **({"written": [one.written for one in found]} if inputs.ocr is not None else {}),
        "predicted_notes": ["\n".join(one.notes) for one in found],
        **{f"probability.{name}": [one.probabilities[name] for one in found] for name in trained.classes},
    }
    written = table.drop([name for name in said if name in table.columns]).with_columns(
        **{name: pl.Series(values) for name, values in said.items()}
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".csv":
        written.write_csv(output)
    else:
        written.write_parquet(output)
    return output
