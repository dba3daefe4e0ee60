"""The client's side of the transfer extension: what it declares, and how it confirms or refuses a transfer.

`Client(server, extensions=[transfers(capabilities)])` takes typed results and `_meta`; on the 2025 protocol claims
cannot be made, and the SDK then leaves the whole declaration out, so an older server needs `advertised(capabilities)`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any, Literal

from mcp import Client
from mcp.client import ClientExtension, ResultClaim, advertise
from mcp.client.extension import ClaimContext
from mcp.types import (
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    Request,
    RequestParams,
    Result,
    TextContent,
    TextResourceContents,
)
from pydantic import ConfigDict, Field

from broker_plane.errors import TooLargeError, TransferInterruptedError, WireError
from broker_plane.wire.capabilities import RESULT_TYPE, Capabilities
from broker_plane.wire.descriptor import Descriptor, parse_descriptor
from broker_plane.wire.exact_json import MALFORMED, dumps, loads
from broker_plane.wire.names import EXTENSION

_UNSIZED_BYTES = 32 << 20
_WIRE_FACTOR, _SLACK_BYTES = 1024, 1 << 20
"""Rows of JSON are longer than the stored body, whose columns are compressed; their number bounds them first."""

_MOST_EMPTY = 16
"""Parts one after the other without a row or a byte."""

Resolve = Callable[[Descriptor], Awaitable[CallToolResult | None]]
"""What a host does with a descriptor at once; None leaves the result as it came."""

Reason = Literal["unsupported_protocol", "unreachable", "auth_failed", "sandbox_error"]


class DescriptorResult(Result):
    """A result of the claimed type."""

    model_config = ConfigDict(populate_by_name=True)

    result_type: Literal["transfer_descriptor"] = Field(default=RESULT_TYPE, alias="resultType")
    descriptor: dict[str, Any]
    content: list[Any] = Field(default_factory=list)
    structured_content: Any = Field(None, alias="structuredContent")


class TransferParams(RequestParams):
    """Members of a request of the extension, as they are named there."""

    model_config = ConfigDict(alias_generator=None, extra="allow")


class TransferRequest(Request[TransferParams, str]):
    """A request of the extension."""


class ConfirmResult(Result):
    """How the server settled the transfer: confirmed, released or settled."""

    status: str


class InlinePart(CallToolResult):
    """A body, or a part of it, in a result; `next_cursor` is that of the next part, None after the last."""

    next_cursor: str | None = None


class TransferClient(ClientExtension):
    """Declares `capabilities`, with a claim on the typed result."""

    identifier = EXTENSION

    def __init__(self, capabilities: Capabilities, resolve: Resolve | None = None) -> None:
        self._capabilities = capabilities.model_copy(update={"claims": (RESULT_TYPE,)})
        self._resolve = resolve

    def settings(self) -> dict[str, Any]:
        return self._capabilities.to_wire()

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type=RESULT_TYPE, model=DescriptorResult, resolve=self._resolved)]

    async def _resolved(self, result: DescriptorResult, ctx: ClaimContext) -> CallToolResult:
        if self._resolve is not None:
            done = await self._resolve(parse_descriptor(result.descriptor))
            if done is not None:
                return done
        fields = {"content": result.content, "structuredContent": result.structured_content}
        return CallToolResult.model_validate({**fields, "_meta": {EXTENSION: result.descriptor}})


def transfers(capabilities: Capabilities, resolve: Resolve | None = None) -> ClientExtension:
    """An extension for `Client(extensions=[…])`; `resolve` carries out a typed result's descriptor at once."""
    return TransferClient(capabilities, resolve)


def advertised(capabilities: Capabilities) -> ClientExtension:
    """The same declaration without a claim, which clients of both protocols can make."""
    return advertise(EXTENSION, capabilities.model_copy(update={"claims": ()}).to_wire())


def descriptor_of(result: CallToolResult) -> Descriptor | None:
    """The descriptor of a tool's result, from `_meta` or from its link; None where there is none."""
    metas = [result.meta, *(block.meta for block in result.content)]
    fields = next((meta[EXTENSION] for meta in metas if meta and EXTENSION in meta), None)
    return None if fields is None else parse_descriptor(fields)


def alternatives_of(descriptor: Descriptor) -> list[Descriptor]:
    """The other ways of the same body, best first.

    Raises:
        WireError: one of them is no descriptor.
    """
    others = (descriptor.model_extra or {}).get("alternatives", [])
    if not isinstance(others, list):
        raise WireError("alternatives is a list of descriptors")
    return [parse_descriptor(fields) for fields in others]


async def confirm(
    client: Client, descriptor: Descriptor, status: Literal["success", "failure"] = "success", **report: Any
) -> str:
    """Say how a transfer ended; `report` has `bytes_received`, `records_received`, `checksum`, `error`, `lease`.

    The answer is confirmed (it counts), released (it does not, and its use is back) or settled (it was over before).
    """
    request = _request("transfer/confirm", descriptor, status=status, **report)
    return (await client.session.send_request(request, ConfirmResult)).status


