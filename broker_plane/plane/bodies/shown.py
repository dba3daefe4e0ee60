"""The part of a body that a delivery shows, and its formats. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from broker_plane.errors import NotAcceptableError
from broker_plane.plane.grants.grants import Opened
from broker_plane.wire.body import BYTES_TYPE, BodyInfo
from broker_plane.wire.selector import Selector


@dataclass(frozen=True, slots=True)
class Shown:
    """The part of a body that a delivery shows. `columns` None: all of them; `rows` None: the body has no rows."""

    columns: tuple[str, ...] | None = None
    rows: int | None = None


ALL_SHOWN = Shown()


def check_format(opened: Opened, *media_types: str) -> None:
    """Raise NotAcceptableError unless the grant allows one of `media_types`."""
    formats = opened.grant.scope.formats
    if formats is not None and not set(media_types) & set(formats):
        raise NotAcceptableError(f"This grant is for {', '.join(formats) or 'no format'} only")


def stored_types(body: BodyInfo) -> tuple[str, ...]:
    """The media types under which the stored bytes may be requested."""
    return (body.media_type,) if body.kind == "rows" else (body.media_type, BYTES_TYPE)


def shown_of(body: BodyInfo, selector: Selector) -> Shown:
    """The part that `selector` shows of `body`, which is already limited to the grant's scope."""
    if body.rows is None or selector.row_ids is None:
        return Shown(selector.columns, body.rows)
    return Shown(selector.columns, len(selector.row_ids))
