"""The client side of the transfer extension: what it declares, and how it confirms a transfer or reports it impossible.

`Client(server, extensions=[transfers(capabilities)])` accepts typed results and `_meta`. The 2025 protocol has no
claims, and the SDK then leaves out the whole declaration: use `advertised(capabilities)` with servers of that protocol.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any

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
from pydantic import ConfigDict

from broker_plane.errors import TooLargeError, TransferInterruptedError, WireError
from broker_plane.tools.sdk_version import sdk_2_missing
from broker_plane.wire.capabilities import RESULT_TYPE, Capabilities
from broker_plane.wire.descriptor import Descriptor, parse_descriptor
from broker_plane.wire.exact_json import MALFORMED, dumps, loads
from broker_plane.wire.extension import (
    CONFIRM,
    UNABLE,
    ConfirmedFields,
    ConfirmFields,
    DescriptorFields,
    Outcome,
    PartFields,
    Reason,
    TransferFields,
    UnableFields,
)
from broker_plane.wire.names import EXTENSION

try:
    from mcp import Client
    from mcp.client import ClientExtension, ResultClaim, advertise
    from mcp.client.extension import ClaimContext
except ImportError as error:
    raise sdk_2_missing("broker_plane.agent.transfers") from error

_UNSIZED_BYTES = 32 << 20
_WIRE_FACTOR, _SLACK_BYTES = 1024, 1 << 20
"""JSON rows are longer than the stored body, whose columns are compressed; the number of rows is the tighter limit."""

_MAX_EMPTY_PARTS = 16
"""Maximum number of empty parts in a row."""

Resolve = Callable[[Descriptor], Awaitable[CallToolResult | None]]
"""Carries out a descriptor as soon as a result has one; returning None keeps the result unchanged."""


class ClaimedResult(DescriptorFields, Result):
    """A result of the claimed type."""

    model_config = ConfigDict(populate_by_name=True)


class TransferParams(RequestParams):
    """The parameters of a request of the extension, named as in SEP-2433."""

    model_config = ConfigDict(alias_generator=None, extra="allow")


class TransferRequest(Request[TransferParams, str]):
    """A request of the extension."""


class ConfirmReply(ConfirmedFields, Result):
    """The result of `transfer/confirm`."""


class InlinePart(PartFields, CallToolResult):
    """A body, or a part of it, in a result; `next_cursor` is that of the next part, None after the last."""


class TransferClient(ClientExtension):
    """Declares `capabilities`, and claims the typed result."""

    identifier = EXTENSION

    def __init__(self, capabilities: Capabilities, resolve: Resolve | None = None) -> None:
        self._capabilities = capabilities.model_copy(update={"claims": (RESULT_TYPE,)})
        self._resolve = resolve

    def settings(self) -> dict[str, Any]:
        return self._capabilities.to_wire()

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type=RESULT_TYPE, model=ClaimedResult, resolve=self._resolved)]

    async def _resolved(self, result: ClaimedResult, ctx: ClaimContext) -> CallToolResult:
        if self._resolve is not None:
            done = await self._resolve(parse_descriptor(result.descriptor))
            if done is not None:
                return done
        fields = {"content": result.content, "structuredContent": result.structured_content}
        return CallToolResult.model_validate({**fields, "_meta": {EXTENSION: result.descriptor}})


def transfers(capabilities: Capabilities, resolve: Resolve | None = None) -> ClientExtension:
    """An extension for `Client(extensions=[…])`; `resolve` carries out the descriptor of each typed result."""
    return TransferClient(capabilities, resolve)


def advertised(capabilities: Capabilities) -> ClientExtension:
    """The same declaration without a claim, which clients of both protocols can send."""
    return advertise(EXTENSION, capabilities.model_copy(update={"claims": ()}).to_wire())


def descriptor_of(result: CallToolResult) -> Descriptor | None:
    """The descriptor of a tool's result, from `_meta` or from its resource link; None if it has none."""
    metas = [result.meta, *(block.meta for block in result.content)]
    fields = next((meta[EXTENSION] for meta in metas if meta and EXTENSION in meta), None)
    return None if fields is None else parse_descriptor(fields)


def alternatives_of(descriptor: Descriptor) -> list[Descriptor]:
    """The alternative descriptors of the same body, best first.

    Raises:
        WireError: one of them is not a descriptor.
    """
    others = (descriptor.model_extra or {}).get("alternatives", [])
    if not isinstance(others, list):
        raise WireError("alternatives must be a list of descriptors")
    return [parse_descriptor(fields) for fields in others]


