"""What a caller of the Python API passed, checked before anything happens: each error says what to pass instead."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import ceil, isfinite
from numbers import Real
from typing import Any

from broker_plane.errors import SelectorError, WireError
from broker_plane.wire import slips
from broker_plane.wire.caveats import MOST_USES

LONGEST_SECONDS = 30 * 86_400
"""No grant lives longer."""


def seconds(value: Any, name: str = "ttl", *, most: float = LONGEST_SECONDS) -> float:
    """A time to live: seconds, a timedelta, or a text with a unit, such as "10m".

    Raises:
        WireError: it is none of them, not positive, or longer than `most`.
    """
    asked = slips.seconds(value) if isinstance(value, str) else value
    if isinstance(asked, str):
        asked = float(asked) if asked.replace(".", "", 1).isdecimal() else None
    if isinstance(asked, timedelta):
        asked = asked.total_seconds()
    if isinstance(asked, bool) or not isinstance(asked, Real) or not isfinite(float(asked)):
        raise WireError(
            f'{name} is a time in seconds, such as {name}=600, {name}=timedelta(minutes=10) or {name}="10m"'
        )
    found = float(asked)
    if not found > 0:
        raise WireError(f"{name} is {found:g} seconds; it must be more than 0")
    if found > most:
        raise WireError(f"{name} is {found:.0f} seconds; the most is {most:.0f} ({most / 86_400:g} days)")
    return found


def whole_seconds(value: Any, name: str = "ttl") -> int:
    """As `seconds`, rounded up."""
    return ceil(seconds(value, name))


def uses(value: Any) -> int:
    """The number of completed deliveries of a grant, as the wire has it: "unlimited" is 0.

    Raises:
        WireError: it is neither a number nor "unlimited".
    """
    if value == "unlimited":
        return 0
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= value.__index__() <= MOST_USES:
        raise WireError(f"uses is 0 (unlimited) or the number of completed deliveries, at most {MOST_USES}")
    return int(value.__index__())


def names(value: Any, name: str) -> Sequence[str] | None:
    """Names of columns, and the like; None stays None.

    Raises:
        SelectorError: it is one text, whose letters would be taken for names, or holds something else than texts.
    """
    if value is None:
        return None
    if isinstance(value, (str, bytes)):
        raise SelectorError(f"{name} is a list of names, such as {name}=[{value!r:.60}]")
    try:
        found = list(value)
    except TypeError:
        found = [None]
    if not all(isinstance(each, str) for each in found):
        raise SelectorError(f'{name} is a list of names, such as {name}=["event"]')
    return found


def address(value: Any) -> str:
    """What is pulled: a `resource_url`, a presigned subject or a grant.

    Raises:
        WireError: it is no text, and what to pass instead.
    """
    if isinstance(value, str):
        return value
    if isinstance(getattr(value, "resource_url", None), str):
        raise WireError(
            f"This takes a URL: pass the resource_url of the {type(value).__name__}, published.resource_url"
        )
    raise WireError(f"This takes the resource_url of a published body, as text, not {_kind(value)}")


def one_of(value: Any, name: str, *words: str) -> None:
    """Raise WireError unless `value` is one of `words`."""
    if value not in words:
        raise WireError(f"{name} is {' or '.join(map(repr, words))}, not {value!r:.40}")


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
