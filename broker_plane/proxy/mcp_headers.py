"""The HTTP headers that Streamable HTTP adds to a message (2026-07-28; the handshake era has one). Pure."""

from __future__ import annotations

from typing import Any

from broker_plane.proxy.messages import VERSION, Message, mapping, meta_of, params_of, tools_of
from broker_plane.tools.sdk_version import need_sdk_2, sdk_major
from broker_plane.wire.json_rpc import METHOD_HEADER, NAME_HEADER, VERSION_HEADER

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
        for tool in tools_of(result) if sdk_major() > 1 else ():
            self._parameters[tool["name"]] = _inbound().x_mcp_header_map(mapping(tool.get("inputSchema")))

    @property
    def version_header(self) -> dict[str, str]:
        return {VERSION_HEADER: self.version} if self.version else {}

    def headers_for(self, message: Message) -> dict[str, str]:
        params = params_of(message)
        method = str(message.get("method", ""))
        own = meta_of(message).get(VERSION)
        if not isinstance(own, str) or not own:
            return {} if method == "initialize" else self.version_header
        found = {VERSION_HEADER: own, METHOD_HEADER: method}
        if isinstance(name := params.get(_NAMED.get(method, "")), str):
            found[NAME_HEADER] = _inbound().encode_header_value(name)
        if method == "tools/call" and name in self._parameters:
            found |= _inbound().mcp_param_headers(self._parameters[name], mapping(params.get("arguments")))
        return found


def _inbound() -> Any:
    need_sdk_2("A server of the protocol 2026-07-28 at a URL")
    from mcp.shared import inbound

    return inbound
