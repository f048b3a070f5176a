"""Times from text and numbers.

In: a column as read. Out: UTC times, and a finding about how they were read.
"""

from __future__ import annotations

import polars as pl

from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import Finding, make_findings
from penchant.data.read.tables import RawTable

TIME: pl.DataType = pl.Datetime("us", "UTC")
UNITS = (
    (1e11, 1e6, message("seconds")),
    (1e14, 1e3, message("milliseconds")),
    (1e17, 1.0, message("microseconds")),
    (float("inf"), 1e-3, message("nanoseconds")),
)
"""Upper bound of the numbers, factor to microseconds, unit of time."""
ORDINARY_SECONDS = 1e8
"""Smaller numbers would be times before March 1973: more likely positions in a sequence."""
TIME_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f%z",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M%z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%Y-%m-%d %I:%M:%S %p",
    "%Y-%m-%d %I:%M %p",
)
DIGITS = ((r"^(19|20)\d{6}$", "%Y%m%d"), (r"^(19|20)\d{12}$", "%Y%m%d%H%M%S"))
"""Dates written as one number, and their format."""
DAY_AND_MONTH = r"^(\d{1,2})([-.])(\d{1,2})[-.](\d{4}|\d{2})(?:,?\s+(.*))?$"
"""01.05.2024 or 5-1-24 10:30 PM (slashes were made hyphens before); with points the day is first."""
AMBIGUOUS = "no value of the column decides"
"""Of the message where the order of day and month cannot be told."""
EXPECTED = "a time (2024-05-01T12:00:00Z, or a number since 1970)"


def read_times(raw: RawTable, column: str, form: str | None = None) -> tuple[pl.Series, list[Finding]]:
    """Return UTC times from datetimes, text, or numbers since 1970 (their unit follows from their size).

    Text may be ISO 8601, Chinese (2024年5月1日), or day and month before the year: with points the day is first, else the order in which every
    value of the column is a date. A datetime without a zone is taken as UTC.

    Args:
        raw: The table.
        column: Its column.
        form: Format of the text, as of `strptime`; None recognises it.

    Raises:
        DataError: A value is not a time, and its row is named; or day and month cannot be told apart.
    """
    values = raw.table[column]
    if isinstance(values.dtype, pl.Datetime):
        zoned = values.dt.replace_time_zone("UTC") if values.dtype.time_zone is None else values
        return zoned.dt.convert_time_zone("UTC").cast(TIME), []
    if values.dtype == pl.Date:
        return values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"), []
    if form is not None:
        text = values.cast(pl.String).str.strip_chars()
        times = _parsed(text, (form,))
        refuse_lost(raw, text, times, column, f"a time of the format {form} (data.time_format)")
        return times, []
    if values.dtype == pl.String:
        values = values.str.strip_chars()
    if (dates := _from_digits(values)) is not None:
        return dates, []
    if values.dtype == pl.String and 2 * values.cast(pl.Float64, strict=False).count() < values.count():
        return _from_text(raw, values, column)
    return _from_numbers(raw, values, column)


def refuse_lost(raw: RawTable, before: pl.Series, after: pl.Series, column: str, expected: str) -> None:
    """Refuse the first value that a conversion lost.

    Raises:
        DataError: A value became null; its row is named.
    """
    lost = after.is_null() & before.is_not_null()
    if before.dtype == pl.String:
        lost &= before.str.strip_chars() != ""
    raw.refuse(lost, before, column, f"{{value}} is not {expected}.", "correct it, or leave the cell empty")


def _from_digits(values: pl.Series) -> pl.Series | None:
    """Return the times of dates that are written as one number (20240501); None where a value is none."""
    if values.dtype != pl.String and not values.dtype.is_integer():
        return None
    text = values.cast(pl.String)
    known = text.drop_nulls().filter(text.drop_nulls() != "")
    for pattern, form in DIGITS:
        if len(known) and known.str.contains(pattern).all():
            times = _parsed(text, (form,))
            if times.count() == len(known):
                return times
    return None


def _from_numbers(raw: RawTable, values: pl.Series, column: str) -> tuple[pl.Series, list[Finding]]:
    number = values.cast(pl.Float64, strict=False)
    if values.dtype.is_float():
        values = number = number.fill_nan(None)
    median = number.abs().median()
    size = float(median) if isinstance(median, (int, float)) else 0.0
    _, factor, unit = next((u for u in UNITS if size < u[0]), UNITS[-1])
    # 2**53 microseconds is the year 2255: below it a float64 is exact
    micro = (number * factor).round().cast(pl.Int64, strict=False)
    refuse_lost(raw, values, micro, column, EXPECTED)
    other = _of_other_units(number, factor)
    if other.null_count() < len(other):
        mixed = other.is_not_null()
        finding = make_findings(
            "events.mixed_time_units",
            int(mixed.sum()),
            number.count(),
            "repaired",
            examples=(f"{raw.place(row, column)}: {values[row]}" for row in mixed.arg_true().head(3).to_list()),
            advice=message(
                "most numbers of the column are {unit} since 1970, and these are of another unit: each was read by its size",
                unit=unit,
            ),
            severity="warning",
        )
        return _instants(micro.zip_with(~mixed, other)), finding
    early = unit == "seconds" and size < ORDINARY_SECONDS
    advice = message("numbers of this size are {unit} since 1970", unit=unit)
    if early:
        advice = message(
            "numbers of this size are {unit} since 1970, but these are before 1973: if they are positions in a sequence, add them to a date",
            unit=unit,
        )
    severity = "warning" if early else "info"
    return _instants(micro), [Finding("events.time_unit", number.count(), len(number), "kept", (), advice, severity)]


