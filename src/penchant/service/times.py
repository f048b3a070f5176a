"""Times of events as they come, as they are stored, and as they are shown.

In: dates, and microseconds since 1970 (UTC). Out: the other one, or ISO 8601.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from penchant.core.errors import DataError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros_of(at: datetime) -> int:
    """Return a time as microseconds since 1970, as events have it; without an offset it is UTC."""
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def moment_of(micros: int) -> datetime:
    """Return a time of an event as a date of Python.

    Raises:
        DataError: It lies beyond the years that one can show.
    """
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        raise DataError(
            "This time cannot be shown.", where="at", fix="give a time between the years 1 and 9999"
        ) from None


def iso_time(micros: int) -> str:
    """Return a time of an event as an export shows it, ISO 8601 in UTC."""
    try:
        return (_EPOCH + timedelta(microseconds=micros)).isoformat()
    except OverflowError:  # stored or learned from before such times were refused; NumPy's calendar has a year 0
        return f"{np.datetime64(micros, 'us')}+00:00"


EARLIEST = micros_of(datetime.min)
"""The first microsecond that a date of Python, and hence an export, can show."""
