"""The results of a resource tool (docs/reference/wire-protocol.md#results), for any framework."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from broker_plane.tabular.abstract import AbstractBuilder
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tools.frameworks import ToolResult
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.exact_json import loads
from broker_plane.wire.names import EXTENSION, RESOURCE_SCHEME
from broker_plane.wire.offers import default_of, negotiate

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published
    from broker_plane.runtime.plane import Plane
    from broker_plane.runtime.session_offers import CreatedSession


def table_shape(
    total: int, columns: Sequence[str], shown: Sequence[str], abstract: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The members that describe a table: `shown` are the columns of the abstract, the others stay in the body."""
    return {
        "total_rows": total,
        "columns": list(columns),
        "abstract_domains": list(shown),
        "body_domains": [name for name in columns if name not in shown],
        "abstract": abstract,
    }


def split(frame: Frame, columns: Sequence[str], shown: Sequence[str]) -> ToolResult:
    """The result of sync mode: every row twice, the columns `shown` in `abstract` and the others in `body`."""
    hidden = [name for name in columns if name not in shown]
    abstract, body = AbstractBuilder(shown, None), AbstractBuilder(hidden, None)
    abstract.add(frame)
    body.add(frame)
    return in_sync(table_shape(len(frame), columns, shown, abstract.rows), body.rows)


async def publish_summarized(plane: Plane, data: Any, columns: Sequence[str] | None, **options: Any) -> Published:
    """Publish a table whose result has a summary by column (of `columns`; None: all) and shows no rows."""
    published = await plane.publish(data, abstract="all" if columns is None else columns, abstract_limit=1, **options)
    return replace(published, abstract=[], abstract_truncated=True)


def in_sync(shape: dict[str, Any], body: Sequence[dict[str, Any]]) -> ToolResult:
    return result(shape | {"body": body})


def in_async(
    shape: dict[str, Any],
    published: Published,
    name: str,
    descriptor: dict[str, Any] | None = None,
    *,
    following: str = "",
    hidden: Collection[str] = (),
) -> ToolResult:
    """The result of async mode: the abstract and an offer of the body. `descriptor` comes from `offered`.

    `following` says what to do next. The URL comes before the rows, which a client may cut. `hidden` members stay out
    of the structured content, because the tool's own output schema restricts them.
    """
    rows = {"abstract": shape["abstract"]} if "abstract" in shape else {}
    shape = {key: value for key, value in shape.items() if key not in rows} | {"resource_url": published.resource_url}
    shape |= {"next_step": following} if following else {}
    shape |= rows
    if published.abstract_truncated:
        shape |= {"abstract_truncated": True, "summary": published.summary}
    fields = offered(published) if descriptor is None else descriptor
    link = {
        "type": "resource_link",
        "uri": f"{RESOURCE_SCHEME}://body/{published.grant}",
        "name": published.body.name or name,
        "mimeType": published.body.media_type,
        "size": published.body.size,
    }
    return result(shape, link=link, meta=None if fields is None else {EXTENSION: fields}, hidden=hidden)


def offered(published: Published, capabilities: Capabilities | None = None) -> dict[str, Any] | None:
    """The descriptor that this client can carry out, with the others as alternatives; None if none may be offered.

    A client that declares nothing gets one descriptor alone, whose bytes need no package of broker_plane: its host may
    show a model the whole result. One that can carry out none of those offered gets this one first.
    """
    offer = published.offer(capabilities.formats if capabilities else ())
    chosen = negotiate(offer, capabilities).descriptor or default_of(offer)
    if capabilities is None:
        return None if chosen is None else chosen.to_wire()
    return offer.to_wire(chosen, capabilities.schema_)


def of_session(created: CreatedSession, descriptor: dict[str, Any] | None = None) -> ToolResult:
    """The result of a tool that has created a session: the editor's address, and its descriptor as an offer."""
    shape = {
        "session_id": created.session_id,
        "kind": created.kind,
        "sync": created.sync,
        "session": created.urls["editor"],
        "next_step": "Take part with session_read(session) and session_propose, or hand session on",
    }
    return result(shape, meta={EXTENSION: descriptor or created.descriptor})


def session_offered(created: CreatedSession, capabilities: Capabilities | None) -> dict[str, Any]:
    """The descriptor that this client can carry out first; others, and those without declarations, get the best one."""
    offer = created.offer()
    chosen = negotiate(offer, capabilities).descriptor
    return (offer.to_wire(chosen) if chosen else None) or created.descriptor


def result(
    shape: dict[str, Any],
    *,
    link: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    hidden: Collection[str] = (),
) -> ToolResult:
    """`shape` as text and as structured content, with the link and the `_meta` of an offer."""
    text = json_bytes(shape)
    structured = {name: value for name, value in loads(text).items() if name not in hidden}
    content: list[Any] = [{"type": "text", "text": text.decode()}]
    return ToolResult([*content, link] if link else content, structured, meta)
