"""A bridge's server: its socket is bound, and its URL known, before anything runs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from socket import AF_INET, AF_INET6, IPPROTO_TCP, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, gaierror, socket
from types import TracebackType
from typing import Any, Self, cast

import uvicorn
from starlette.types import ASGIApp

from broker_plane.bridge.following import HEARTBEAT_SECONDS
from broker_plane.bridge.linger import Lingering
from broker_plane.bridge.protocol import DEFAULT_LIMITS, BridgeProtocol, Limits
from broker_plane.errors import ConfigError, PortInUseError
from broker_plane.plane.redacted_logs import redact_loggers

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75
_SOCKET_MESSAGE_BYTES = 4096
_CUT_SECONDS = 1.0
_CUT_TURNS = 5
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # never bound by default


redact_loggers("uvicorn", "asyncio")


class BridgeServer:
    """`async with BridgeServer(app, "127.0.0.1", 0) as server:` serves `app` at `server.url` until the block ends."""

    def __init__(
        self,
        app: ASGIApp,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        public_url: str = "",
        certfile: Path | None = None,
        keyfile: Path | None = None,
        limits: Limits = DEFAULT_LIMITS,
        stop_seconds: int = 5,
        deliveries: bool = True,
    ) -> None:
        """Bind and listen; `public_url` is how consumers reach this bridge where that is not the bound address.

        Without `deliveries` nobody needs to know how a connection ended (rulings.md 10): a client that says it has
        nothing more to say is gone, as for any other web server.

        Raises:
            PortInUseError: another program has the port.
            ConfigError: the host is no address of this machine, or the certificate cannot be read.
        """
        lingering = Lingering()
        protocol = partial(BridgeProtocol, lingering=lingering, limits=limits) if deliveries else "httptools"
        config = _configure(app, protocol, certfile, keyfile, stop_seconds, dated=not deliveries)
        self._socket = _bind(host, port)
        self.port = int(self._socket.getsockname()[1])
        scheme = "https" if certfile else "http"
        self.url = public_url.rstrip("/") or f"{scheme}://{_bracketed(_WILDCARDS.get(host, host))}:{self.port}"
        self._server = _Server(config, lingering)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._server.serve([self._socket]))
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if not self._server.ready.is_set():
            ready.cancel()
            await self._task
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: no new connection, answers under way get `stop_seconds`, then they are cut."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task

    def close(self) -> None:
        """Give the port back without ever having served."""
        self._socket.close()


class _Server(uvicorn.Server):
    """uvicorn inside another program: signals are that program's, and it says when it is ready."""

    def __init__(self, config: uvicorn.Config, lingering: Lingering) -> None:
        super().__init__(config)
        self.lingering = lingering
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self.lingering.stopping = True
        await super().shutdown(sockets)
        await self._cut()
        self.lingering.close()

    async def _cut(self) -> None:
        """End what outlived the graceful stop: uvicorn leaves a connection open whose reader takes nothing."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for _ in range(_CUT_TURNS):
            await asyncio.sleep(0)  # connection_lost() is called from the loop, through TLS after some turns of it
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_CUT_SECONDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _configure(
    app: ASGIApp, protocol: object, certfile: Path | None, keyfile: Path | None, stop_seconds: int, *, dated: bool
) -> uvicorn.Config:
    config = uvicorn.Config(
        cast("Any", app),
        http=cast("Any", protocol),
        ws="none",  # BridgeProtocol knows which requests may upgrade
        ws_max_size=_SOCKET_MESSAGE_BYTES,
        ws_ping_interval=HEARTBEAT_SECONDS,
        ws_ping_timeout=HEARTBEAT_SECONDS,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,  # its loggers are the program's; what they say of a request holds no grant
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=dated,  # uvicorn's is up to a second old, and Last-Modified may not be later than Date
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=stop_seconds,
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"The certificate or key of the bridge cannot be used: {error}") from error
    return config


def _bind(host: str, port: int) -> socket:
    # With the protocol named, asyncio sees that it is TCP and turns Nagle's algorithm off; else an answer on a kept
    # connection waits 40 ms for an acknowledgement.
    sock = socket(AF_INET6 if ":" in host else AF_INET, SOCK_STREAM, IPPROTO_TCP)
    try:
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        sock.bind((host, port))
        # With SO_REUSEADDR two programs may bind one port; only one may listen on it.
        sock.listen(_BACKLOG)
    except (OSError, gaierror) as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(
                f"Port {port} of {host} is taken by another program. Stop that one, choose another port, or take "
                "port 0 for any free one"
            ) from error
        raise ConfigError(f"The bridge cannot listen on port {port} of {host!r}: {error.strerror or error}") from error
    sock.setblocking(False)
    return sock


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
