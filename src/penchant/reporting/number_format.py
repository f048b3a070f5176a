"""Number formats: digits by precision, intervals beside means.

In: numbers, intervals, differences. Out: short text; a missing number is an en dash.
"""

from __future__ import annotations

import math

from penchant.metrics.intervals import Difference, Interval

MISSING = "–"
MINUS = "−"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a fixed count of decimals and a true minus sign."""
    if value is None or math.isnan(value):
        return MISSING
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def count(value: int) -> str:
    """Return a whole number with thousands marked."""
    return f"{value:,}"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share (0 to 1) as a percentage."""
    return MISSING if share is None or math.isnan(share) else f"{number(100 * share, digits)} %"


def interval(value: Interval) -> str:
    """Return "0.121 [0.118, 0.124]"; the mean alone where there is no interval."""
    digits = decimals(value)
    return f"{number(value.mean, digits)}{_ends(value.low, value.high, digits)}"


def difference(value: Difference | None) -> str:
    """Return "+0.012 [0.009, 0.015]"."""
    if value is None:
        return MISSING
    digits = decimals(value)
    return f"{signed(value.mean, digits)}{_ends(value.low, value.high, digits)}"


def points(value: Difference, digits: int = 1) -> str:
    """Return a difference of shares in percentage points: "+1.2 [0.9, 1.5]"."""
    return f"{signed(100 * value.mean, digits)}{_ends(100 * value.low, 100 * value.high, digits)}"


def signed(value: float, digits: int = 3) -> str:
    """Return a number with its sign; a number that rounds to 0 has none."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and float(f"{value:.{digits}f}") else text


def decimals(value: Interval | Difference) -> int:
    """Return how many decimals the width of an interval supports: 2, 3 or 4, so that a column of one metric lines up."""
    half = (value.high - value.low) / 2
    if math.isnan(half) or half <= 0:
        return 3
    return 2 if half >= 0.1 else 3 if half >= 0.004 else 4


def seconds(value: float | None) -> str:
    """Return a duration: "< 0.1 ms", "850 ms", "12.3 s", "3 min 20 s", "1 h 12 min"."""
    if value is None or math.isnan(value):
        return MISSING
    sign, value = (MINUS if value < 0 else ""), abs(value)
    if value < 5e-5:
        return "< 0.1 ms" if value else "0 s"
    if value < 0.9995:
        return f"{sign}{value * 1000:.{0 if value >= 0.01 else 1}f} ms"
    if value < 59.95:
        return f"{sign}{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{sign}{whole // 60} min {whole % 60} s"
    return f"{sign}{whole // 3600} h {whole % 3600 // 60} min"


def size(num_bytes: int | None) -> str:
    """Return a size in memory: "512 MB", "1.9 GB"."""
    if num_bytes is None:
        return MISSING
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def _ends(low: float, high: float, digits: int) -> str:
    if math.isnan(low) or math.isnan(high):
        return ""
    return f" [{number(low, digits)}, {number(high, digits)}]"
