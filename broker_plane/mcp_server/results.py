"""The shapes of a resource tool's result (wire.md, section 1), as one explicit CallToolResult each."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from mcp.types import (
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel, ConfigDict, WithJsonSchema

from broker_plane.tabular.json_values import dumps
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.names import EXTENSION, RESOURCE_SCHEME
from broker_plane.wire.offers import default_of, negotiate
from broker_plane.wire.page import Page

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published

_TEXTS = ("application/json", "application/x-ndjson", "application/xml")


def _member(description: str, **schema: Any) -> Any:
    """A member that is there or not, never null: flat, because a client validates every result against it."""
    return WithJsonSchema({"description": description, **schema})


class ResourceResult(BaseModel):
    """A table, or the abstract of one with a `resource_url` for the rest."""

    model_config = ConfigDict(extra="allow")

    # Arrays have no schema for their items, so that neither side walks through all rows to validate them.
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


class InlineResult(CallToolResult):
    """Of `transfer/unable`: the body, or a part of it and the cursor of the next, in MCP's words for pages."""

    next_cursor: str | None = None


def plain(rows: Sequence[dict[str, Any]]) -> CallToolResult:
    """All rows, as the tool without us would give them: a JSON array."""
    text = dumps(rows)
    return result(text, {"rows": orjson.loads(text)})


def in_sync(shape: dict[str, Any], body: Sequence[dict[str, Any]]) -> CallToolResult:
    text = dumps(shape | {"body": body})
    return result(text, orjson.loads(text))


def in_async(
    shape: dict[str, Any], published: Published, name: str, descriptor: dict[str, Any] | None = None
) -> CallToolResult:
    """The abstract and the offer; the body stays where it is. `descriptor` is one that `offered` made."""
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
    text = dumps(shape)
    return result(text, orjson.loads(text), link=link, meta=meta)


def offered(published: Published, capabilities: Capabilities | None = None) -> dict[str, Any] | None:
    """The descriptor that this client takes, with the others as its alternatives; None where none may be offered.

    For a client that takes none, or says nothing of itself, it is the one that needs no package of ours.
    """
    offer = published.offer(capabilities.formats if capabilities else ())
    chosen = negotiate(offer, capabilities).descriptor or default_of(offer)
    return offer.to_wire(chosen, capabilities.schema_ if capabilities else None)


def inline(page: Page, uri: str, limit: int, *, whole: bool) -> InlineResult:
    """A part of a body in the result itself: rows as a JSON array, text as text, all else as a blob.

    `whole`: there are no other parts.
    """
    if page.unit == "rows":
        text = page.content
        # The same once more in structured content, as long as both together stay below the limit (rulings.md 14).
        twice = whole and 2 * len(text) <= limit
        content: list[Any] = [TextContent(type="text", text=text.decode())]
        structured = {"rows": orjson.loads(text)} if twice else None
    else:
        content, structured = [EmbeddedResource(type="resource", resource=_contents(uri, page))], None
    if page.next:
        said = f"This is {page.part}. Ask transfer/unable again with nextCursor as cursor for what follows."
        content.append(TextContent(type="text", text=said))
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
