"""What has to be remembered of a client's request until its answer arrives. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker_plane.proxy.messages import VERSION, Message, meta_of, params_of
from broker_plane.proxy.tool_listing import DOMAINS, MODE
from broker_plane.reading.clients import CLIENT_INFO, client_name
from broker_plane.tabular.json_values import json_bytes

GREETINGS = ("initialize", "server/discover")
"""Methods whose result has the server's capabilities."""
RESOURCE_LISTS = {"resources/list": "resources", "resources/templates/list": "resourceTemplates"}
"""Methods that list resources, and the member of their results."""

_METHODS = {*GREETINGS, *RESOURCE_LISTS, "resources/read", "tools/list", "tools/call"}
_REQUEST_ONLY = ("progressToken", "io.modelcontextprotocol/logLevel")


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A request that waits for its answer: the parts on which the rewritten answer depends."""

    method: str
    tool: str = ""
    domains: str = ""
    mode: str = "async"
    version: str = ""
    client: str = ""
    """The name of the client; empty if it is unknown."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """The `_meta` of this connection's requests, for a request of our own."""
    first: bool = True
    """Whether a list starts at the first page."""


def pending_of(message: Message, version: str, client: str, own: Collection[str]) -> PendingRequest | None:
    """The facts about a request; None if its answer just passes. `own` are tools that use broker_plane themselves.

    `version` and `client` are those of the connection, for requests that do not say.
    """
    method = message.get("method")
    if not isinstance(method, str) or method not in _METHODS:
        return None
    meta = meta_of(message)
    stated = meta.get(VERSION)
    version = stated if isinstance(stated, str) and stated else version
    client = client_name(meta.get(CLIENT_INFO)) or client
    kept = {name: value for name, value in meta.items() if name not in _REQUEST_ONLY}
    if method != "tools/call":
        first = not params_of(message).get("cursor")
        return PendingRequest(method, version=version, client=client, meta=kept, first=first)
    tool, given = called(message)
    if tool in own or given is None:
        return PendingRequest(method, tool, version=version, client=client, meta=kept)
    domains, mode = as_text(given.get(DOMAINS)), as_text(given.get(MODE)) or "async"
    return PendingRequest(method, tool, domains, mode, version, client, kept)


def called(message: Message) -> tuple[str, Mapping[str, Any] | None]:
    """The tool of a call (empty if missing) and its arguments; None if these are not an object."""
    params = params_of(message)
    tool, given = params.get("name"), params.get("arguments") or {}
    return tool if isinstance(tool, str) else "", given if isinstance(given, dict) else None


def as_text(value: Any) -> str:
    """A text, or the JSON of another value that a model passed in its place."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json_bytes(value).decode()
