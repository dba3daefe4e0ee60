"""An HTTP server for one ASGI application. Its socket is bound, and its URL known, before anything runs."""

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

from broker_plane.errors import ConfigError, PortInUseError
from broker_plane.plane.redacted_logs import redact_loggers
from broker_plane.web.ack_watcher import AckWatchers
from broker_plane.web.heartbeats import HEARTBEAT_SECONDS
from broker_plane.web.protocol import Tracking, TrackingProtocol

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75
_SOCKET_MESSAGE_BYTES = 4096
_CUT_SECONDS = 1.0
_CUT_TURNS = 5
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # never bound by default


redact_loggers("uvicorn", "asyncio")


class HttpServer:
    """`async with HttpServer(app, "127.0.0.1", 0) as server:` serves `app` at `server.url` until the block ends."""

    def __init__(
        self,
        app: ASGIApp,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        public_url: str = "",
        certfile: Path | None = None,
        keyfile: Path | None = None,
        tracking: Tracking | None = None,
        stop_seconds: int = 5,
    ) -> None:
        """Bind and listen. `public_url` is the URL of this server for others, if that is not the bound address.

        With `tracking`, each request has a `Delivery` that reports how its answer ended (decision 0030). Without it the
        server is a plain one: a client that closes its direction has left, and every answer has uvicorn's Date.

        Raises:
            PortInUseError: another program uses the port.
            ConfigError: the host is not an address of this machine, or the certificate cannot be read.
        """
        watchers = AckWatchers()
        protocol = partial(TrackingProtocol, watchers=watchers, tracking=tracking) if tracking else "httptools"
        config = _configure(app, protocol, certfile, keyfile, stop_seconds, dated=tracking is None)
        self._socket = _bind(host, port)
        self.port = int(self._socket.getsockname()[1])
        scheme = "https" if certfile else "http"
        self.url = public_url.rstrip("/") or f"{scheme}://{_bracketed(_WILDCARDS.get(host, host))}:{self.port}"
        self._server = _Server(config, watchers)
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
        """Stop: accept no new connection, give answers in progress `stop_seconds`, then cut them."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task

    def close(self) -> None:
        """Release the port without having served."""
        self._socket.close()


class _Server(uvicorn.Server):
    """uvicorn inside another program, which handles the signals itself; `ready` is set after the start."""

    def __init__(self, config: uvicorn.Config, watchers: AckWatchers) -> None:
        super().__init__(config)
        self.watchers = watchers
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self.watchers.stopping = True
        await super().shutdown(sockets)
        await self._cut()
        self.watchers.close()

    async def _cut(self) -> None:
        """Cut connections that outlived the graceful stop: uvicorn leaves one open if its reader reads nothing."""
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
        ws="none",  # TrackingProtocol knows which requests may upgrade
        ws_max_size=_SOCKET_MESSAGE_BYTES,
        ws_ping_interval=HEARTBEAT_SECONDS,
        ws_ping_timeout=HEARTBEAT_SECONDS,
        ws_per_message_deflate=False,
        lifespan="off",  # uvicorn would end it after the connections: too late to tell endless answers to stop
        log_config=None,  # its loggers belong to the program, and are redacted above
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
        raise ConfigError(f"The certificate or key of the server cannot be used: {error}") from error
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
                f"Port {port} of {host} is in use by another program. Stop it, choose another port, or use port 0 for "
                "any free one"
            ) from error
        raise ConfigError(f"The server cannot listen on port {port} of {host!r}: {error.strerror or error}") from error
    sock.setblocking(False)
    return sock


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
