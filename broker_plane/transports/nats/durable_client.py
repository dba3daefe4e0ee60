"""A client's side of durable requests: stored in JetStream by the client itself, and answered to its inbox.

The call goes on whatever ends meanwhile: its instance, nats-server, or this process, which finds it again by its
idempotency key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from broker_plane.broker.conditional import EXPECTED
from broker_plane.broker.errors import NO_RESPONDERS
from broker_plane.broker.messages import Message as NatsMessage
from broker_plane.broker.requests import Answer
from broker_plane.errors import (
    BrokerPlaneError,
    BrokerUnavailableError,
    ConflictError,
    KeyReusedError,
    NotPermittedError,
    StoreFullError,
)
from broker_plane.exchange.headers import LAST, PART, SEQ
from broker_plane.exchange.lines import error_answer
from broker_plane.exchange.messages import Said
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.messages import Message, refused_line
from broker_plane.transports.nats.call_batches import CallBatches
from broker_plane.transports.nats.client_link import ClientLink
from broker_plane.transports.nats.durable_call import CallMaker, DurableCall, why_not_stored
from broker_plane.transports.nats.replies import busy_line
from broker_plane.transports.nats.stored_cancellations import StoredCancellations
from broker_plane.transports.nats.wire_form import (
    DURABLE,
    HAVE,
    SILENT_SECONDS,
    STATE,
    Resume,
    is_busy,
    new_id,
)
from broker_plane.wire import json_rpc

log = redacted_logger(__name__)

_ACKNOWLEDGED_SECONDS = 5.0
_PAUSE_SECONDS = 1.0
"""Between two attempts to store a request, or to fetch what was lost."""
_LOST = (
    "The request has ended, and its answer is not stored any more (exchange_lost). Find out what it has done "
    "before you make it again under another key"
)
_LATE = "The request's deadline has passed, and no instance of the server has answered"
_FULL = (
    "The room for stored requests of this NATS is used up. Wait for calls to be answered and try again, call with "
    "durable=False, or enlarge the store (BROKER_PLANE_MAX_STORE_BYTES)"
)
_MOST_OPEN, _MOST_OPEN_BYTES = 10_000, 16 << 20
"""Calls of a client that are stored at once: the room for them is that of all clients of the plane."""

_MOST_RESUMED = 100
"""Requests that are resumed at once after the connection broke."""


class DurableClient:
    """Stores requests, and passes on what is said about them: each message once, in order."""

    def __init__(
        self,
        link: ClientLink,
        server: str,
        session: str,
        deliver: Callable[[bytes], None],
        *,
        scope: bytes,
        wait_seconds: float,
        deadline_seconds: float,
        most_bytes: int,
        nobody: Callable[[], str],
    ) -> None:
        """`scope` is a secret that makes idempotency keys this caller's own. Without room for a call, it is tried again
        for `wait_seconds`. `nobody` is the error if no instance has ever served. `deadline_seconds` is from when a
        request is stored; 0 is the default of the servers."""
        self._link = link
        self._names = link.connection.names
        self._server = server
        self._session = session
        self._deliver = deliver
        self._wait_seconds = wait_seconds
        self._stream_seconds = max(wait_seconds, link.connection.retry_seconds)
        """How long the stream may be away: a cluster elects a leader."""
        self._nobody = nobody
        self._now = asyncio.get_running_loop().time
        self._calls: dict[str, DurableCall] = {}
        """The calls, by the last token of their inboxes."""
        self._inboxes: dict[Any, str] = {}
        """That token, by the id of the request."""
        self._batches = CallBatches(self._now)
        self._cancellations = StoredCancellations(link.connection)
        self._maker = CallMaker(link.connection, server, scope, deadline_seconds, most_bytes, self._batches)
        self._open_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._warned = False

    @property
    def waits(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self._calls)

    async def send(self, line: bytes, message: Message) -> None:
        """Store a valid request; its messages are delivered later."""
        inbox = new_id()
        where = self._link.reply_headers(self._session, inbox, always=True)
        try:
            call = self._maker.call(line, message, inbox, where, self._now())
        except BrokerPlaneError as error:
            self._deliver(refused_line(message["id"], error))
            return
        is_full = len(self._calls) >= _MOST_OPEN or self._open_bytes + len(line) > _MOST_OPEN_BYTES
        self._calls[inbox], self._inboxes[call.id] = call, inbox
        self._open_bytes += len(call.line)
        if is_full:
            self._forget(inbox)
            self._deliver(busy_line(line) + b"\n")
            return
        if self._link.deaf is not None:
            self._fail(inbox, str(self._link.deaf))
        else:
            await self._store(inbox, call)

    async def cancel(self, key: Any) -> bool:
        """Cancel a request: nothing of it is delivered any more. False if there is none with this id."""
        inbox = self._inboxes.get(key)
        call = self._forget(inbox) if inbox is not None else None
        if call is None:
            return False
        if call.keyed and any(each.key == call.key for each in self._calls.values()):
            return True  # another caller of this client waits for the same request
        self._cancellations.begin(call)  # for an instance that claims it later; those that run learn it at once
        subject = self._names.mcp_subject(self._server, "cancel", call.key.session, call.key.exchange)
        try:
            await self._link.connection.publish(subject, b"", headers={DURABLE: "1"})
        except BrokerPlaneError as error:
            log.debug("A cancellation was not sent: %s", error)
        return True

    async def close(self) -> None:
        """Stop waiting. Calls without an idempotency key are cancelled: nobody could find them again."""
        for key, inbox in list(self._inboxes.items()):
            if self._calls[inbox].keyed:
                self._forget(inbox)
            else:
                await self.cancel(key)
        await self._cancellations.close()
        await self._say_got(everything=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def heard(self, inbox: str, message: NatsMessage) -> bool:
        """Process a message about a call; False if it is about something else."""
        call = self._calls.get(inbox)
        if call is None:
            return False
        headers = message.headers or {}
        if headers.get("Status"):
            self._warn()  # nobody has heard a question; the request is stored
            return True
        call.heard = self._now()
        if SEQ in headers:
            self._said(inbox, call, message.data, headers)
            if inbox not in self._calls and HAVE in headers:
                self._start(self._say_have(headers[HAVE]))
        elif STATE in headers:
            self._stands(inbox, call, headers[STATE])
        return True

    def broke(self) -> None:
        """Fetch again what may have been lost."""
        for call in self._calls.values():
            call.heard, call.resumed = min(call.heard, self._now() - SILENT_SECONDS), 0.0

    async def check(self) -> None:
        """Called every second: store what could not be stored, and fetch what may have been lost."""
        now, resumed = self._now(), 0
        for inbox, call in list(self._calls.items()):
            if self._is_late(call):
                self._fail(inbox, _LATE, "exchange_deadline")
            elif not call.stored:
                if call.answer is None and now - call.tried > _PAUSE_SECONDS:
                    await self._store(inbox, call)
                elif call.answer is not None and now - call.tried > _ACKNOWLEDGED_SECONDS:
                    call.answer.cancel()
                    call.answer = None
            elif now - call.heard >= SILENT_SECONDS and now - call.resumed > SILENT_SECONDS / 3:
                resumed += 1
                if resumed <= _MOST_RESUMED:
                    await self._resume(inbox, call)
        await self._say_got()

    def _is_late(self, call: DurableCall) -> bool:
        """Whether the deadline has passed, and no instance has said a word about the call since it was asked for it."""
        silent = self._now() - max(call.deadline, call.heard) > SILENT_SECONDS
        return silent and (not call.stored or call.heard < call.resumed < self._now() - SILENT_SECONDS / 3)

    # The request.

    async def _store(self, inbox: str, call: DurableCall) -> None:
        if call.tried:  # it may be stored already
            call.headers[EXPECTED] = "0"
        call.tried = self._now()
        try:
            call.answer = await self._link.connection.send(call.subject, call.line, call.headers)
        except BrokerUnavailableError:
            return  # `check` tries again
        except BrokerPlaneError as error:
            self._fail(inbox, str(error), error.code)
            return
        call.answer.add_done_callback(partial(self._acknowledged, inbox, call))

    def _acknowledged(self, inbox: str, call: DurableCall, answer: Answer) -> None:
        if answer is not call.answer or answer.cancelled() or self._calls.get(inbox) is not call:
            return
        call.answer = None
        error = why_not_stored(answer)
        if error is None:
            call.stored = call.acknowledged = True
        elif isinstance(error, ConflictError):
            call.stored = True
            if call.keyed:
                self._start(self._resume(inbox, call))
        elif isinstance(error, NotPermittedError):
            self._fail(inbox, str(self._link.not_permitted(self._server)), error.code)
        elif isinstance(error, StoreFullError):
            if self._now() - call.since > self._wait_seconds:  # else `check` tries again
                self._fail(inbox, _FULL, error.code)
        elif not isinstance(error, BrokerUnavailableError):
            self._fail(inbox, str(error), error.code if isinstance(error, BrokerPlaneError) else "")
        elif error.reason == NO_RESPONDERS and self._now() - call.since > self._stream_seconds:
            self._fail(inbox, self._nobody())  # there is no stream, so no instance has ever been there

    # What is said about it.

    def _said(self, inbox: str, call: DurableCall, payload: bytes, headers: Mapping[str, str]) -> None:
        part, number = headers.get(PART), headers[SEQ]
        line = payload if part is None else call.parts.take(payload, part)
        if line is None or not number.isdecimal():
            return
        if LAST in headers and is_busy(line) and self._is_put_off(call):
            return
        call.stored = True
        for said in call.received.take(Said(int(number), line, LAST in headers)):
            if shown := call.shown(said.line):
                self._deliver(shown + b"\n")
        if call.received.ended:
            self._forget(inbox)
        elif call.received.gap and self._now() - call.resumed > _PAUSE_SECONDS:
            self._start(self._resume(inbox, call))

    def _is_put_off(self, call: DurableCall) -> bool:
        """Whether a call that was refused for lack of a place is stored again later: nothing is stored of it now."""
        now = self._now()
        call.busy_since = call.busy_since or now
        if now - call.busy_since > self._wait_seconds:
            return False
        call.stored, call.tried = False, now
        return True

    async def _say_have(self, where: str) -> None:
        """Tell the instance that the answer has arrived, so that it need not be stored."""
        subject = self._names.mcp_subject(self._server, "have", *where.split(".")[:2])
        try:
            await self._link.connection.publish(subject, b"")
        except BrokerPlaneError as error:
            log.debug("An answer was not acknowledged: %s", error)

    def _stands(self, inbox: str, call: DurableCall, state: str) -> None:
        if state == "other":
            said = "Another request was made under this idempotency key; use another key"
            self._fail(inbox, said, KeyReusedError.code, json_rpc.INVALID_PARAMS)
        elif state == "lost":
            self._fail(inbox, _LOST, "exchange_lost")
        elif state == "unknown":
            call.stored = False  # it is stored again, if it was ever
            if call.received.after:
                said = "The request is not stored any more; it is unknown what became of it"
                self._fail(inbox, said, "exchange_lost")

    async def _resume(self, inbox: str, call: DurableCall) -> None:
        """Ask for what is stored, and for what follows."""
        call.resumed = self._now()
        reply = self._link.reply_subject(self._session, inbox)
        where = self._link.reply_headers(self._session, inbox, always=True)
        question = Resume(call.received.after, call.digest).pack()
        try:
            for verb in ("attach", "resume"):
                subject = self._names.mcp_subject(self._server, verb, call.key.session, call.key.exchange)
                await self._link.connection.publish(subject, question, reply=reply, headers=where)
        except BrokerPlaneError as error:
            log.debug("A call is resumed later: %s", error)

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning("No instance of the server %s is connected; calls wait until there is one", self._server)

    def _fail(self, inbox: str, said: str, code: str = "", number: int = json_rpc.INTERNAL_ERROR) -> None:
        """Answer a call with an error of this `number`, and of this `code`, which is in its `data`."""
        call = self._forget(inbox)
        if call is not None:
            data = {"code": code} if code else None
            self._deliver(error_answer(call.id, number, said, data) + b"\n")

    def _forget(self, inbox: str) -> DurableCall | None:
        call = self._calls.pop(inbox, None)
        if call is not None:
            self._open_bytes -= len(call.line)
            self._inboxes.pop(call.id, None)
            if not call.keyed:
                self._batches.end(call.key.session, call.key.exchange)
        return call

    async def _say_got(self, *, everything: bool = False) -> None:
        """Say which batches are finished, so that what is stored of them is removed."""
        for session in self._batches.finished(everything=everything):
            try:
                await self._link.connection.publish(self._names.mcp_subject(self._server, "got", session), b"")
            except BrokerPlaneError:
                return  # it expires

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
