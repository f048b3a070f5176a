"""The whole line of the report on what is missing."""

from __future__ import annotations

import numpy as np

from penchant.core.schema import Embeddings, Finding
from penchant.fusion.imputation import coverage


def test_coverage_in_full() -> None:
    present = np.array([True] * 5 + [False] * 1995)
    imputed = np.arange(2000) >= 900
    values = np.zeros((2000, 1), np.float32)
    assert coverage(Embeddings("still", "image", values, present, "e", imputed)) == Finding(
        "content.still.missing",
        1995,
        2000,
        "masked",
        ("still: 1,995 of 2,000 items without; 1,100 imputed from neighbours",),
        "never read as zeros",
    )
    none = coverage(Embeddings("still", "image", values, ~present | present, "e"))
    assert (none.count, none.total, none.examples) == (0, 2000, ())