async def inline_parts(
    client: Client,
    descriptor: Descriptor,
    reason: Reason = "unsupported_protocol",
    detail: str = "",
    *,
    cursor: str = "",
    most: int = _UNSIZED_BYTES,
) -> AsyncGenerator[InlinePart, None]:
    """Say that a transfer cannot be carried out, and take the body part by part: rows as JSON arrays, text, blobs.

    Each part has the `next_cursor` with which this goes on after a break, at any replica of the server. A completed
    iteration from the start is a checked one: every row, or the bytes of the descriptor's checksum. What has no
    `size_hint` has at most `most` bytes.

    Raises:
        MCPError: the body does not go inline, or nothing was offered under this id.
        TransferInterruptedError: what came is not all, or not what was described.
        TooLargeError: more came than was described.
    """
    check = _Check(descriptor, most, from_start=not cursor)
    while True:
        asked = {"reason": reason, "detail": detail, **({"cursor": cursor} if cursor else {})}
        part = await client.session.send_request(_request("transfer/unable", descriptor, **asked), InlinePart)
        check.take(part)
        if not part.next_cursor:
            check.end()
        yield part
        if not part.next_cursor:
            return
        cursor = part.next_cursor


async def unable(
    client: Client, descriptor: Descriptor, reason: Reason = "unsupported_protocol", detail: str = ""
) -> CallToolResult:
    """Say that a transfer cannot be carried out; the answer is the whole body, gathered from `inline_parts`.

    Raises:
        MCPError, TransferInterruptedError: as `inline_parts`.
    """
    parts = [part async for part in inline_parts(client, descriptor, reason, detail)]
    return parts[0] if len(parts) == 1 else _joined(parts)


class _Check:
    """Counts what comes inline, and compares it with what the descriptor says of it."""

    def __init__(self, descriptor: Descriptor, most: int, *, from_start: bool) -> None:
        extra = descriptor.model_extra or {}
        self._rows = rows if type(rows := extra.get("rows")) is int else None
        self._digest = descriptor.digest
        self._most = most if descriptor.size_hint is None else descriptor.size_hint
        known = descriptor.size_hint is not None or self._rows is not None
        self._most_wire = _SLACK_BYTES + (_WIRE_FACTOR * self._most if known else self._most)
        self._from_start = from_start
        self._came = self._bytes = self._wire = self._empty = 0
        self._sha256 = sha256()
        self._of_rows = False

    def take(self, part: InlinePart) -> None:
        found = raw_of(part)
        self._of_rows = found is None
        count = len(rows_of(part)) if found is None else len(found)
        self._empty = 0 if count else self._empty + 1
        self._wire += sum(len(block.text) for block in part.content if block.type == "text")
        if found is None:
            self._came += count
        else:
            self._bytes += count
            self._sha256.update(found)
        if self._bytes > self._most or self._wire > self._most_wire:
            raise TooLargeError(f"More came inline than the {self._most} bytes that it may have")
        if self._empty > _MOST_EMPTY or (self._rows is not None and self._came > self._rows):
            raise TransferInterruptedError("More parts came inline than there are; ask for another descriptor")

    def end(self) -> None:
        if not self._from_start:
            return
        if self._of_rows and self._rows not in (None, self._came):
            raise TransferInterruptedError(f"{self._came} of {self._rows} rows came inline; ask again")
        if not self._of_rows and self._digest and self._sha256.hexdigest() != self._digest:
            raise TransferInterruptedError("What came inline is not what was described; ask again")


def rows_of(part: CallToolResult) -> list[dict[str, Any]]:
    """The rows of a part; none of one that is of bytes.

    Raises:
        TransferInterruptedError: it is of neither.
    """
    block = _first(part)
    if block.type != "text":
        return []
    try:
        rows = loads(block.text)
    except MALFORMED as error:
        raise TransferInterruptedError("What came inline is no JSON; ask again") from error
    if not isinstance(rows, list) or set(map(type, rows)) - {dict}:
        raise TransferInterruptedError("What came inline are no rows; ask again")
    return rows


def raw_of(part: CallToolResult) -> bytes | None:
    """The bytes of a part, of text in UTF-8; None of one that is of rows."""
    block = _first(part)
    if block.type != "resource":
        return None
    contents = block.resource
    if not isinstance(contents, BlobResourceContents):
        return contents.text.encode()
    try:
        return b64decode(contents.blob, validate=True)
    except ValueError as error:
        raise TransferInterruptedError("What came inline is no base64; ask again") from error


def _first(part: CallToolResult) -> ContentBlock:
    if not part.content:
        raise TransferInterruptedError("A part without content came inline; ask again")
    return part.content[0]


def _joined(parts: Sequence[InlinePart]) -> CallToolResult:
    """All parts as one, in the form of the first: text, unless one of them was none."""
    block = parts[0].content[0]
    if block.type != "resource":
        rows = [row for part in parts for row in rows_of(part)]
        return CallToolResult(content=[TextContent(type="text", text=dumps(rows).decode())])
    raw = b"".join(raw_of(part) or b"" for part in parts)
    named: dict[str, Any] = {"uri": block.resource.uri, "mime_type": block.resource.mime_type}
    contents: TextResourceContents | BlobResourceContents
    if all(_is_text(part) for part in parts):
        contents = TextResourceContents(**named, text=raw.decode())
    else:
        contents = BlobResourceContents(**named, blob=b64encode(raw).decode())
    return CallToolResult(content=[EmbeddedResource(type="resource", resource=contents)])


def _is_text(part: CallToolResult) -> bool:
    block = part.content[0]
    return block.type == "resource" and isinstance(block.resource, TextResourceContents)


def _request(method: str, descriptor: Descriptor, **more: Any) -> TransferRequest:
    """A request about `descriptor`; with what its server knows it by, at any of its replicas."""
    fields = {"transfer_id": descriptor.transfer_id, **more}
    if seal := (descriptor.model_extra or {}).get("seal"):
        fields |= {"endpoint": descriptor.endpoint, "seal": seal}
    return TransferRequest(method=method, params=TransferParams.model_validate(fields))
