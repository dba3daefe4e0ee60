"""uvicorn's HTTP protocol, with limits on the head of a request and a report of how each delivery ended."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from time import time
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from broker_plane.web.ack_watcher import AckWatchers
from broker_plane.web.dates import format_date
from broker_plane.web.delivery import EXTENSION, BytesSent, Delivery
from broker_plane.web.delivery_tracker import DeliveryTracker
from broker_plane.web.guard import TARGET
from broker_plane.web.http10 import answer_http10
from broker_plane.web.problems import make_problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one connection."""

    head_seconds: float = 10.0
    """From the connection, or from the first byte of a later request, to the end of its header section."""
    head_bytes: int = 32 * 1024
    silence_seconds: float = 30.0
    """A silence after the last byte counts as complete; a silence before it means that the reader hangs."""


DEFAULT_LIMITS = Limits()


def _never(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """How a server tracks the deliveries of its application. Both predicates take the raw path of a request."""

    limits: Limits = DEFAULT_LIMITS
    may_upgrade: Callable[[str], bool] = _never
    """Whether requests for this path may become WebSockets."""
    is_confirmation: Callable[[str], bool] = _never
    """Whether a request for this path confirms a delivery. Every other request on a connection completes the one
    before it."""


DEFAULT_TRACKING = Tracking()


class TrackingProtocol(HttpToolsProtocol):
    """One connection whose deliveries are tracked."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        watchers: AckWatchers,
        tracking: Tracking = DEFAULT_TRACKING,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # Its lines contain the path, and so the grant, whatever another part of this program does to the loggers.
        self.access_log = False
        self.watchers = watchers
        self.tracking = tracking
        self.limits = tracking.limits
        self.tracker: DeliveryTracker
        self._name = "http-" + secrets.token_hex(8)
        self._sent = BytesSent()
        self._delivery = Delivery(self._name, self._sent, self._reset)
        self._in_head = True
        self._head_bytes = 0
        self._field_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self.tracker = DeliveryTracker(
            transport, self.watchers, self._sent, self.limits.silence_seconds, tls=self.scheme == "https"
        )
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.tracker.lost(broken=exc is not None)
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's never keeps a connection open
        """Keep answering a reader that has only closed its own direction; TLS cannot do that.

        A client that does so in the middle of a request has left: the rest of the request will not arrive.
        """
        if not self._answering() or self.cycle.more_body or self.scheme == "https":
            return False
        if self._delivery.endless or self._delivery.waiting:
            return False
        self._delivery.half_closed = True
        self.cycle.keep_alive = False
        return True

    def shutdown(self) -> None:
        self.tracker.stopping()
        super().shutdown()

    # ── the life of a request ──────────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes:
            self._start_timer()
            if self._head_bytes > self.limits.head_bytes:
                self._refuse(431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = self._head_bytes or 1
        self._field_bytes = 0
        self._delivery = Delivery(self._name, self._sent, self._reset)
        self.scope["extensions"] = {EXTENSION: self._delivery}  # type: ignore[dict-item]  # ASGI has dicts only

    def on_url(self, url: bytes) -> None:
        self._count_field(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_field(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        if not self.url.startswith(b"/"):
            # Absolute form (RFC 9112, section 3.2.2): uvicorn keeps the path only.
            authority = self.url.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0]
            self.scope["extensions"][TARGET] = authority  # type: ignore[assignment]
        if not self.tracking.is_confirmation(self._path()):
            # A confirmation says how the delivery ended; any other request shows that it is over.
            self.tracker.next_request()
        super().on_headers_complete()
        if self._should_upgrade():
            return
        cycle = self.cycle
        if self.scope.get("http_version") == "1.0":
            answer_http10(cycle)
        self.tracker.add(self._delivery, lambda: cycle.response_complete)

    def _should_upgrade_to_ws(self) -> bool:
        """Only the application's WebSocket routes upgrade, and only if no delivery is in progress."""
        return self.tracking.may_upgrade(self._path()) and not self._answering() and self.tracker.decided

    def _path(self) -> str:
        return self.url.partition(b"?")[0].decode("latin-1")

    def handle_websocket_upgrade(self) -> None:
        from broker_plane.web.upgrade import SocketProtocol  # most bridges never have one

        self._stop_timer()
        self.tracker.leave()
        self.ws_protocol_class = SocketProtocol
        super().handle_websocket_upgrade()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        self._stop_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body and not self.transport.is_closing():
            # Nobody reads the rest of this request; it must not hold the connection forever.
            self._start_timer()
        self.tracker.answered()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.tracker.buffered()
        self.tracker.watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.tracker.buffered()

    def _reset(self) -> None:
        if not self.transport.is_closing():
            self.cycle.disconnected = True  # uvicorn treats the answer as ended, and logs no error
            self.tracker.reset()

    # ── bounds ────────────────────────────────────────────────────────────────────────────────────────────

    def send_400_response(self, msg: str) -> None:
        self._refuse(400)

    def _count_field(self, size: int) -> None:
        """Count the parsed fields too: one read may bring a large head at once, and trailers follow the body."""
        self._field_bytes += size
        if self._field_bytes > self.limits.head_bytes:
            self._refuse(431)
            raise httptools.HttpParserError("header section too large")

    def _start_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.head_seconds, self._late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        if self._answering():
            # The answer in progress is still sent; the connection closes after it.
            self.cycle.keep_alive = False
        elif self._in_head and self._head_bytes:
            self._refuse(408)
        else:
            self.transport.close()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, status: int) -> None:
        """Answer with this status and close the connection; in the middle of another answer, only close it."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if self.pipeline or (self._answering() and self.cycle.response_started):
            # The refusal would land in the middle of a body that is being sent.
            self.transport.abort()
            return
        self.transport.write(_refusal(status))
        self.transport.close()


def _refusal(status: int) -> bytes:
    problem = make_problem(status, "bad_request", HTTPStatus(status).phrase)
    fields = "".join(f"{name}: {value}\r\n" for name, value in problem.headers)
    fields += f"date: {format_date(time())}\r\n"
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{fields}connection: close\r\n\r\n"
    return head.encode("ascii") + problem.body
