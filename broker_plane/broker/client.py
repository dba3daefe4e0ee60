"""nats-py's client, which sends nothing before TLS if TLS is required, and remembers why it could not connect.

nats-py uses TLS only if the server asks for it, and plain text otherwise (nats.py#912). So the guard is in the
transport, through which every byte goes: on the first connection and on each later one, to whichever server.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import ParseResult

import nats.aio.client
import nats.errors
from nats.aio.client import Client, Srv
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport

from broker_plane.broker.access import Identity, NatsAccess
from broker_plane.broker.quick_client import QuickClient
from broker_plane.errors import BrokerPlaneError

# The default of nats-py is 32 KiB: a body of 5 MB then costs 160 runs of its parser instead of 20.
nats.aio.client.DEFAULT_BUFFER_SIZE = 1 << 18

GREETING_SECONDS = 2.5
"""nats-server speaks first, and immediately."""

_QUIET_SECONDS = 0.5
"""After this, a silent server is assumed to begin with TLS (`handshake_first`)."""

_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.1, 5.0
"""Back-off between two reconnects while NATS answers and refuses."""

_ENDS = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)
"""What poll(2) reports of a connection whose other end is gone."""

_SHOWS_ENDS = hasattr(select, "POLLRDHUP")
"""Linux: elsewhere, a closed socket looks like one that has data."""

Stage = Literal["reaching", "greeting", "handshake", "login"]


class PlainTextError(nats.errors.Error):
    """TLS is required and the server does not offer it. Nothing was sent."""


class UnusableError(nats.errors.Error):
    """A file with credentials or certificates cannot be read now; `cause` says why."""

    def __init__(self, cause: BrokerPlaneError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Failed:
    """Why the last attempt to connect failed, and at which stage."""

    server: ParseResult
    stage: Stage
    error: BaseException
    greeting: bytes
    info: dict[str, Any]

    @property
    def refused(self) -> bool:
        """Whether the server answered and refused us, or we refused it."""
        if isinstance(self.error, (PlainTextError, UnusableError)):
            return True
        return self.stage in ("handshake", "login") and not isinstance(self.error, (TimeoutError, ConnectionError))


class _Transport(TcpTransport):
    def __init__(self, encrypted: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stage: Stage = "reaching"
        self.greeting = b""
        self._encrypted = encrypted
        self._secure = False
        self._held: bytes | None = None

    def __bool__(self) -> bool:
        return True  # nats-py replaces a transport that is false, as this one is before its first use

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: float) -> None:
        self.abort()
        self.stage, self.greeting, self._held, self._secure = "reaching", b"", None, False
        await super().connect(uri, buffer_size, connect_timeout)  # type: ignore[arg-type]
        self.stage = "greeting"

    async def greeted(self, seconds: float) -> bool:
        """Whether the server has sent its first line within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                self._held = self.greeting = await self._line()
        except TimeoutError:
            return False
        return True

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: float
    ) -> None:
        self.stage = "handshake"
        await super().connect_tls(uri, ssl_context, buffer_size, connect_timeout)  # type: ignore[arg-type]
        self._secure = True

    async def readline(self) -> bytes:
        held, self._held = self._held, None
        if held is not None:
            return held
        line = await self._line()
        self.greeting = self.greeting or line
        return line

    async def _line(self) -> bytes:
        line: bytes = await super().readline()  # type: ignore[no-untyped-call]
        return line

    def write(self, payload: bytes) -> None:
        self._check()
        self.stage = "login"
        super().write(payload)  # type: ignore[no-untyped-call]

    def writelines(self, payload: list[bytes]) -> None:
        self._check()
        super().writelines(payload)  # type: ignore[no-untyped-call]

    def abort(self) -> None:
        """Drop the socket: closing it would wait for the other end to read what is unsent."""
        if self._io_writer is not None:
            self._io_writer.transport.abort()

    @property
    def hung_up(self) -> bool:
        """Whether the kernel shows that the other end has closed the socket, or does not say."""
        writer = self._io_writer
        end = writer.transport.get_extra_info("socket") if writer is not None else None
        if end is None or end.fileno() < 0 or not _SHOWS_ENDS:
            return True
        shown = select.poll()
        shown.register(end.fileno(), _ENDS)
        return bool(shown.poll(0))

    def _check(self) -> None:
        if self._encrypted and not self._secure:
            raise PlainTextError("nats: the server offers no TLS")


