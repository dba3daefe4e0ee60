"""The results of a resource tool (docs/reference/wire-protocol.md#results), as explicit CallToolResults."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from mcp.types import (
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel, ConfigDict, WithJsonSchema

from broker_plane.tabular.abstract import AbstractBuilder
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.json_values import json_bytes
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.exact_json import loads
from broker_plane.wire.extension import PartFields
from broker_plane.wire.names import EXTENSION, RESOURCE_SCHEME
from broker_plane.wire.offers import default_of, negotiate
from broker_plane.wire.page import Page

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published
    from broker_plane.runtime.plane import Plane

_TEXTS = ("application/json", "application/x-ndjson", "application/xml")


def _member(description: str, **schema: Any) -> Any:
    """An optional member, never null. The schema is flat, because a client validates every result against it."""
    return WithJsonSchema({"description": description, **schema})


class ResourceResult(BaseModel):
    """A table, or the abstract of one with a `resource_url` for the rest."""

    model_config = ConfigDict(extra="allow")

    # Arrays have no schema for their items, so that neither side validates every row.
    rows: Annotated[Any, _member("All rows: the plain result, without abstract_domains", type="array")] = None
    total_rows: Annotated[Any, _member("Rows of the whole table", type="integer")] = None
    columns: Annotated[Any, _member("Every column", type="array")] = None
    abstract_domains: Annotated[Any, _member("The columns shown", type="array")] = None
    body_domains: Annotated[Any, _member("The columns that are not shown", type="array")] = None
    resource_url: Annotated[Any, _member("Hand it to a consumer tool as it is", type="string")] = None
    abstract: Annotated[Any, _member("The columns shown, with each row's _row_id", type="array")] = None
    abstract_truncated: Annotated[Any, _member("Whether rows are left out of abstract", type="boolean")] = None
    summary: Annotated[Any, _member("By column, where rows are left out", type="object")] = None
    body: Annotated[Any, _member("The other columns, in sync mode", type="array")] = None


class InlineResult(PartFields, CallToolResult):
    """The result of `transfer/unable`: the body, or a part of it and the cursor of the next part."""


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


def split(frame: Frame, columns: Sequence[str], shown: Sequence[str]) -> CallToolResult:
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


def plain(rows: Sequence[dict[str, Any]]) -> CallToolResult:
    """All rows as a JSON array, which is what the tool would return without broker_plane."""
    text = json_bytes(rows)
    return result(text, {"rows": loads(text)})


def in_sync(shape: dict[str, Any], body: Sequence[dict[str, Any]]) -> CallToolResult:
    text = json_bytes(shape | {"body": body})
    return result(text, loads(text))


def in_async(
    shape: dict[str, Any], published: Published, name: str, descriptor: dict[str, Any] | None = None
) -> CallToolResult:
    """The result of async mode: the abstract and an offer of the body. `descriptor` comes from `offered`."""
    shape = shape | {"resource_url": published.resource_url}
    if published.abstract_truncated:
        shape |= {"abstract_truncated": True, "summary": published.summary}
    fields = offered(published) if descriptor is None else descriptor
    meta = None if fields is None else {EXTENSION: fields}
    link = ResourceLink(
        type="resource_link",
        uri=f"{RESOURCE_SCHEME}://body/{published.grant}",
        name=published.body.name or name,
        mime_type=published.body.media_type,
        size=published.body.size,
        _meta=meta,
    )
    text = json_bytes(shape)
    return result(text, loads(text), link=link, meta=meta)


def offered(published: Published, capabilities: Capabilities | None = None) -> dict[str, Any] | None:
    """The descriptor that this client can carry out, with the others as alternatives; None if none may be offered.

    A client that can carry out none, or declares nothing, gets one whose bytes need no package of broker_plane.
    """
    offer = published.offer(capabilities.formats if capabilities else ())
    chosen = negotiate(offer, capabilities).descriptor or default_of(offer)
    return offer.to_wire(chosen, capabilities.schema_ if capabilities else None)


def inline(page: Page, uri: str, limit: int, *, whole: bool) -> InlineResult:
    """A part of a body in the result itself: rows as a JSON array, text as text, anything else as a blob.

    `whole` says that this is the only part.
    """
    if page.unit == "rows":
        text = page.content
        # Repeated in structured content if both together stay below the limit (docs/decisions/0034).
        twice = whole and 2 * len(text) <= limit
        content: list[Any] = [TextContent(type="text", text=text.decode())]
        structured = {"rows": loads(text)} if twice else None
    else:
        content, structured = [EmbeddedResource(type="resource", resource=_contents(uri, page))], None
    if page.next:
        note = f"This is {page.part}. Ask transfer/unable again with nextCursor as cursor for what follows."
        content.append(TextContent(type="text", text=note))
    return InlineResult(content=content, structured_content=structured, next_cursor=page.next or None)


def _contents(uri: str, page: Page) -> TextResourceContents | BlobResourceContents:
    if page.media_type.startswith("text/") or page.media_type.partition(";")[0] in _TEXTS:
        with suppress(UnicodeDecodeError):
            return TextResourceContents(uri=uri, mime_type=page.media_type, text=page.content.decode())
    return BlobResourceContents(uri=uri, mime_type=page.media_type, blob=b64encode(page.content).decode())


def result(
    text: bytes, structured: Any, *, link: ResourceLink | None = None, meta: dict[str, Any] | None = None
) -> CallToolResult:
    content: list[Any] = [TextContent(type="text", text=text.decode())]
    if link is not None:
        content.append(link)
    return CallToolResult(content=content, structured_content=structured, _meta=meta)
