"""The HTTP headers that Streamable HTTP adds to a message (2026-07-28; the handshake era has one). Pure."""

from __future__ import annotations

from typing import Any

from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    encode_header_value,
    mcp_param_headers,
    x_mcp_header_map,
)

from broker_plane.proxy.messages import VERSION, Message, mapping, meta_of, params_of, tools_of

_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


class McpHeaders:
    """The headers of each message, from what earlier answers have shown."""

    def __init__(self) -> None:
        self.version = ""
        self._parameters: dict[str, Any] = {}

    def learn(self, message: Message) -> None:
        """Note what later headers depend on: the negotiated version, and the tools' header parameters."""
        result = message.get("result")
        if not isinstance(result, dict):
            return
        if isinstance(result.get("protocolVersion"), str):
            self.version = result["protocolVersion"]
        for tool in tools_of(result):
            self._parameters[tool["name"]] = x_mcp_header_map(mapping(tool.get("inputSchema")))

    @property
    def version_header(self) -> dict[str, str]:
        return {MCP_PROTOCOL_VERSION_HEADER: self.version} if self.version else {}

    def headers_for(self, message: Message) -> dict[str, str]:
        params = params_of(message)
        method = str(message.get("method", ""))
        own = meta_of(message).get(VERSION)
        if not isinstance(own, str) or not own:
            return {} if method == "initialize" else self.version_header
        found = {MCP_PROTOCOL_VERSION_HEADER: own, MCP_METHOD_HEADER: method}
        if isinstance(name := params.get(_NAMED.get(method, "")), str):
            found[MCP_NAME_HEADER] = encode_header_value(name)
        if method == "tools/call" and name in self._parameters:
            found |= mcp_param_headers(self._parameters[name], mapping(params.get("arguments")))
        return found
