"""Relays one duplex connection: pairs requests with answers, and answers every request whatever either side sends."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any
from uuid import uuid4

from broker_plane.proxy.command import Write
from broker_plane.proxy.lines import LongLine
from broker_plane.proxy.messages import (
    Envelope,
    Message,
    Unread,
    envelope_of,
    failed_line,
    has_method,
    is_json,
    is_key,
    key_asked,
    key_in,
    key_of,
    mapping,
    params_of,
    parse,
)
from broker_plane.proxy.own_answers import AnsweredHere
from broker_plane.proxy.pending import PendingRequest
from broker_plane.proxy.rules import ProxyRules
from broker_plane.reading.clients import client_name
from broker_plane.wire import json_rpc
from broker_plane.wire.exact_json import dumps

log = logging.getLogger(__name__)

_CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
_HEAD_BYTES = 1024
_LIST_SECONDS = 30.0
_POLL_SECONDS = 0.02
LASTING = frozenset({"subscriptions/listen"})
"""Requests that are answered when the client unsubscribes."""
_OWN = "broker-plane-"
_NOT_MADE = "The proxy could not process %s (%s); it passes unchanged"


class ProxyConnection:
    """Pairs requests with their answers on one duplex connection; what is not rewritten passes byte for byte.

    Neither side is trusted to send valid messages: malformed lines pass or are refused, and every request is answered,
    with an error if the upstream's answer is malformed.
    """

    def __init__(self, rules: ProxyRules, up: Write, down: Write, *, strict: bool = False) -> None:
        """With `strict`, `down` accepts only messages that `parse` reads; other lines become errors."""
        self._rules = rules
        self._up = up
        self._down = down
        self._strict = strict
        self._own: dict[str, asyncio.Future[Any]] = {}
        """Our own requests to the upstream."""
        self._open: dict[Any, str] = {}
        """The methods of requests that wait for an answer, by their ids."""
        self._pending: dict[Any, PendingRequest] = {}
        self._busy: dict[Any, asyncio.Task[None]] = {}
        self._version = ""
        self._client = ""
        """The client's name, from the handshake."""
        self._announces_tools = False

    async def from_client(self, line: bytes) -> None:
        """Process a line from the client."""
        message = parse(line)
        if message is None or "method" not in message:
            await self._up(line)
            return
        key = message.get("id")
        if isinstance(key, (dict, list, bool)):
            await self._down(failed_line(None, "The id of a request is a text or a number", json_rpc.INVALID_REQUEST))
            return
        if message["method"] == "notifications/cancelled":
            self._cancel(params_of(message).get("requestId"))
        if is_key(key):
            self._open[key] = str(message["method"])
            if self._may_rewrite(message):
                self._start(key, self._send_changed(message, line))
                return
        await self._up(line)

    async def from_upstream(self, line: bytes) -> None:
        """Process a line from the upstream."""
        found = envelope_of(line) if self._open or self._own else None
        if isinstance(found, Envelope) and found.is_answer and isinstance(found.id, str) and found.id in self._own:
            self._own.pop(found.id).set_result(mapping(parse(line)).get("result"))
        elif isinstance(found, str):
            await self._unread(line, found)
        elif found is None or not found.is_answer or found.id is None:
            await self._down(line)
        elif not is_key(found.id):
            await self._fail_all("The server answered with an invalid id")
        elif self._open.pop(found.id, None) is None:
            await self._down(line)
        else:
            await self._answered(found, line)

    async def long_from_client(self, line: LongLine) -> None:
        """Refuse a line from the client that is too long."""
        said = f"The message has {line.size} bytes, more than BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES allows"
        log.warning("A message from the client was refused: %d bytes", line.size)
        await self._down(failed_line(key_in(line.head, line.tail), said, json_rpc.INVALID_REQUEST))

    async def long_from_upstream(self, line: LongLine) -> None:
        """Fail the request that an oversized line answers, or every request if the line does not show which."""
        said = f"The server sent a message of {line.size} bytes, more than BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES allows"
        log.warning("%s; it was dropped", said)
        key = key_in(line.head, line.tail)
        if has_method(line.head):
            if key is not None:
                await self._up(failed_line(key, said, json_rpc.INVALID_REQUEST))
        elif key in self._open:
            await self._fail(key, said)
        elif key is None:
            await self._fail_all(said)

    async def upstream_ended(self) -> None:
        """Fail all open requests: the upstream has ended."""
        for waiting in self._own.values():
            if not waiting.done():
                waiting.set_result(None)
        await self._fail_all("The server ended before it answered", quiet=True)

    async def refuse(self, line: bytes, said: str) -> None:
        """Refuse a line from the client."""
        key = key_asked(line)
        self._forget(key)
        log.warning("A message from the client was refused: %s", said)
        await self._down(failed_line(key, said, json_rpc.INVALID_REQUEST))

    @property
    def unsettled(self) -> bool:
        """Whether a request waits for its answer, apart from those that wait until the client unsubscribes."""
        return bool(self._busy) or not LASTING.issuperset(self._open.values())

    def waits(self, key: Any) -> bool:
        """Whether a request is waiting for its answer."""
        return key in self._open or key in self._own

    async def unanswered(self, key: Any, said: str) -> None:
        """Fail a request that will get no answer."""
        if key in self._own:
            self._own.pop(key).set_result(None)
        elif key in self._open:
            await self._fail(key, said)

    async def settled(self, seconds: float) -> None:
        """Wait up to `seconds` until every request is answered."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.unsettled:  # noqa: ASYNC110  # once, at the end
                    await asyncio.sleep(_POLL_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Wait up to `seconds` for the messages that are being rewritten."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._busy:
                    await asyncio.wait(list(self._busy.values()))

    def _may_rewrite(self, message: Message) -> bool:
        """Note what the answer to a request depends on; returns whether the request may be rewritten."""
        try:
            if message["method"] == "initialize":
                self._client = client_name(params_of(message).get("clientInfo"))
            pending = self._rules.pending(message, self._version, self._client)
            if pending is not None:
                self._pending[message["id"]] = pending
            return self._rules.may_rewrite(message)
        except Exception as error:  # noqa: BLE001  # no message may be lost
            log.warning(_NOT_MADE, "a request", repr(error))
            return False

    async def _answered(self, found: Envelope, line: bytes) -> None:
        """Pass on the answer to an open request, rewritten if the rules say so."""
        pending = self._pending.pop(found.id, None)
        if not found.answers:
            log.warning("The server's answer to a request is malformed; the request was answered with an error")
            await self._down(failed_line(found.id, "The server's answer is malformed"))
        elif pending is None or (message := parse(line)) is None:
            await self._down(line)
        else:
            await self._passed(pending, message, line)

    async def _passed(self, pending: PendingRequest, message: Message, line: bytes) -> None:
        try:
            if pending.method == "initialize":
                self._initialized(message)
            concerns = self._rules.rewrites(pending, message, len(line))
            learnt = not concerns and self._rules.learn_table(pending, message)
        except Exception as error:  # noqa: BLE001  # as above
            log.warning(_NOT_MADE, "an answer", repr(error))
            concerns = learnt = False
        if concerns:
            self._start(message["id"], self._send_answered(pending, message, line))
            return
        await self._down(line)
        if learnt and self._announces_tools:
            await self._down(dumps(_CHANGED) + b"\n")

    async def _unread(self, line: bytes, why: Unread) -> None:
        """Process a line that cannot be parsed. A deeply nested one may be a valid answer; a broken one is not."""
        key = key_of(line)
        readable = why == "too deep" or is_json(line)
        if key in self._open and (self._strict or not readable):
            log.warning("The server's answer to a request cannot be parsed; the request was answered with an error")
            await self._fail(key, "The server's answer is not valid JSON")
        elif key is None and self._strict and not readable and not has_method(line[:_HEAD_BYTES]):
            await self._fail_all("The server wrote a line that cannot be parsed")
        elif not self._strict:
            if key is not None:
                self._forget(key)
            await self._down(line)

    async def _listed(self, params: Message) -> Any:
        """Request a page of the upstream's tools."""
        key = f"{_OWN}{uuid4().hex}"
        answer = self._own[key] = asyncio.get_running_loop().create_future()
        request = {"jsonrpc": "2.0", "id": key, "method": "tools/list", "params": params}
        try:
            await self._up(dumps(request) + b"\n")
            return await asyncio.wait_for(answer, _LIST_SECONDS)
        except TimeoutError:
            log.warning("The server did not list its tools in time")
            return None
        finally:
            self._own.pop(key, None)

    async def _fail_all(self, said: str, *, quiet: bool = False) -> None:
        if self._open and not quiet:
            log.warning("%s; all %d open requests were answered with errors", said, len(self._open))
        for key in list(self._open):
            await self._fail(key, said)

    async def _fail(self, key: Any, said: str) -> None:
        self._forget(key)
        await self._down(failed_line(key, said))

    def _forget(self, key: Any) -> None:
        self._open.pop(key, None)
        self._pending.pop(key, None)

    def _initialized(self, message: Message) -> None:
        result = mapping(message.get("result"))
        version = result.get("protocolVersion")
        self._version = version if isinstance(version, str) else ""
        self._announces_tools = bool(mapping(mapping(result.get("capabilities")).get("tools")).get("listChanged"))

    def _start(self, key: Any, work: Any) -> None:
        """Run in a task of its own, so that a large body delays no other message."""
        task = asyncio.create_task(work)
        self._busy[key] = task
        task.add_done_callback(lambda done: self._busy.pop(key, None) if self._busy.get(key) is done else None)

    def _cancel(self, key: Any) -> None:
        if is_key(key):
            self._forget(key)
            if key in self._busy:
                self._busy[key].cancel()

    async def _send_changed(self, message: Message, line: bytes) -> None:
        try:
            made = await self._rules.rewritten_request(message, self._listed, self._client)
            changed = line if made is message else dumps(made) + b"\n"
        except AnsweredHere as here:
            self._forget(message["id"])
            await self._down(dumps(here.answer) + b"\n")
        except Exception as error:  # noqa: BLE001  # as above
            log.warning(_NOT_MADE, "a request", repr(error))
            await self._up(line)
        else:
            await self._up(changed)

    async def _send_answered(self, pending: PendingRequest, message: Message, line: bytes) -> None:
        try:
            answer = await self._rules.rewritten_answer(pending, message, self._listed)
            made = line if answer is message else dumps(answer) + b"\n"
        except Exception as error:  # noqa: BLE001  # as above
            log.warning(_NOT_MADE, "an answer", repr(error))
            made = line
        await self._down(made)
