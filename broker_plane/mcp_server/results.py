"""The shapes of a resource tool's result (wire.md, section 1), as one explicit CallToolResult each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from mcp.types import CallToolResult, ResourceLink, TextContent
from pydantic import BaseModel, ConfigDict, WithJsonSchema

from broker_plane.runtime.connect import Published
from broker_plane.tabular.json_values import dumps
from broker_plane.wire.names import EXTENSION, RESOURCE_SCHEME


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


def in_async(shape: dict[str, Any], published: Published, name: str) -> CallToolResult:
    """The abstract and the offer; the body stays where it is."""
    shape = shape | {"resource_url": published.resource_url}
    if published.abstract_truncated:
        shape |= {"abstract_truncated": True, "summary": published.summary}
    offer = offer_of(published)
    link = ResourceLink(
        type="resource_link",
        uri=f"{RESOURCE_SCHEME}://body/{published.grant}",
        name=published.body.name or name,
        mime_type=published.body.media_type,
        size=published.body.size,
        _meta={EXTENSION: offer},
    )
    text = dumps(shape)
    return result(text, orjson.loads(text), link=link, meta={EXTENSION: offer})


def offer_of(published: Published) -> dict[str, Any]:
    """How the body may travel: the ways in the order of our preference, with SEP-2433's field names.

    The presigned subject is among them only where NATS holds its askers to it (rulings.md 9).
    """
    body = published.body
    http = published.resource_url.partition(":")[0]
    ways = [{"protocol": http, "endpoint": published.resource_url, "method": "GET"}]
    if published.offers_subject:
        ways.insert(0, {"protocol": "nats", "endpoint": published.subject})
    return {
        "transfer_id": published.transfer_id,
        "kind": body.kind,
        "format": body.media_type,
        "size_hint": body.size,
        "checksum": f"sha256:{body.digest}",
        "expires": body.expires,
        "rows": body.rows,
        "ways": ways,
    }


def result(
    text: bytes, structured: Any, *, link: ResourceLink | None = None, meta: dict[str, Any] | None = None
) -> CallToolResult:
    content: list[Any] = [TextContent(type="text", text=text.decode())]
    if link is not None:
        content.append(link)
    return CallToolResult(content=content, structured_content=structured, _meta=meta)
