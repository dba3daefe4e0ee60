"""A client's side of requests that are not stored: sent to any instance, and answered to this client's inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from broker_plane.broker.messages import Message as NatsMessage
from broker_plane.errors import BrokerPlaneError
from broker_plane.exchange.headers import ALIVE, LAST, PART, SEQ
from broker_plane.exchange.lines import localized, outline
from broker_plane.exchange.parts import PartJoiner
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.messages import Message, failed_line, refused_line
from broker_plane.transports.nats.client_link import ClientLink
from broker_plane.transports.nats.instance_channel import InstanceChannel
from broker_plane.transports.nats.wire_form import (
    HEADER_BYTES,
    MORE,
    SILENT_SECONDS,
    SIZE,
    method_tokens,
    new_id,
    request_headers,
)

log = redacted_logger(__name__)

Deliver = Callable[[bytes], None]
"""Passes a line on to the client."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 0.5
_MOST_ATTEMPTS = 3
_NO_RESPONDERS = "503"
_MAX_ERROR = 4096

_READS = frozenset(
    {
        *("server/discover", "tools/list", "resources/list", "resources/templates/list", "prompts/list"),
        *("resources/read", "prompts/get", "completion/complete"),
    }
)
"""Methods that may be sent again if it is unknown whether they were carried out."""

_LOST = "Messages of the server were lost, because the connection to NATS broke"
_SILENT = "The instance of the server that was asked does not respond; it is unknown what it has done"
_UNANSWERED = "The server has not answered this request"


@dataclass(slots=True)
class _Sent:
    """A request that waits for its answer."""

    key: Any
    line: bytes
    subject: str
    headers: dict[str, str]
    parts: PartJoiner
    since: float
    heard: float
    reads: bool
    upload: InstanceChannel | None = None
    """Where the request goes, if it is too large for one message."""
    attempts: int = 1
    following: int = 1
    """The number of the next message."""


