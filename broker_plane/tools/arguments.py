"""The arguments of our tools, in the spellings that models use. The schemas name only the preferred spelling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from broker_plane.wire import slips


def _argument(kind: Any, reading: Callable[[Any], Any], description: str, **bounds: Any) -> Any:
    return Annotated[kind, BeforeValidator(reading), Field(description=description, **bounds)]


def _bare_argument(kind: Any, reading: Callable[[Any], Any]) -> Any:
    """An argument that the tool's description explains: every tool is listed in every session."""
    return Annotated[kind, BeforeValidator(reading)]


def _chosen_rows(value: Any) -> Any:
    """As `rows_text`. The text [] means that no rows were chosen; an empty array may just be a filler."""
    if value == [] and not isinstance(value, str):
        raise ValueError(
            "an empty array chooses no rows. Leave abstract_data out to work on every row; to work on none, pass the "
            "text '[]'"
        )
    return slips.rows_text(value)


def _or(default: Any, reading: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`reading`, with `default` in place of None."""

    def read(value: Any) -> Any:
        found = reading(value)
        return default if found is None else found

    return read


def _cursor(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    found = slips.word("last", "first", "last", "new")(value)
    return slips.bare(found) if isinstance(found, str) else found


def _row_list(value: Any) -> Any:
    """Rows, also as text; a single row becomes a list, unless a value in it is a list or an object itself."""
    if isinstance(value, str):
        try:
            value = slips.read(value)
        except ValueError:
            return value
    if isinstance(value, dict) and not any(isinstance(member, (list, dict)) for member in value.values()):
        return [value]
    return slips.rows_of(value)


_body_rows = partial(slips.rows_text, member="body")

DOMAINS = _bare_argument(str, slips.names_text)
MODE = _bare_argument(Literal["async", "sync"], slips.word("async", "async", "sync"))
ABSTRACT_DATA = _bare_argument(str, _chosen_rows)
RESOURCE_URL = _bare_argument(str, slips.url)
BODY_DATA = _bare_argument(str, _body_rows)
COLUMN_MAPPING = _bare_argument(str, slips.mapping_text)

URL = _argument(str, slips.url, "A resource_url, as it was given")
GRANT = _argument(str, slips.url, "A resource_url or a grant_id")
BODY_ID = _argument(str, slips.url, "As publish and list_bodies give it")
ROWS = _argument(list[dict[str, Any]], _row_list, "The rows; small ones, since they come through you")
COLUMNS = _argument(list[str] | None, slips.names, "Only these columns")
KEY = _argument(list[str] | None, slips.names, "Columns that tell the rows of a feed apart")
WHERE = _argument(str | None, slips.condition, "Only rows for which this holds, e.g. severity >= 3 and area in ('CA')")
# Bounds belong to the number alone: pydantic would compare None with the bounds of a union.
FIRST = _argument(Annotated[int, Field(ge=0)] | None, slips.number, "At most so many rows")
SECONDS = _argument(Annotated[int, Field(ge=1)] | None, slips.seconds, "Seconds that it lives")
USES = _argument(Annotated[int, Field(ge=0)] | None, slips.number, "Completed deliveries; 0 is unlimited")
SAMPLE = Annotated[int, BeforeValidator(_or(5, slips.number))]
NAME = Annotated[str, BeforeValidator(slips.text)]
NEW_FEED = _argument(str, slips.text, "Makes it the next version of this feed, of which watchers hear")
SINCE = _argument(str, _cursor, "first, last, new, or the cursor of the answer before")


def waiting(most: float) -> Any:
    """Seconds to wait, at most `most`."""
    return _argument(float, _or(0, slips.seconds), "How long to wait where there is nothing yet", ge=0, le=most)
