"""The shapes of a resource tool's result (wire.md, section 1), as one explicit CallToolResult each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from mcp.types import CallToolResult, ResourceLink, TextContent
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from broker_plane.runtime.connect import Published
from broker_plane.tabular.json_values import dumps, json_value
from broker_plane.wire.names import EXTENSION, RESOURCE_SCHEME

# Without a schema for the items, so that neither side walks through all rows to validate them.
Rows = Annotated[list[Any], WithJsonSchema({"type": "array"})]
Columns = Annotated[list[Any], WithJsonSchema({"type": "array", "items": {"type": "string"}})]


class ResourceResult(BaseModel):
    """A table, or the abstract of one with a `resource_url` for the rest."""

    model_config = ConfigDict(extra="allow")

    rows: Annotated[Rows | None, Field(description="All rows: the plain result, without abstract_domains")] = None
    total_rows: int | None = None
    columns: Columns | None = None
    abstract_domains: Columns | None = None
    body_domains: Columns | None = None
    resource_url: Annotated[str | None, Field(description="Hand it to a consumer tool as it is")] = None
    abstract: Rows | None = None
    abstract_truncated: bool | None = None
    summary: Annotated[dict[str, Any] | None, Field(description="By column, where the abstract is truncated")] = None
    body: Annotated[Rows | None, Field(description="The other columns, in sync mode")] = None


def plain(rows: Sequence[dict[str, Any]]) -> CallToolResult:
    """All rows, as the tool without us would give them: a JSON array."""
    return result(dumps(rows).decode(), {"rows": json_value(rows)})


def in_sync(shape: dict[str, Any], body: Sequence[dict[str, Any]]) -> CallToolResult:
    shape = shape | {"body": body}
    return result(dumps(shape).decode(), json_value(shape))


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
    return result(dumps(shape).decode(), json_value(shape), link=link, meta={EXTENSION: offer})


def offer_of(published: Published) -> dict[str, Any]:
    """How the body may travel: the ways in the order of our preference, with SEP-2433's field names."""
    body = published.body
    return {
        "transfer_id": published.transfer_id,
        "kind": body.kind,
        "format": body.media_type,
        "size_hint": body.size,
        "checksum": f"sha256:{body.digest}",
        "expires": body.expires,
        "rows": body.rows,
        "ways": [
            {"protocol": "nats", "endpoint": published.subject},
            {"protocol": published.resource_url.partition(":")[0], "endpoint": published.resource_url, "method": "GET"},
        ],
    }


def result(
    text: str, structured: Any, *, link: ResourceLink | None = None, meta: dict[str, Any] | None = None
) -> CallToolResult:
    content: list[Any] = [TextContent(type="text", text=text)]
    if link is not None:
        content.append(link)
    return CallToolResult(content=content, structured_content=structured, _meta=meta)