class ExchangeClient:
    """Sends self-contained requests, and passes their messages on. Each is answered unless it is cancelled."""

    def __init__(
        self, link: ClientLink, server: str, session: str, deliver: Deliver, *, wait_seconds: float, most_bytes: int
    ) -> None:
        """Without any instance of the server, requests wait `wait_seconds` for one. `most_bytes` is the largest
        message."""
        self._link = link
        self._server = server
        self._session = session
        self._deliver = deliver
        self._wait_seconds = wait_seconds
        self._most_bytes = most_bytes
        self._now = asyncio.get_running_loop().time
        self._open: dict[str, _Sent] = {}
        self._exchanges: dict[Any, str] = {}
        """The exchange of each request, by its id."""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waits(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self._exchanges)

    async def send(self, line: bytes, message: Message) -> None:
        """Send a valid request; its messages are delivered later."""
        method, now = str(message["method"]), self._now()
        sent = _Sent(
            key=message["id"],
            line=line,
            subject=self._link.connection.names.mcp_subject(self._server, "rpc", method_tokens(method)),
            headers=request_headers(message),
            parts=PartJoiner(self._most_bytes),
            since=now,
            heard=now,
            reads=method in _READS,
        )
        await self._publish(sent)

    async def cancel(self, key: Any) -> bool:
        """Cancel a request: nothing of it is delivered any more. False if there is none with this id."""
        exchange = self._exchanges.pop(key, None)
        if exchange is None:
            return False
        self._open.pop(exchange, None)
        await self._tell_cancelled(exchange)
        return True

    async def close(self) -> None:
        """Cancel all requests."""
        for key in list(self._exchanges):
            await self.cancel(key)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def heard(self, exchange: str, message: NatsMessage) -> None:
        """Process a message about an exchange."""
        headers, sent = message.headers or {}, self._open.get(exchange)
        if sent is None:
            if ALIVE in headers:  # the cancellation was lost
                self._start(self._tell_cancelled(exchange))
            return
        sent.heard = self._now()
        if ALIVE in headers:
            return
        if MORE in headers:
            self._start(self._upload(exchange, sent, headers[MORE]))
            return
        if SEQ not in headers:
            if headers.get("Status") == _NO_RESPONDERS:
                self._wait(exchange, sent, self.nobody())
            else:
                self._resend(exchange, sent, _UNANSWERED)
            return
        self._numbered(exchange, sent, message.data, headers)

    def broke(self) -> None:
        """Send what only reads again: its answer may be lost. Other requests may still be answered."""
        for exchange, sent in list(self._open.items()):
            if sent.reads:
                self._resend(exchange, sent, _LOST)

    def refused(self, subject: str) -> None:
        """Fail the requests on a subject that is not permitted."""
        for exchange, sent in list(self._open.items()):
            if sent.subject.lower() == subject:
                self._forget(exchange)
                self._deliver(refused_line(sent.key, self._link.not_permitted(self._server)))

    def check(self) -> None:
        """Give up requests of which nothing was heard for a long time; those that only read are sent again."""
        now = self._now()
        for exchange, sent in list(self._open.items()):
            if sent.upload is not None:
                sent.upload.check()
                sent.heard = max(sent.heard, sent.upload.heard)
            if now - sent.heard > SILENT_SECONDS:
                self._resend(exchange, sent, _SILENT)

    def _numbered(self, exchange: str, sent: _Sent, payload: bytes, headers: Mapping[str, str]) -> None:
        if headers[SEQ] != str(sent.following):
            self._resend(exchange, sent, _LOST)
            return
        part = headers.get(PART)
        line = payload if part is None else sent.parts.take(payload, part)
        if line is None:
            return
        sent.following += 1
        if LAST in headers:
            self._forget(exchange)
            line = _for_request(line, sent.key)
        self._deliver(line + b"\n")

    async def _publish(self, sent: _Sent) -> None:
        """Send a request under a new exchange."""
        exchange = new_id()
        sent.following, sent.heard = 1, self._now()
        self._open[exchange], self._exchanges[sent.key] = sent, exchange
        if self._link.deaf is not None:
            self._fail(exchange, str(self._link.deaf))
            return
        reply = self._link.reply_subject(self._session, exchange)
        line, headers = sent.line, sent.headers | self._link.reply_headers(self._session, exchange)
        if len(line) > self._link.connection.max_payload - HEADER_BYTES:
            line, headers = b"", headers | {SIZE: str(len(line))}
        try:
            await self._link.connection.publish(sent.subject, line, reply=reply, headers=headers)
        except BrokerPlaneError as error:
            self._wait(exchange, sent, str(error))

    async def _upload(self, exchange: str, sent: _Sent, where: str) -> None:
        """Send a large request in parts to the instance that has taken it."""
        subject = self._link.connection.names.mcp_subject(self._server, "more", *where.split(".")[:2])

        def lost(said: str) -> None:
            sent.upload = None
            if self._open.get(exchange) is sent:
                self._resend(exchange, sent, said)

        sent.upload = InstanceChannel(self._link, subject, lost, self._most_bytes)
        await sent.upload.send(sent.line)

    def _wait(self, exchange: str, sent: _Sent, said: str) -> None:
        """Send a request again after a moment, unless it has waited for too long: then it fails with `said`."""
        waited = self._now() - sent.since
        if waited > self._wait_seconds:
            self._fail(exchange, said)
        else:
            pause = min(_LONGEST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, waited))
            self._start(self._publish_again(exchange, sent, pause))

    def _resend(self, exchange: str, sent: _Sent, said: str) -> None:
        """Send a request again that may not have been answered; it fails with `said` if that could do harm."""
        if not sent.reads or sent.attempts >= _MOST_ATTEMPTS:
            self._fail(exchange, said)
            return
        sent.attempts += 1
        sent.since = self._now()
        self._start(self._publish_again(exchange, sent, 0))

    async def _publish_again(self, exchange: str, sent: _Sent, pause: float) -> None:
        self._open.pop(exchange, None)
        await asyncio.sleep(pause)
        if self._exchanges.get(sent.key) == exchange:  # else it was cancelled
            await self._publish(sent)

    def nobody(self) -> str:
        """The error of a request for which there is no instance."""
        hosts, server = self._link.connection.hosts, self._server
        place, advice = f"NATS at {hosts}", "or correct the name"
        if self._link.connection.link.lifeline is not None:
            place = f"the private broker of this user, {hosts}"
            advice = "correct the name, or set BROKER_PLANE_NATS_URL to the NATS where it runs"
        start = f"start one with broker-plane serve --nats {server}"
        return f"No instance of the server {server} is connected to {place}; {start}, {advice}"

    async def _tell_cancelled(self, exchange: str) -> None:
        subject = self._link.connection.names.mcp_subject(self._server, "cancel", self._session, exchange)
        try:
            await self._link.connection.publish(subject, b"")
        except BrokerPlaneError as error:
            log.debug("A cancellation was not sent: %s", error)

    def _fail(self, exchange: str, said: str) -> None:
        sent = self._forget(exchange)
        if sent is not None:
            self._deliver(failed_line(sent.key, said))

    def _forget(self, exchange: str) -> _Sent | None:
        sent = self._open.pop(exchange, None)
        if sent is not None:
            self._exchanges.pop(sent.key, None)
            if sent.upload is not None:
                self._start(sent.upload.close(end=False))
        return sent

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in a task that is kept until it ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _for_request(line: bytes, key: Any) -> bytes:
    """The answer under the id of its request. An instance that has not read a request cannot know its id."""
    if len(line) > _MAX_ERROR or outline(line).id is not None:
        return line
    return localized(line, key, None)
