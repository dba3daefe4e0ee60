"""A client's side of sessions of the handshake era: one session, opened again when its instance is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from broker_plane.broker.messages import Message as NatsMessage
from broker_plane.errors import BrokerPlaneError, NotPermittedError, StorageError
from broker_plane.exchange.headers import ALIVE, PART, SEQ, SESSION
from broker_plane.exchange.lines import outline
from broker_plane.exchange.parts import is_incomplete
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.messages import Message, failed_line, is_key, params_of, refused_line
from broker_plane.transports.nats.client_link import ClientLink
from broker_plane.transports.nats.instance_channel import InstanceChannel
from broker_plane.transports.nats.wire_form import (
    SILENT_SECONDS,
    method_tokens,
    new_id,
    request_headers,
)

log = redacted_logger(__name__)

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 0.5
_NO_RESPONDERS = "503"


class SessionClient:
    """Sends the messages of a session, and passes those of the server on. Every request is answered."""

    def __init__(
        self,
        link: ClientLink,
        server: str,
        session: str,
        deliver: Callable[[bytes], None],
        *,
        wait_seconds: float,
        most_bytes: int,
        nobody: Callable[[], str],
    ) -> None:
        """`nobody` is the error if there is no instance."""
        self._link = link
        self._server = server
        self._session = session
        self._deliver = deliver
        self._wait_seconds = wait_seconds
        self._most_bytes = most_bytes
        self._nobody = nobody
        self._now = asyncio.get_running_loop().time
        self._handshake: list[bytes] = []
        """`initialize` and `notifications/initialized`, as the client has sent them."""
        self._open: set[Any] = set()
        """The ids of requests that wait for an answer."""
        self._place: InstanceChannel | None = None
        self._attempt: _Attempt | None = None
        self._exchange = ""
        """The exchange under which messages of this session arrive."""

    @property
    def waits(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self._open)

    async def send(self, line: bytes, message: Message) -> None:
        """Send a message of the client. Requests that cannot be sent are answered with an error."""
        method = message.get("method")
        is_request = method is not None and is_key(message.get("id"))
        if method == "notifications/cancelled":
            self._open.discard(_cancelled(message))
        try:
            if is_request:
                self._open.add(message["id"])
            if method == "initialize" and is_request:
                await self._begin(line, message)
            elif self._place is not None or (is_request and await self._is_open_again()):
                assert self._place is not None  # noqa: S101  # for the type checker
                await self._place.send(line)
        except NotPermittedError as error:
            self._fail(message.get("id"), refused_line(message.get("id"), error))
        except BrokerPlaneError as error:
            self._fail(message.get("id"), failed_line(message.get("id"), str(error)))
        if method == "notifications/initialized":
            self._handshake[1:] = [line]

    async def close(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            await place.close(end=True)

    def heard(self, exchange: str, message: NatsMessage) -> bool:
        """Process a message of this session; False if it is of something else."""
        headers = message.headers or {}
        if self._attempt is not None and exchange == self._attempt.exchange:
            self._attempt.hear(message.data, headers)
            return True
        if exchange != self._exchange:
            return False
        if self._place is not None and SEQ in headers:
            for line in self._place.take(message.data, headers):
                self._answered(line)
        elif self._place is not None and ALIVE in headers:
            self._place.acknowledge()
        return True

    def broke(self) -> None:
        if self._place is not None:
            self._place.broke()

    def refused(self, subject: str) -> None:
        """Fail the attempt to open a session on a subject that is not permitted."""
        if self._attempt is not None and self._attempt.subject.lower() == subject:
            self._attempt.fail(self._link.not_permitted(self._server))

    def check(self) -> None:
        """Called every second."""
        if self._place is not None:
            self._place.check()

    async def _begin(self, line: bytes, message: Message) -> None:
        place, self._place = self._place, None
        if place is not None:
            await place.close(end=True)
            for key in self._open - {message["id"]}:
                self._fail(key, failed_line(key, "The client has begun another session"))
        self._handshake = [line]
        answer = await self._opened(line, message)
        self._answered(answer)

    async def _is_open_again(self) -> bool:
        """Open the session with the client's own handshake, because its instance was lost.

        Raises:
            StorageError: no instance opens it.
        """
        if not self._handshake:
            raise StorageError("There is no session yet; send initialize first")
        message = outline(self._handshake[0])
        await self._opened(self._handshake[0], {"method": "initialize", "id": message.id})
        assert self._place is not None  # noqa: S101  # for the type checker: opened
        log.warning("The session with %s was lost, and has been opened again", self._server)
        for line in self._handshake[1:]:
            await self._place.send(line)
        return True

    async def _opened(self, line: bytes, message: Message) -> bytes:
        """Open a session at any instance, and return the answer to `initialize`.

        Raises:
            StorageError: there is no instance, or it does not answer.
        """
        began, pause = self._now(), _FIRST_PAUSE_SECONDS
        while True:
            subject = self._link.connection.names.mcp_subject(self._server, "rpc", method_tokens("initialize"))
            self._attempt = attempt = _Attempt(subject, self._now)
            reply = self._link.reply_subject(self._session, attempt.exchange)
            headers = request_headers(message) | self._link.reply_headers(self._session, attempt.exchange)
            try:
                if self._link.deaf is not None:
                    raise self._link.deaf
                await self._link.connection.publish(subject, line, reply=reply, headers=headers)
                await attempt.begun()
            finally:
                self._attempt = None
            if attempt.messages:
                return self._placed(attempt)
            if self._now() - began > self._wait_seconds:
                raise StorageError(self._nobody())
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _placed(self, attempt: _Attempt) -> bytes:
        """The answer to `initialize`. Remember where the session is; there is none if the answer is an error."""
        first, headers = attempt.messages[0]
        place = headers.get(SESSION, "")
        if not place:
            return first
        subject = self._link.connection.names.mcp_subject(self._server, "at", *place.split(".")[:2])
        self._exchange = attempt.exchange
        self._place = InstanceChannel(self._link, subject, self._lose, self._most_bytes)
        answer, *others = [line for each in attempt.messages for line in self._place.take(*each)]
        for line in others:
            asyncio.get_running_loop().call_soon(self._answered, line)
        return answer

    def _lose(self, said: str) -> None:
        """Fail what waits: the session is lost. The next request opens it again."""
        self._place = None
        for key in list(self._open):
            self._fail(key, failed_line(key, f"{said}; the next request opens the session again"))

    def _answered(self, line: bytes) -> None:
        found = outline(line)
        if found.is_answer and is_key(found.id):
            self._open.discard(found.id)
        self._deliver(line + b"\n")

    def _fail(self, key: Any, line: bytes) -> None:
        if is_key(key) and key in self._open:
            self._open.discard(key)
            self._deliver(line)


def _cancelled(message: Message) -> Any:
    """The id of the request that a notification cancels."""
    key = params_of(message).get("requestId")
    return key if is_key(key) else None


class _Attempt:
    """One attempt to open a session: waits for the first message about it."""

    def __init__(self, subject: str, now: Callable[[], float]) -> None:
        self.subject = subject
        self.exchange = new_id()
        self.messages: list[tuple[bytes, Mapping[str, str]]] = []
        """What has arrived, with its headers. It stays empty if there is no instance."""
        self._now = now
        self._heard = now()
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def hear(self, payload: bytes, headers: Mapping[str, str]) -> None:
        self._heard = self._now()
        nobody = headers.get("Status") == _NO_RESPONDERS
        if SEQ in headers:
            self.messages.append((payload, headers))
        if not self._begun.done() and (nobody or (self.messages and not is_incomplete(headers.get(PART)))):
            self._begun.set_result(None)

    def fail(self, error: NotPermittedError) -> None:
        if not self._begun.done():
            self._begun.set_exception(error)

    async def begun(self) -> None:
        """Wait until the first message is there, or it is known that there is no instance.

        Raises:
            StorageError: nothing arrives for a long time, or nothing may be sent.
        """
        while not self._begun.done():
            left = self._heard + SILENT_SECONDS - self._now()
            if left <= 0:
                raise StorageError("The instance that opens the session does not respond; try again")
            await asyncio.wait({self._begun}, timeout=left)
        self._begun.result()
