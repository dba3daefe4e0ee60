"""HTTP dates (RFC 9110, section 5.6.7), parsed in all three forms and without the locale. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = "(?P<month>" + "|".join(_MONTHS) + ")"
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_FORMS = (
    re.compile(rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT", re.A),
    re.compile(
        r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, "
        rf"(?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",
        re.A,
    ),
    re.compile(rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})", re.A),
)


def format_date(seconds: float) -> str:
    """The date in the one form that may be sent; fractions of a second are dropped."""
    return _format(int(seconds))


@lru_cache(1024)
def _format(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def parse_date(text: str) -> int | None:
    """Unix seconds, or None for an invalid date: a condition on such a date is ignored."""
    for form in _FORMS:
        match = form.fullmatch(text.strip(" \t"))
        if match is not None:
            return _seconds(match)
    return None


def _seconds(match: re.Match[str]) -> int | None:
    year = int(match["year"])
    if len(match["year"]) == 2:
        year += 2000 if year < 70 else 1900  # POSIX's pivot; a validator of ours is never older than that.
    clock = int(match["hour"]), int(match["minute"]), min(int(match["second"]), 59)  # 60 is a leap second.
    try:
        moment = datetime(year, _MONTHS.index(match["month"]) + 1, int(match["day"]), *clock, tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp())