class NatsClient(QuickClient):
    """A client for one connection; `establish` adds further servers once it is connected."""

    def __init__(self, access: NatsAccess | None = None, *, encrypted: bool = False, login_seconds: float = 0) -> None:
        """`login_seconds` is how long the server may take to admit this client, if that is more than its time-out."""
        super().__init__()
        self.access = access or NatsAccess()
        self.failed: Failed | None = None
        """Why it is not connected; None once it is."""
        self.tls = encrypted or self.access.encrypted
        self._guarded = _Transport(self.tls)
        self._transport = self._guarded
        self._login_seconds = login_seconds
        self._established = False
        self._pause = 0.0

    @property
    def server_info(self) -> dict[str, Any]:
        """The server's INFO."""
        return self._server_info

    @property
    def clustered(self) -> bool:
        """Whether the server belongs to a cluster."""
        return bool(self._server_info.get("cluster"))

    @property
    def cluster(self) -> str:
        """The name of the server's cluster; empty if it has none."""
        return str(self._server_info.get("cluster") or "")

    @property
    def ssl_context(self) -> ssl.SSLContext:
        try:
            return self.access.context()
        except BrokerPlaneError as error:
            raise UnusableError(error) from error

    def establish(self, servers: Iterable[str]) -> None:
        """From now on it reconnects, without a limit, to these servers and to those that the cluster announces."""
        self._established = True
        self.options |= {"allow_reconnect": True, "max_reconnect_attempts": -1}
        known = {server.uri.netloc for server in self._server_pool}
        more = [Srv(self._parse_server_uri(server)) for server in servers]
        self._server_pool += [server for server in more if server.uri.netloc not in known]

    def readdress(self, servers: Iterable[str], user: str, password: str) -> None:
        """The same server has another address now, or another password."""
        self.options |= {"user": user, "password": password}
        self.set_server_pool(list(servers))
        self.failed, self._pause = None, 0.0

    @property
    def hung_up(self) -> bool:
        """Whether the server may have closed the connection, although nats-py has not noticed it yet."""
        return self._guarded.hung_up

    def drop(self) -> None:
        """Break the connection; the client reconnects as after any break."""
        self._guarded.abort()

    def forget_unsent(self) -> None:
        """Discard what was not sent yet."""
        self._pending.clear()
        self._pending_data_size = 0

    async def stop_delivery(self, served: Subscription) -> None:
        """Return when nothing arrives there any more, and what had arrived is with its callback.

        nats-py's `drain` may lose messages, because it does not wait until the server knows.
        """
        await self._send_unsubscribe(served._id)
        await asyncio.sleep(0)  # nats-py writes its PING before what is still in its queue
        await self.flush(1)
        await served._pending_queue.join()

    async def _process_pong(self) -> None:
        """As nats-py's, but drops the PONG of a flush that has timed out: there it raises, which ends the read loop."""
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
            self._pings_outstanding = 0
            return
        await super()._process_pong()

    def identify(self) -> dict[str, Any]:
        """nats-py's options for the identity of the files, if any. It is sent even to a server that admits everybody.

        Raises:
            ConfigError: a file cannot be read.
        """
        identity = self.access.identity()
        if identity is None:
            return {}
        self._auth_configured = True
        self._public_nkey = identity.public
        return {"signature_cb": self._sign} | ({"user_jwt_cb": self._jwt} if identity.jwt else {})

    def _sign(self, nonce: str) -> bytes:
        return self._identity().signed(nonce)

    def _jwt(self) -> bytes:
        return self._identity().jwt.encode()

    def _identity(self) -> Identity:
        try:
            identity = self.access.identity()
        except BrokerPlaneError as error:
            raise UnusableError(error) from error
        assert identity is not None  # noqa: S101  # for the type checker: only called if there is one
        return identity

    async def _read_loop(self) -> None:
        """As nats-py's. Without this the connection would stay open and deaf if an error ended the loop."""
        await super()._read_loop()
        if self._status == Client.CONNECTED and asyncio.current_task() is self._reading_task:
            await self._process_op_err(nats.errors.UnexpectedEOF())

    async def _select_next_server(self) -> None:
        if self._established:
            await super()._select_next_server()
            return
        # The first time, one server and one attempt: the caller tries the others, and reports what was wrong with each.
        self._current_server = self._server_pool[0]
        await self._connect_to_server(self._current_server)

    async def _connect_to_server(self, s: Srv) -> None:
        if self._established and self.failed is not None and self.failed.refused:
            self._pause = min(2 * self._pause or _FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
            await asyncio.sleep(self._pause)
        try:
            await super()._connect_to_server(s)
            quiet = _QUIET_SECONDS if self.tls else GREETING_SECONDS
            greeted = await self._guarded.greeted(min(quiet, self.options["connect_timeout"]))
            if not greeted and not self.tls:
                raise TimeoutError("no greeting")
            self.options["tls_handshake_first"] = not greeted
        except Exception as error:
            self._keep(s, error)
            raise

    async def _process_connect_init(self) -> None:
        server = self._current_server
        assert server is not None  # noqa: S101  # for the type checker: it was just connected to
        assert self._transport is self._guarded  # noqa: S101  # nothing may bypass it
        seconds = self.options["connect_timeout"]
        if self.options["tls_handshake_first"]:  # a silent server may be anything
            self.options["connect_timeout"] = min(seconds, GREETING_SECONDS)
        else:
            self.options["connect_timeout"] = max(seconds, self._login_seconds)
        try:
            await super()._process_connect_init()
        except Exception as error:
            self._keep(server, error)
            raise
        finally:
            self.options["connect_timeout"] = seconds
        self.failed, self._pause = None, 0.0

    def _keep(self, server: Srv, error: BaseException) -> None:
        info = self._server_info if self._guarded.greeting.startswith(b"INFO") else {}
        self.failed = Failed(server.uri, self._guarded.stage, error, self._guarded.greeting, info)

    async def abandon(self) -> None:
        """Close it in any state. nats-py would wait forever for the end of a failed TLS handshake."""
        if self._current_server is None:  # never connected: nats-py raises if such a client is closed
            return
        if not self.is_connected:
            self.forget_unsent()
            self._guarded.abort()
        with suppress(nats.errors.Error, asyncio.TimeoutError, OSError):
            async with asyncio.timeout(1):
                await self.close()