def _of_other_units(number: pl.Series, factor: float) -> pl.Series:
    """Return, for ordinary times of another unit than the column's, their microseconds; null for all others."""
    found = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(number))
    for _, other, _ in UNITS:
        seconds = number * other / 1e6
        if other != factor:
            ordinary = seconds.is_between(6.3e8, 4.1e9)  # 1990 to 2099
            found = found.zip_with(~ordinary.fill_null(False), (number * other).round().cast(pl.Int64, strict=False))
    return found


def _instants(micro: pl.Series) -> pl.Series:
    return micro.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _from_text(raw: RawTable, values: pl.Series, column: str) -> tuple[pl.Series, list[Finding]]:
    """Read ISO 8601 with or without a zone, with `T` or a space, with `-` or `/`; Chinese dates; and day and month before the year."""
    plain = values.str.replace(r"(\d)T(\d)", "${1} ${2}").str.replace_all("/", "-", literal=True)
    plain = plain.str.replace(r"^(\d{4})年\s*(\d{1,2})月\s*(\d{1,2})[日号]?\s*", "${1}-${2}-${3} ").str.strip_chars()
    plain = plain.str.replace(r"(\d{1,2})[时点](\d{1,2})分(?:(\d{1,2})秒)?$", "${1}:${2}:${3}").str.strip_chars_end(":")
    plain = plain.str.replace(r"\s*(Z|UTC)$", "+00:00").str.replace(r"\s+([+-]\d\d:?\d\d)$", "${1}")
    plain = plain.str.replace(r"(:\d\d(?:\.\d+)?)\s*([+-]\d\d)$", "${1}${2}:00")  # PostgreSQL writes hours alone
    times = _parsed(_where(plain, plain.str.contains(r"^\d{4}-")), TIME_FORMATS)
    findings: list[Finding] = []
    if times.null_count() > values.null_count():
        dates, findings = _day_and_month(raw, _where(plain, times.is_null()), values, column)
        times = times.zip_with(times.is_not_null(), dates)
    numbers = _where(values, times.is_null()).cast(pl.Float64, strict=False)
    for bound, factor, _ in reversed(UNITS):  # numbers among texts, each by its size
        here = (numbers >= ORDINARY_SECONDS) & (numbers < bound)
        times = times.zip_with(
            ~here.fill_null(False), _instants((numbers * factor).round().cast(pl.Int64, strict=False))
        )
    refuse_lost(raw, values, times, column, EXPECTED)
    return times, findings


def _day_and_month(raw: RawTable, plain: pl.Series, values: pl.Series, column: str) -> tuple[pl.Series, list[Finding]]:
    """Return the times of values that begin with day and month, in the order in which most of them are dates.

    Raises:
        DataError: Both orders fit every value, and differ.
    """
    parts = plain.str.extract_groups(DAY_AND_MONTH).struct.unnest()
    first, mark, second, year, rest = (parts[name] for name in parts.columns)
    year = ("20" + year).zip_with(
        ((year.str.len_chars() == 2) & (year <= "68")).fill_null(False),
        ("19" + year).zip_with((year.str.len_chars() == 2).fill_null(False), year),
    )
    rest = rest.str.to_uppercase().str.replace(r"(\d)\s*([AP])\.?M\.?$", "${1} ${2}M").fill_null("")
    by_day = _parsed((year + "-" + second + "-" + first + " " + rest).str.strip_chars_end(), TIME_FORMATS)
    by_month = _parsed((year + "-" + first + "-" + second + " " + rest).str.strip_chars_end(), TIME_FORMATS)
    pointed = (mark == ".").fill_null(False)
    by_month = _where(by_month, ~pointed)
    days, months = int((by_day.is_not_null() & ~pointed).sum()), by_month.count()
    differ = (by_day != by_month).fill_null(False)
    if days == months and differ.any() and not (by_day.is_null() ^ by_month.is_null()).filter(~pointed).any():
        row = int(differ.arg_true()[0])
        raise DataError(
            f"{values[row]!r} may be {by_day[row]:%-d %B} or {by_month[row]:%-d %B}, and {AMBIGUOUS}.",
            where=raw.place(row, column),
            fix='say it in [data]: time_format = "%d/%m/%Y", or "%m/%d/%Y", as the values are written',
        )
    month_is_first = months > days
    chosen = by_month.zip_with(~pointed, by_day) if month_is_first else by_day
    shown = chosen.is_not_null().arg_true().head(1).to_list()
    return chosen, make_findings(
        "events.time_order",
        chosen.count(),
        len(values),
        "kept",
        examples=(f"{values[row]} = {chosen[row]:%Y-%m-%d}" for row in shown),
        advice=message("dates were read with the month before the day")
        if month_is_first
        else message("dates were read with the day before the month"),
    )


def _parsed(text: pl.Series, forms: tuple[str, ...]) -> pl.Series:
    """Return the times of a text in any of some formats, null where none fits."""
    times = pl.Series(text.name, [None], TIME).new_from_index(0, len(text))
    for form in forms:
        if times.null_count() == text.null_count():
            break
        found = text.str.to_datetime(form, time_unit="us", strict=False)
        if found.dtype != TIME:
            found = found.dt.replace_time_zone("UTC")
        times = times.zip_with(times.is_not_null(), found)
    return times


def _where(values: pl.Series, mask: pl.Series) -> pl.Series:
    """Return the values where a mask is true, null elsewhere."""
    return values.zip_with(mask.fill_null(False), pl.Series([None], dtype=values.dtype).new_from_index(0, len(values)))
