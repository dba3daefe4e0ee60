"""ws and wss: one body as the messages of a WebSocket (RFC 6455)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from time import time
from typing import Any

from broker_plane.client.http import verifying
from broker_plane.errors import BrokerPlaneError, TransferInterruptedError, UnsupportedProtocolError
from broker_plane.plane.redacted_logs import redact_loggers
from broker_plane.transfer.allowance import MAX_MESSAGE_BYTES, Allowance
from broker_plane.transfer.auth import auth_headers, check_auth, signed_url
from broker_plane.transfer.reach import Reach
from broker_plane.transfer.streams import SILENCE_SECONDS, until_end
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.protocols import WEBSOCKET_SCHEMES

redact_loggers("websockets.client")  # it is imported at its first use

NORMAL_CLOSURE, _POLICY_VIOLATION = 1000, 1008
_FRAMES_WAITING = 2

RefusalParser = Callable[[bytes], Awaitable[BrokerPlaneError]]
"""Gives the error for the body of a refusal, or for the reason of a close with code 1008 (policy violation)."""


async def ws_source(descriptor: Descriptor, reach: Reach, allowance: Allowance) -> AsyncGenerator[bytes, None]:
    """The messages of a WebSocket.

    Raises:
        UnsupportedProtocolError: the package websockets is not installed. TransferInterruptedError.
    """
    async with aclosing(until_end(_messages(descriptor, reach), descriptor, allowance)) as messages:
        async for message in messages:
            yield message


async def _messages(descriptor: Descriptor, reach: Reach) -> AsyncIterator[bytes]:
    async with websocket(descriptor, reach) as socket:
        incoming = aiter(socket)
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                message = await anext(incoming, None)
            if message is None:
                if socket.close_code != NORMAL_CLOSURE:
                    raise TransferInterruptedError("The WebSocket was closed early; try again")
                return
            yield message.encode() if isinstance(message, str) else message


@asynccontextmanager
async def websocket(
    descriptor: Descriptor, reach: Reach, query: str = "", refusal: RefusalParser | None = None
) -> AsyncIterator[Any]:
    """A WebSocket to the endpoint, with `query` appended to its URL. `refusal` translates the endpoint's refusals.

    Raises:
        UnsupportedProtocolError: the package websockets is not installed. TransferInterruptedError.
    """
    try:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus, WebSocketException
    except ImportError as error:
        raise UnsupportedProtocolError("ws needs websockets: pip install 'broker-plane[transfer]'") from error
    try:
        async with connect(**await _options(descriptor, reach, query)) as socket:
            try:
                yield socket
            except BaseException:
                # A reader that leaves early reads no more, so the closing handshake would wait behind unread messages.
                socket.transport.abort()
                raise
    except InvalidStatus as error:
        if refusal is not None and 400 <= error.response.status_code < 500:
            raise await refusal(bytes(error.response.body or b"")) from error
        raise TransferInterruptedError(
            "The endpoint did not open a WebSocket; try again", reason=repr(error)
        ) from error
    except (WebSocketException, OSError, TimeoutError) as error:
        close = getattr(error, "rcvd", None)
        if refusal is not None and close is not None and close.code == _POLICY_VIOLATION:
            raise await refusal(close.reason.encode()) from error
        raise TransferInterruptedError("The WebSocket connection was lost; try again", reason=repr(error)) from error


async def _options(descriptor: Descriptor, reach: Reach, query: str) -> dict[str, Any]:
    """The arguments of `connect`, after the checks of the endpoint and the credential."""
    url = signed_url(descriptor.endpoint, descriptor.auth)
    url += query and ("&" if "?" in url else "?") + query
    target = await reach.check(url, WEBSOCKET_SCHEMES)
    check_auth(descriptor.auth, target)
    secure: Any = {"ssl": verifying(), "server_hostname": target.host} if target.encrypted else {}
    return {
        "uri": f"{target.scheme.name}://{target.authority}{target.rest}",
        "host": target.address,
        "port": target.port,
        "additional_headers": auth_headers(descriptor.auth, "GET", url, time()),
        "max_size": MAX_MESSAGE_BYTES,
        "max_queue": _FRAMES_WAITING,
        "compression": None,
        "proxy": None,
        "open_timeout": SILENCE_SECONDS,
        **secure,
    }
