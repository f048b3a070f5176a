"""Some of many rows.

In: rows in an order, and how many are wanted. Out: so many of them, evenly spaced.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64


def evenly_spaced(rows: Int64[np.ndarray, " rows"], limit: int) -> Int64[np.ndarray, " chosen"]:
    """Return all rows, or `limit` of them, evenly spaced with the first and the last among them, where there are more."""
    return rows[np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(np.int64)]
