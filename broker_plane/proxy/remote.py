"""The proxy on standard input and output, before a server that is a URL: the SDK's transport carries the messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx2
import mcp_types as types
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    encode_header_value,
    mcp_param_headers,
    x_mcp_header_map,
)
from mcp.shared.message import ClientMessageMetadata, SessionMessage
from pydantic import ValidationError

from broker_plane.client.capped import no_cookies
from broker_plane.errors import UpstreamError
from broker_plane.proxy.bounded import BoundedTransport
from broker_plane.proxy.http import check_url
from broker_plane.proxy.lines import DEFAULT_LINE_BYTES, each_line
from broker_plane.proxy.messages import VERSION, Message, is_answer, mapping, meta_of, params_of, parse, tools_of
from broker_plane.proxy.pairing import StdioRelay
from broker_plane.proxy.relay import Relay
from broker_plane.proxy.stdio import raise_of, standard_input, standard_output

log = logging.getLogger(__name__)

_HEAD_SECONDS = 330.0
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_TIMEOUT = httpx2.Timeout(30.0, read=300.0)
"""As the SDK's own client: a response may be silent for long."""


class Headers:
    """The HTTP headers that belong to a message (2026-07-28, Streamable HTTP; the handshake era has one)."""

    def __init__(self) -> None:
        self._version = ""
        self._parameters: dict[str, Any] = {}

    def learn(self, message: Message) -> None:
        """Note what later headers are made of: the version that was agreed on, and the tools' header parameters."""
        result = message.get("result")
        if not isinstance(result, dict):
            return
        if isinstance(result.get("protocolVersion"), str):
            self._version = result["protocolVersion"]
        for tool in tools_of(result):
            self._parameters[tool["name"]] = x_mcp_header_map(mapping(tool.get("inputSchema")))

    def of(self, message: Message) -> dict[str, str]:
        params = params_of(message)
        method = str(message.get("method", ""))
        own = meta_of(message).get(VERSION)
        if not isinstance(own, str) or not own:
            return {MCP_PROTOCOL_VERSION_HEADER: self._version} if self._version and method != "initialize" else {}
        found = {MCP_PROTOCOL_VERSION_HEADER: own, MCP_METHOD_HEADER: method}
        if isinstance(name := params.get(_NAMED.get(method, "")), str):
            found[MCP_NAME_HEADER] = encode_header_value(name)
        if method == "tools/call" and name in self._parameters:
            found |= mcp_param_headers(self._parameters[name], mapping(params.get("arguments")))
        return found


async def serve_url(
    relay: Relay, url: str, credentials: Mapping[str, str], *, line_bytes: int = DEFAULT_LINE_BYTES
) -> int:
    """Relay between this process's standard streams and the server at `url` until the client leaves.

    `credentials` are headers of every request; the SDK's transport follows no redirect to another origin.

    Raises:
        ConfigError: it is no URL, or none for credentials. UpstreamError: the proxy cannot go on.
    """
    check_url(url, credentials)
    try:
        async with (
            _client(url, credentials, line_bytes) as client,
            streamable_http_client(url, http_client=client, max_sse_event_size=line_bytes) as (read, write),
        ):
            await _relayed(relay, read, write, line_bytes)
    except* ConnectionError:
        log.info("The client is gone")
    except* Exception as group:
        raise UpstreamError(f"The proxy cannot go on: {_first(group)!r}") from group
    return 0


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _client(url: str, credentials: Mapping[str, str], line_bytes: int) -> httpx2.AsyncClient:
    inner = httpx2.AsyncHTTPTransport(proxy=_proxy_of(url))
    transport = BoundedTransport(inner, line_bytes, _HEAD_SECONDS)
    return httpx2.AsyncClient(
        headers=dict(credentials), timeout=_TIMEOUT, cookies=no_cookies(), trust_env=False, transport=transport
    )


def _proxy_of(url: str) -> str | None:
    """The environment's proxy for an https URL; what goes over http a proxy would read, credentials too."""
    parts = urlsplit(url)
    if parts.scheme != "https" or proxy_bypass(parts.hostname or ""):
        return None
    found = getproxies()
    return found.get("https") or found.get("all")


async def _relayed(relay: Relay, read: Any, write: Any, line_bytes: int) -> None:
    headers = Headers()
    write_down = await standard_output()
    lock = asyncio.Lock()

    async def down(line: bytes) -> None:
        async with lock:
            await write_down(line)

    async def up(line: bytes) -> None:
        try:
            message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
            metadata = ClientMessageMetadata(headers=headers.of(parse(line) or {}))
        except (ValidationError, ValueError) as error:
            await pairing.refuse(line, f"This is no message of MCP: {type(error).__name__}")
            return
        await write.send(SessionMessage(message, metadata))

    pairing = StdioRelay(relay, up, down)

    async def answers() -> None:
        with suppress(anyio.ClosedResourceError, anyio.EndOfStream):
            async for item in read:
                if isinstance(item, Exception):
                    continue  # a broken stream; the transport answers what waited for it
                raw = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
                parsed = parse(raw)
                if parsed is not None and is_answer(parsed):
                    headers.learn(parsed)
                await pairing.from_upstream(raw + b"\n")

    answering = asyncio.create_task(answers())
    try:
        reading = asyncio.create_task(
            each_line(standard_input(), pairing.from_client, most=line_bytes, too_long=pairing.long_from_client)
        )
        await asyncio.wait([reading, answering], return_when=asyncio.FIRST_COMPLETED)
        raise_of(reading, answering)
        await pairing.drain()
    finally:
        for task in (reading, answering):
            task.cancel()
