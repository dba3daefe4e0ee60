"""A Python server in this process as an upstream, and how it is loaded from a file."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from mcp.server import Server
from mcp.server.mcpserver import MCPServer
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCResponse, jsonrpc_message_adapter
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from broker_plane.errors import ConfigError
from broker_plane.mcp_server.server import PlaneServer
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.command import GRACE_SECONDS
from broker_plane.proxy.messages import failed_line, key_asked
from broker_plane.proxy.upstream import Open, Upstream
from broker_plane.transports.queue_streams import DirectWriter, QueueReader
from broker_plane.wire import json_rpc

log = redacted_logger(__name__)

PythonServer = PlaneServer | MCPServer[Any] | Server[Any]

_CANCELLED_SECONDS = 1.0
"""How long a cancelled server may take. A tool that is no coroutine runs in a thread, which cannot be cancelled."""

_NAMES = ("mcp", "server", "app")
"""Where a server is looked for in a module, as the SDK's own command line does."""


def in_process(server: PythonServer) -> Open:
    """Runs `server` in this process, once for each connection, in the era that the connection's first request has.

    Raises:
        ConfigError: it is not a server of the SDK.
    """
    return partial(_running, lowlevel_of(server))


def lowlevel_of(server: Any) -> Server[Any]:
    """The SDK's low-level server beneath `server`.

    Raises:
        ConfigError: it is not a server of the SDK.
    """
    if isinstance(server, PlaneServer):
        server = server.mcp
    if isinstance(server, MCPServer):
        # The SDK has no public access yet; its own in-memory transport does the same.
        return server._lowlevel_server
    if isinstance(server, Server):
        return server
    raise ConfigError(f"{type(server).__name__} is not an MCPServer or PlaneServer; run it with -- and its command")


def load_server(word: str) -> PythonServer:
    """Run the file that `word` names (`server.py`, or `server.py:name`) as a module, and return its server.

    Raises:
        ConfigError: there is no such file, it cannot be run, or it has no server.
    """
    path, name = (word, "") if word.endswith(".py") else (word.rpartition(":")[0], word.rpartition(":")[2])
    module = _module(Path(path).expanduser())
    names = (name,) if name else _NAMES
    found = next((vars(module)[each] for each in names if each in vars(module)), None)
    if found is None:
        if name:
            raise ConfigError(f"{path} has no {name!r}; name the variable that holds the server, such as {path}:mcp")
        raise ConfigError(f"{path} has no server named {', '.join(_NAMES)}; name it, such as {path}:my_server")
    lowlevel_of(found)
    return found  # type: ignore[no-any-return]  # checked by the line above


def _module(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(f"{path} is not a file; name one that makes an MCPServer or a PlaneServer")
    path = path.resolve()
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # as if Python were started with the file
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # noqa: S101  # its name ends with .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # pydantic and dataclasses look up names there
    try:
        spec.loader.exec_module(module)
    except ConfigError:
        raise
    except Exception as error:
        log.exception("%s cannot be run", path)
        raise ConfigError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    return module


@asynccontextmanager
async def _running(server: Server[Any]) -> AsyncIterator[Upstream]:
    upstream = _PythonUpstream()
    options = server.create_initialization_options()
    run = asyncio.create_task(server.run(upstream.to_server, upstream.from_server, options))
    run.add_done_callback(partial(_log_failure, server.name))
    try:
        yield upstream
    finally:
        # At its end of input a server ends by itself, and runs what its lifespan ends with.
        upstream.close_input()
        upstream.lines.end()
        with anyio.CancelScope(shield=True):
            await _ended(server.name, run)


async def _ended(name: str, run: asyncio.Task[None]) -> None:
    """Wait until a server has ended; one that does not is cancelled, and left if even that does not end it."""
    await asyncio.wait([run], timeout=GRACE_SECONDS)
    if not run.done():
        run.cancel()
        await asyncio.wait([run], timeout=_CANCELLED_SECONDS)
    if not run.done():
        log.warning("A tool of the server %s runs in a thread, which cannot be stopped; it is left behind", name)


def _log_failure(name: str, run: asyncio.Task[None]) -> None:
    if not run.cancelled() and (error := run.exception()) is not None:
        log.error("The server %s has failed", name, exc_info=error)


class _PythonUpstream:
    """The streams of a server that runs in this process."""

    def __init__(self) -> None:
        self.code = 0
        self.lines = QueueReader[bytes]()
        self.to_server = QueueReader[SessionMessage | Exception]()
        self.from_server = DirectWriter[SessionMessage](self._said, self.lines.end)

    async def write(self, line: bytes) -> None:
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValidationError as error:
            await self.to_server.put(error)
            await self._refuse(line)
        else:
            await self.to_server.put(SessionMessage(message))

    def close_input(self) -> None:
        self.to_server.end()

    async def pieces(self) -> AsyncIterator[bytes]:
        async for line in self.lines:
            yield line

    async def _said(self, item: SessionMessage) -> None:
        await self.lines.put(_line_of(item.message))

    async def _refuse(self, line: bytes) -> None:
        """Answer a request that the server cannot read, in its place: it would not."""
        key = key_asked(line)
        if isinstance(key, (int, str)):
            await self.lines.put(failed_line(key, "The server cannot read this request", json_rpc.INVALID_REQUEST))


def _line_of(message: JSONRPCMessage) -> bytes:
    """The line of a message of the server. One that has no text, such as half of a surrogate pair, ends as an error."""
    try:
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    except PydanticSerializationError as error:
        log.warning("A message of the server cannot be written: %s", error)
        if isinstance(message, (JSONRPCResponse, JSONRPCError)):
            return failed_line(message.id, "The server's answer cannot be written as JSON")
        return b""
