"""The results of `transfer/unable`: a body, or a part of it, inline."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from typing import Any

from mcp.types import BlobResourceContents, CallToolResult, EmbeddedResource, TextContent, TextResourceContents

from broker_plane.wire.exact_json import loads
from broker_plane.wire.extension import PartFields
from broker_plane.wire.page import Page

_TEXTS = ("application/json", "application/x-ndjson", "application/xml")


class InlineResult(PartFields, CallToolResult):
    """The result of `transfer/unable`: the body, or a part of it and the cursor of the next part."""


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
