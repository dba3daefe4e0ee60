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

from broker_plane.errors import TooLargeError
from broker_plane.mcp_server.handed import Offered
from broker_plane.tabular.json_values import dumps
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.descriptor import Schema
from broker_plane.wire.names import EXTENSION, RESOURCE_SCHEME
from broker_plane.wire.offers import Offer, default_of, negotiate

if TYPE_CHECKING:
    from broker_plane.runtime.connect import Plane, Published, Via

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


def plain(rows: Sequence[dict[str, Any]]) -> CallToolResult:
    """All rows, as the tool without us would give them: a JSON array."""
    text = dumps(rows)
    return result(text, {"rows": orjson.loads(text)})


def in_sync(shape: dict[str, Any], body: Sequence[dict[str, Any]]) -> CallToolResult:
    text = dumps(shape | {"body": body})
    return result(text, orjson.loads(text))


def in_async(
    shape: dict[str, Any], published: Published, name: str, offer: Offer, schema: Schema | None = None
) -> CallToolResult:
    """The abstract and the offer, whose first descriptor has the others as its alternatives; the body stays there."""
    shape = shape | {"resource_url": published.resource_url}
    if published.abstract_truncated:
        shape |= {"abstract_truncated": True, "summary": published.summary}
    fields = offer.to_wire(schema=schema)
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


def offered(published: Published, capabilities: Capabilities | None = None) -> Offer:
    """The ways of a body, of which the first is what this client takes.

    For a client that takes none, or says nothing of itself, it is the one that needs no package of ours.
    """
    offer = published.offer(capabilities.formats if capabilities else ())
    chosen = negotiate(offer, capabilities).descriptor or default_of(offer)
    return Offer(tuple(sorted(offer.descriptors, key=lambda each: each is not chosen)))


async def inline(plane: Plane, offered: Offered, limit: int) -> CallToolResult:
    """The offered body in the result itself: rows as a JSON array, text as text, all else as a blob.

    Raises:
        TooLargeError: as JSON it has more than `limit` bytes; nothing was used up. Else as `Plane.pull`.
    """
    from broker_plane.wire.grant import grant_of  # with the plane, and not at the start of a server

    via: Via | None = "http" if plane.settings.role == "source" else None
    if offered.body.kind == "rows":
        return await plane.pull_and(lambda pulled: _rows_within(pulled.rows, limit), offered.resource_url, via=via)
    raw = await plane.pull(offered.resource_url, via=via)
    uri = f"{RESOURCE_SCHEME}://body/{grant_of(offered.resource_url)}"
    return CallToolResult(content=[EmbeddedResource(type="resource", resource=_contents(uri, offered.body, raw))])


def _rows_within(rows: Sequence[dict[str, Any]], limit: int) -> CallToolResult:
    text = dumps(rows)
    if len(text) > limit:
        raise TooLargeError(
            f"As JSON the body has {len(text)} bytes, above {limit}: hand its resource_url to a consumer tool, or "
            "narrow it"
        )
    # The same once more in structured content, as long as both together stay below the limit (rulings.md 14).
    return plain(rows) if 2 * len(text) <= limit else result(text, None)


def _contents(uri: str, body: BodyInfo, raw: bytes) -> TextResourceContents | BlobResourceContents:
    if body.media_type.startswith("text/") or body.media_type.partition(";")[0] in _TEXTS:
        with suppress(UnicodeDecodeError):
            return TextResourceContents(uri=uri, mime_type=body.media_type, text=raw.decode())
    return BlobResourceContents(uri=uri, mime_type=body.media_type, blob=b64encode(raw).decode())


def result(
    text: bytes, structured: Any, *, link: ResourceLink | None = None, meta: dict[str, Any] | None = None
) -> CallToolResult:
    content: list[Any] = [TextContent(type="text", text=text.decode())]
    if link is not None:
        content.append(link)
    return CallToolResult(content=content, structured_content=structured, _meta=meta)
