"""The registry as a catalogue of MCP server cards (SEP-2127). Pure.

Two documents have the same entries. `/.well-known/mcp/catalog.json` is the form of the SEP's draft (`specVersion`
"draft"); `/.well-known/ai-catalog.json` is the form of its later text, which is an AI Catalog 1.0. A card lists no
tools and is advisory: clients decide nothing about security by it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

from broker_plane.registry.registered import RegisteredProtocol
from broker_plane.wire.names import EXTENSION

CARD_TYPE: Final = "application/mcp-server-card+json"
CARD_SCHEMA: Final = "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json"
_MOST_TEXT = 100
_NO_NAMESPACE = re.compile(r"[^a-zA-Z0-9.-]")


def mcp_catalog(protocols: Sequence[RegisteredProtocol], base: str) -> dict[str, Any]:
    """The MCP Catalog of a bridge with the public URL `base`."""
    return {"specVersion": "draft", "entries": [_entry(each, base) for each in protocols]}


def ai_catalog(protocols: Sequence[RegisteredProtocol], base: str) -> dict[str, Any]:
    """The AI Catalog of a bridge with the public URL `base`."""
    return {"specVersion": "1.0", "entries": [_entry(each, base) for each in protocols]}


def server_card(protocol: RegisteredProtocol, base: str) -> dict[str, Any]:
    """The card of a protocol. It has remotes only if the description names MCP servers that serve the protocol."""
    about = protocol.description
    namespace = ".".join(reversed(_publisher(base).split(".")))
    card: dict[str, Any] = {
        "$schema": CARD_SCHEMA,
        "name": f"{namespace}/{_suffix(protocol)}",
        "version": about.version,
        "title": about.title,
        "description": _shortened(about.summary or about.title),
        "_meta": {
            EXTENSION: {
                "protocol": about.id,
                "digest": f"sha256:{protocol.digest}",
                "description": _url(protocol, base, quote(about.version)),
            }
        },
    }
    if about.servers:
        card["remotes"] = [{"type": "streamable-http", "url": url} for url in about.servers]
    return card


def _entry(protocol: RegisteredProtocol, base: str) -> dict[str, Any]:
    return {
        "identifier": f"urn:air:{_publisher(base)}:mcp:{_suffix(protocol)}",
        "displayName": protocol.description.title,
        "type": CARD_TYPE,
        "url": _url(protocol, base, "server-card"),
    }


def _url(protocol: RegisteredProtocol, base: str, last: str) -> str:
    return f"{base.rstrip('/')}/protocols/{protocol.description.id}/{last}"


def _suffix(protocol: RegisteredProtocol) -> str:
    """The name after the slash. An owner has no dot, so the first dot ends the owner."""
    return protocol.description.id.replace("/", ".")


def _publisher(base: str) -> str:
    """The host of a URL, as a segment of a URN and, reversed, as a namespace."""
    return _NO_NAMESPACE.sub("-", urlsplit(base).hostname or "localhost")


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1].rstrip() + "…"
