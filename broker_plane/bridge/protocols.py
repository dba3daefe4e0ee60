"""The routes of the registry of protocols, which anybody may read (docs/protocols.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from broker_plane.errors import EntryNotFoundError, WireError
from broker_plane.plane.protocols.reader import ProtocolReader
from broker_plane.registry.description import BUILTIN
from broker_plane.registry.registered import RegisteredProtocol
from broker_plane.registry.search import ProtocolSearch
from broker_plane.registry.server_cards import CARD_TYPE, ai_catalog, mcp_catalog, server_card
from broker_plane.registry.versions import is_version
from broker_plane.tabular.json_values import json_bytes
from broker_plane.web.request import base_of, query_fields, whole_number
from broker_plane.web.sending import Headers, send_bytes

_MOST = 500
_LISTED = 100
_FOUND = 20
_FILTERS = ("tier", "format", "auth", "protocol", "mode", "owner", "tag")
_FRESH = [("cache-control", "public, max-age=60")]
_ANYBODY = [
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET"),
    ("access-control-allow-headers", "Content-Type"),
    ("cache-control", "public, max-age=3600"),
]
"""What SEP-2127 demands of discovery (CORS) and recommends (caching)."""


class ProtocolRoutes:
    """Reads of the registry. `public_url` is the bridge's base URL; if it is empty, the one that the client used."""

    def __init__(self, reader: ProtocolReader, public_url: str) -> None:
        self._reader = reader
        self._public_url = public_url

    async def list(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields = query_fields(scope, "owner", "limit", "after")
        limit = _limit(fields, _LISTED)
        listing = await self._reader.listing(fields.get("owner", ""))
        after = fields.get("after", "")
        left = [each for each in listing.protocols if each.description.id > after]
        answer: dict[str, Any] = {"protocols": [each.summary() for each in left[:limit]]}
        if len(left) > limit:
            answer["next"] = left[limit - 1].description.id
        await _send(send, answer | {"refused": len(listing.refused)})

    async def search(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields = query_fields(scope, "q", "limit", *_FILTERS)
        filters = {name: fields[name] for name in _FILTERS if name in fields}
        found = await self._reader.search(ProtocolSearch(text=fields.get("q", ""), **filters), _limit(fields, _FOUND))
        listed = [each.summary() | {"score": score} for each, score in found.protocols]
        await _send(send, {"protocols": listed, "refused": len(found.refused)})

    async def by_digest(self, scope: Scope, receive: Receive, send: Send) -> None:
        query_fields(scope)
        digest = scope["path_params"]["digest"]
        if not digest.startswith("sha256:"):
            raise EntryNotFoundError("The path has a digest, sha256: and 64 characters of hex, or owner/name")
        await _send_protocol(send, await self._reader.get(digest))

    async def newest(self, scope: Scope, receive: Receive, send: Send) -> None:
        version = query_fields(scope, "version").get("version", "")
        await _send_protocol(send, await self._reader.get(_identity(scope), version))

    async def exact(self, scope: Scope, receive: Receive, send: Send) -> None:
        query_fields(scope)
        version = scope["path_params"]["version"]
        if not is_version(version):
            raise EntryNotFoundError("The path ends with an exact version; a range is ?version=^1.2 of owner/name")
        await _send_protocol(send, await self._reader.get(_identity(scope), version))

    async def versions(self, scope: Scope, receive: Receive, send: Send) -> None:
        query_fields(scope)
        identity = _identity(scope)
        if scope["path_params"]["owner"] == BUILTIN:
            found = await self._reader.get(identity)
            listed = [{"version": found.description.version, "digest": found.digest}]
            await _send(send, {"id": identity, "versions": listed, "refused": 0})
            return
        versions = await self._reader.versions(identity)
        listed = [msgspec.to_builtins(entry) for entry in versions.entries]
        await _send(send, {"id": identity, "versions": listed, "refused": len(versions.refused)})

    async def card(self, scope: Scope, receive: Receive, send: Send) -> None:
        query_fields(scope)
        protocol = await self._reader.get(_identity(scope))
        await _send(send, server_card(protocol, self._base(scope)), CARD_TYPE, _ANYBODY)

    async def mcp_catalog(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._catalog(scope, send, mcp_catalog, "application/json")

    async def ai_catalog(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._catalog(scope, send, ai_catalog, "application/ai-catalog+json")

    async def _catalog(
        self,
        scope: Scope,
        send: Send,
        made: Callable[[Sequence[RegisteredProtocol], str], dict[str, Any]],
        media_type: str,
    ) -> None:
        query_fields(scope)
        listing = await self._reader.listing()
        await _send(send, made(listing.protocols, self._base(scope)), media_type, _ANYBODY)

    def _base(self, scope: Scope) -> str:
        return self._public_url or base_of(scope)


async def _send_protocol(send: Send, found: RegisteredProtocol) -> None:
    await _send(send, found.to_wire(), headers=[*_FRESH, ("etag", f'"{found.digest}"')])


async def _send(
    send: Send, fields: dict[str, Any], media_type: str = "application/json", headers: Headers = _FRESH
) -> None:
    raw = json_bytes(fields)
    await send_bytes(send, 200, [("content-type", media_type), ("content-length", str(len(raw))), *headers], raw)


def _identity(scope: Scope) -> str:
    path = scope["path_params"]
    return f"{path['owner']}/{path['name']}"


def _limit(fields: dict[str, str], default: int) -> int:
    limit = whole_number(fields["limit"], "limit") if "limit" in fields else default
    if not 1 <= limit <= _MOST:
        raise WireError(f"limit is 1 to {_MOST}")
    return limit
