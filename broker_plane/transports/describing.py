"""What a server says of itself: its name, its protocol versions, and how many tools it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

from broker_plane import __version__
from broker_plane.errors import UpstreamError
from broker_plane.proxy.messages import VERSION, Message, is_answer, mapping, parse, tools_of
from broker_plane.transports.hosting import HostedSession, ServerHost
from broker_plane.wire.exact_json import dumps

_SECONDS = 60.0
"""A command may be installed before it starts."""

_MAX_PAGES = 20
_CLIENT = {"name": "broker-plane", "version": __version__}
_ENVELOPE = {
    VERSION: LATEST_MODERN_VERSION,
    types.CLIENT_CAPABILITIES_META_KEY: {},
    types.CLIENT_INFO_META_KEY: _CLIENT,
}


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """`versions` are protocol versions, the latest first. `tools` is -1 if the server does not list them."""

    name: str
    version: str
    title: str
    versions: tuple[str, ...]
    tools: int


async def describe(host: ServerHost) -> ServerFacts:
    """Ask a server what it is. One that does not know 2026-07-28 is asked in a session.

    Raises:
        UpstreamError: it cannot be opened, or does not answer.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            found = await _result(host, "server/discover", {})
            if "supportedVersions" in found:
                info = mapping(mapping(found.get("_meta")).get(types.SERVER_INFO_META_KEY) or found.get("serverInfo"))
                versions = [each for each in found["supportedVersions"] if isinstance(each, str)]
                pages = [await _result(host, "tools/list", {})]
                while (cursor := pages[-1].get("nextCursor")) and len(pages) < _MAX_PAGES:
                    pages.append(await _result(host, "tools/list", {"cursor": cursor}))
                return _facts(info, versions, pages)
            return await _asked_in_session(host)
    except TimeoutError as error:
        raise UpstreamError(f"The server has not answered within {_SECONDS:.0f} seconds") from error


async def _result(host: ServerHost, method: str, params: Message) -> Mapping[str, Any]:
    """The result of a self-contained request; an empty one if it is an error."""
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": _ENVELOPE}}
    async with host.request(request) as messages:
        async for message in messages:
            if is_answer(message):
                return mapping(message.get("result"))
    return {}


async def _asked_in_session(host: ServerHost) -> ServerFacts:
    """As `describe`, for a server of the handshake era."""
    async with _talking(host) as talk:
        hello = {"protocolVersion": LATEST_HANDSHAKE_VERSION, "capabilities": {}, "clientInfo": _CLIENT}
        found = await talk.ask("initialize", hello)
        await talk.session.from_client(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        pages = [await talk.ask("tools/list", {})]
        while (cursor := pages[-1].get("nextCursor")) and len(pages) < _MAX_PAGES:
            pages.append(await talk.ask("tools/list", {"cursor": cursor}))
    version = found.get("protocolVersion")
    return _facts(mapping(found.get("serverInfo")), [version] if isinstance(version, str) else [], pages)


class _Talk:
    """Requests of ours in a session, one after the other."""

    def __init__(self) -> None:
        self.session: HostedSession
        self._key = 0
        self._answers: asyncio.Queue[Message] = asyncio.Queue()

    async def hear(self, line: bytes) -> None:
        message = parse(line)
        if message is not None and is_answer(message):
            self._answers.put_nowait(message)

    async def ask(self, method: str, params: Message) -> Mapping[str, Any]:
        """The result of a request; an empty one if it is an error."""
        self._key += 1
        request = {"jsonrpc": "2.0", "id": self._key, "method": method, "params": params}
        await self.session.from_client(dumps(request) + b"\n")
        while (answer := await self._answers.get()).get("id") != self._key:
            pass
        return mapping(answer.get("result"))


@asynccontextmanager
async def _talking(host: ServerHost) -> AsyncIterator[_Talk]:
    talk = _Talk()
    async with host.session(talk.hear) as talk.session:
        yield talk


def _facts(info: Mapping[str, Any], versions: list[str], pages: list[Mapping[str, Any]]) -> ServerFacts:
    listed = any("tools" in page for page in pages)
    name, version, title = (value if isinstance(value := info.get(key), str) else "" for key in _INFO)
    if LATEST_MODERN_VERSION in versions:  # a server of this SDK has a session for those that ask for one
        versions = [*versions, LATEST_HANDSHAKE_VERSION]
    return ServerFacts(
        name=name,
        version=version,
        title=title,
        versions=tuple(dict.fromkeys(versions)),
        tools=sum(len(tools_of(page)) for page in pages) if listed else -1,
    )


_INFO = ("name", "version", "title")