async def confirm(client: Client, descriptor: Descriptor, status: Outcome = "success", **report: Any) -> str:
    """Report how a transfer ended; `report` may have `bytes_received`, `records_received`, `checksum`, `error`,
    `lease`.

    Returns `confirmed` (the delivery counts), `released` (it does not, and its use is returned) or `settled` (it had
    ended before).
    """
    request = _request(CONFIRM, ConfirmFields, descriptor, status=status, **report)
    return (await client.session.send_request(request, ConfirmReply)).status


async def inline_parts(
    client: Client,
    descriptor: Descriptor,
    reason: Reason = "unsupported_protocol",
    detail: str = "",
    *,
    cursor: str = "",
    most: int = _UNSIZED_BYTES,
) -> AsyncGenerator[InlinePart, None]:
    """Report that a transfer cannot be carried out, and get the body in parts: rows as JSON arrays, text, blobs.

    Each part has the `next_cursor` to continue with after an interruption, at any replica of the server. A completed
    iteration from the start is verified: all rows arrived, or the bytes have the descriptor's checksum. A body without
    `size_hint` may have `most` bytes.

    Raises:
        MCPError: the body cannot be returned inline, or nothing was offered under this id.
        TransferInterruptedError: the parts are incomplete, or differ from the description.
        TooLargeError: the parts exceed the description.
    """
    check = _Check(descriptor, most, from_start=not cursor)
    while True:
        fields = {"reason": reason, "detail": detail, **({"cursor": cursor} if cursor else {})}
        part = await client.session.send_request(_request(UNABLE, UnableFields, descriptor, **fields), InlinePart)
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
    """Report that a transfer cannot be carried out, and get the whole body, gathered from `inline_parts`.

    Raises:
        MCPError, TransferInterruptedError: as `inline_parts`.
    """
    parts = [part async for part in inline_parts(client, descriptor, reason, detail)]
    return parts[0] if len(parts) == 1 else _joined(parts)


class _Check:
    """Counts what arrives inline, and compares it with the descriptor."""

    def __init__(self, descriptor: Descriptor, most: int, *, from_start: bool) -> None:
        extra = descriptor.model_extra or {}
        self._rows = rows if type(rows := extra.get("rows")) is int else None
        self._digest = descriptor.digest
        self._most = most if descriptor.size is None else descriptor.size
        known = descriptor.size is not None or self._rows is not None
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
            raise TooLargeError(f"The inline body exceeds {self._most} bytes")
        if self._empty > _MAX_EMPTY_PARTS or (self._rows is not None and self._came > self._rows):
            raise TransferInterruptedError("More parts arrived inline than the body has; request another descriptor")

    def end(self) -> None:
        if not self._from_start:
            return
        if self._of_rows and self._rows not in (None, self._came):
            raise TransferInterruptedError(f"{self._came} of {self._rows} rows arrived inline; request them again")
        if not self._of_rows and self._digest and self._sha256.hexdigest() != self._digest:
            raise TransferInterruptedError(
                "The inline body does not have the checksum of its descriptor; request it again"
            )


def rows_of(part: CallToolResult) -> list[dict[str, Any]]:
    """The rows of a part; empty for a part of bytes.

    Raises:
        TransferInterruptedError: the part has neither rows nor bytes.
    """
    block = _first(part)
    if block.type != "text":
        return []
    try:
        rows = loads(block.text)
    except MALFORMED as error:
        raise TransferInterruptedError("An inline part is not JSON; request it again") from error
    if not isinstance(rows, list) or set(map(type, rows)) - {dict}:
        raise TransferInterruptedError("An inline part has no rows; request it again")
    return rows


def raw_of(part: CallToolResult) -> bytes | None:
    """The bytes of a part (text as UTF-8); None for a part of rows."""
    block = _first(part)
    if block.type != "resource":
        return None
    contents = block.resource
    if not isinstance(contents, BlobResourceContents):
        return contents.text.encode()
    try:
        return b64decode(contents.blob, validate=True)
    except ValueError as error:
        raise TransferInterruptedError("An inline part is not base64; request it again") from error


def _first(part: CallToolResult) -> ContentBlock:
    if not part.content:
        raise TransferInterruptedError("An inline part has no content; request it again")
    return part.content[0]


def _joined(parts: Sequence[InlinePart]) -> CallToolResult:
    """All parts as one result in the form of the first: as text only if every part is text."""
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


def _request(method: str, shape: type[TransferFields], descriptor: Descriptor, **members: Any) -> TransferRequest:
    """A request about `descriptor`; with endpoint and seal, every replica of the server recognizes it."""
    fields = {"transfer_id": descriptor.transfer_id, **members}
    if seal := (descriptor.model_extra or {}).get("seal"):
        fields |= {"endpoint": descriptor.endpoint, "seal": seal}
    checked = shape.model_validate(fields).model_dump(mode="json", exclude_unset=True)
    return TransferRequest(method=method, params=TransferParams.model_validate(checked))
