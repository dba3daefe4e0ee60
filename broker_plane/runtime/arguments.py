"""Checks the arguments of the Python API before anything happens; each error says what to pass instead."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import ceil, isfinite
from numbers import Real
from typing import Any, Final, Literal

from broker_plane.errors import SelectorError, WireError
from broker_plane.wire import slips
from broker_plane.wire.caveats import MOST_USES

LONGEST_SECONDS = 30 * 86_400
"""The longest lifetime of a grant."""
UNLIMITED: Final = "unlimited"
ALL = "all"

Uses = int | Literal["unlimited"]
"""A number of completed deliveries, or no limit."""
Lifetime = float | timedelta | str
"""Seconds, a timedelta, or a text with a unit such as "10m"."""
AbstractColumns = Sequence[str] | Literal["all"]
"""Names of columns, or every column."""


def seconds(value: Any, name: str = "ttl", *, most: float = LONGEST_SECONDS) -> float:
    """Return a lifetime in seconds, given as seconds, a timedelta, or a text with a unit such as "10m".

    Raises:
        WireError: the value is not one of these, not positive, or longer than `most`.
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
    """Like `seconds`, rounded up."""
    return ceil(seconds(value, name))


def uses(value: Any) -> int:
    """Return the uses of a grant as the wire has them: a number of completed deliveries, or 0 for "unlimited".

    Raises:
        WireError: the value is neither. 0 is refused, because it could mean either "none" or "unlimited".
    """
    if value == UNLIMITED:
        return 0
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= value.__index__() <= MOST_USES:
        raise WireError(f'uses is "unlimited" or the number of completed deliveries, at most {MOST_USES}')
    if not value:
        raise WireError('uses=0 is ambiguous: write uses="unlimited", or a number of completed deliveries')
    return int(value.__index__())


def uses_or(value: Any, default: Uses) -> int:
    """Like `uses`; if `value` is None, the setting `default`."""
    if value is not None:
        return uses(value)
    return 0 if default == 0 else uses(default)


def uses_of_wire(value: int | None) -> Uses | None:
    """Return `uses` for this API from a wire field or a tool argument, in which 0 means unlimited."""
    return UNLIMITED if value == 0 else value


def abstract_columns(value: Any) -> Sequence[str] | None:
    """Return the columns of an abstract; None stands for every column, as in `Order`.

    Raises:
        SelectorError: the value is neither "all" nor a list of names.
    """
    if isinstance(value, str) and value == ALL:
        return None
    if value is None:
        raise SelectorError(
            'abstract=None is ambiguous: write abstract="all" for every column, or abstract=[] for none'
        )
    return names(value, "abstract")


def abstract_rows(value: Any, default: int) -> int | None:
    """Return the largest number of rows in an abstract; None stands for every row, as in `Order`.

    Raises:
        SelectorError: the value is neither "all" nor a positive number.
    """
    if value is None:
        return default or None
    if isinstance(value, str) and value == ALL:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SelectorError('abstract_limit is a number of rows, or "all"')
    if not value:
        raise SelectorError(
            'abstract_limit=0 is ambiguous: write abstract_limit="all" for every row, or abstract=[] for none'
        )
    return value


def names(value: Any, name: str) -> Sequence[str] | None:
    """Return a list of names, such as columns; None stays None.

    Raises:
        SelectorError: the value is a single text, whose letters would be read as names, or contains non-texts.
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
    """Return what is to be pulled: a `resource_url`, a presigned subject or a grant.

    Raises:
        WireError: the value is not a text; the message says what to pass instead.
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
