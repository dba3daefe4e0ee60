"""The proxy on standard input and output, before a server that is a URL: the SDK's transport carries the messages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import anyio
import httpx2
import mcp_types as types
import orjson
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

from broker_plane.proxy.command import each_line
from broker_plane.proxy.http import check_url
from broker_plane.proxy.relay import VERSION, Message, Relay, is_answer
from broker_plane.proxy.stdio import StdioRelay, standard_input, standard_output

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
        for tool in result.get("tools") or ():
            self._parameters[tool["name"]] = x_mcp_header_map(tool.get("inputSchema") or {})

    def of(self, message: Message) -> dict[str, str]:
        params = message.get("params") or {}
        method = message.get("method", "")
        own = (params.get("_meta") or {}).get(VERSION)
        if not own:
            return {MCP_PROTOCOL_VERSION_HEADER: self._version} if self._version and method != "initialize" else {}
        found = {MCP_PROTOCOL_VERSION_HEADER: own, MCP_METHOD_HEADER: method}
        if (name := params.get(_NAMED.get(method, ""))) is not None:
            found[MCP_NAME_HEADER] = encode_header_value(name)
        if method == "tools/call" and params.get("name") in self._parameters:
            found |= mcp_param_headers(self._parameters[params["name"]], params.get("arguments") or {})
        return found


async def serve_url(relay: Relay, url: str, credentials: Mapping[str, str]) -> int:
    """Relay between this process's standard streams and the server at `url` until the client leaves.

    `credentials` are headers of every request; the SDK's transport follows no redirect to another origin.

    Raises:
        ConfigError: it is no URL, or none for credentials.
    """
    check_url(url, credentials)
    headers = Headers()
    write_down = await standard_output()
    lock = asyncio.Lock()

    async def down(line: bytes) -> None:
        async with lock:
            await write_down(line)

    async with (
        httpx2.AsyncClient(headers=dict(credentials), timeout=_TIMEOUT) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=None) as (read, write),
    ):

        async def up(line: bytes) -> None:
            message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
            metadata = ClientMessageMetadata(headers=headers.of(orjson.loads(line)))
            await write.send(SessionMessage(message, metadata))

        pairing = StdioRelay(relay, up, down)

        async def answers() -> None:
            with suppress(anyio.ClosedResourceError, anyio.EndOfStream):
                async for item in read:
                    if isinstance(item, Exception):
                        continue  # a broken stream; the transport answers what waited for it
                    raw = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
                    parsed = orjson.loads(raw)
                    if is_answer(parsed):
                        headers.learn(parsed)
                    await pairing.from_upstream(raw + b"\n")

        answering = asyncio.create_task(answers())
        try:
            await each_line(standard_input(), pairing.from_client)
            await pairing.drain()
        finally:
            answering.cancel()
    return 0
