"""An upstream as a transport for the SDK's `Client`, which takes any pair of streams (SEP-2598)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import anyio
from mcp.client import Transport
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCMessage, jsonrpc_message_adapter
from pydantic import ValidationError

from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.proxy.lines import DEFAULT_LINE_BYTES, LongLine, each_line
from broker_plane.proxy.messages import failed_line, key_in
from broker_plane.proxy.upstream import Open, Upstream
from broker_plane.transports.queue_streams import DirectWriter, QueueReader

log = redacted_logger(__name__)


def client_streams(open_upstream: Open, line_bytes: int = DEFAULT_LINE_BYTES) -> Transport:
    """A transport for `mcp.Client(…)`: the connection is opened when the client is entered."""
    return _ClientStreams(open_upstream, line_bytes)


class _ClientStreams:
    """A context manager of streams, which may be entered once at a time."""

    def __init__(self, open_upstream: Open, line_bytes: int) -> None:
        self._open_upstream = open_upstream
        self._line_bytes = line_bytes
        self._block: AbstractAsyncContextManager[Any] | None = None

    async def __aenter__(self) -> Any:
        self._block = _streams(self._open_upstream, self._line_bytes)
        return await self._block.__aenter__()

    async def __aexit__(self, *raised: Any) -> bool | None:
        assert self._block is not None  # noqa: S101  # for the type checker: entered
        return await self._block.__aexit__(*raised)


@asynccontextmanager
async def _streams(open_upstream: Open, line_bytes: int) -> AsyncIterator[Any]:
    async with open_upstream() as upstream:
        to_client = QueueReader[SessionMessage | Exception]()
        from_client = DirectWriter[SessionMessage](partial(_pass_on, upstream), upstream.close_input)
        reading = asyncio.create_task(_read(upstream, to_client, line_bytes))
        try:
            yield to_client, from_client
        finally:
            with anyio.CancelScope(shield=True):  # a client that is cancelled leaves nothing open, either
                await cancel_and_forget(reading)


async def _pass_on(upstream: Upstream, item: SessionMessage) -> None:
    await upstream.write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")


async def _read(upstream: Upstream, to_client: QueueReader[SessionMessage | Exception], line_bytes: int) -> None:
    """Pass the messages of the server on. At its end, the client's requests fail: its stream ends."""

    async def take(line: bytes) -> None:
        try:
            item: SessionMessage | Exception = SessionMessage(_message(line))
        except ValidationError as error:
            item = error
        await to_client.put(item)

    async def too_long(line: LongLine) -> None:
        if (key := key_in(line.head, line.tail)) is not None:
            said = f"The answer has {line.size} bytes, more than BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES allows"
            await take(failed_line(key, said))

    try:
        await each_line(upstream.pieces(), take, most=line_bytes, too_long=too_long)
    except Exception:
        log.exception("The messages of the server cannot be read any more")
    finally:
        to_client.end()


def _message(line: bytes) -> JSONRPCMessage:
    return jsonrpc_message_adapter.validate_json(line, by_name=False)
