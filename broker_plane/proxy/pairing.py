"""Requests and answers of one connection, paired: neither side is believed to send messages, and each is answered."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any
from uuid import uuid4

import mcp_types as types

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
from broker_plane.proxy.relay import Asked, RefusedCall, Relay
from broker_plane.wire.exact_json import dumps

log = logging.getLogger(__name__)

_CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
_LOOKED_AT = 1024
_LIST_SECONDS = 30.0
_LOOK_SECONDS = 0.02
LASTING = frozenset({"subscriptions/listen"})
"""Requests that are answered when the client has heard enough."""
_OWN = "broker-plane-"
_NOT_MADE = "The proxy could not look into %s (%s); it passes as it is"


class StdioRelay:
    """Pairs requests with their answers on one duplex connection; what nobody rewrites passes byte for byte.

    Neither side is believed to send messages: what has not the form of one passes or is refused, and every request is
    answered, by an error where the upstream's answer is none.
    """

    def __init__(self, relay: Relay, up: Write, down: Write, *, strict: bool = False) -> None:
        """With `strict`, `down` takes nothing but messages that `parse` reads: what it cannot read is an error."""
        self._relay = relay
        self._up = up
        self._down = down
        self._strict = strict
        self._own: dict[str, asyncio.Future[Any]] = {}
        """Our own requests to the upstream."""
        self._open: dict[Any, str] = {}
        """The methods of requests that wait for an answer, by their ids."""
        self._asked: dict[Any, Asked] = {}
        self._busy: dict[Any, asyncio.Task[None]] = {}
        self._version = ""
        self._tells = False

    async def from_client(self, line: bytes) -> None:
        """Take a line of the client's."""
        message = parse(line)
        if message is None or "method" not in message:
            await self._up(line)
            return
        key = message.get("id")
        if isinstance(key, (dict, list, bool)):
            await self._down(failed_line(None, "The id of a request is a text or a number", types.INVALID_REQUEST))
            return
        if message["method"] == "notifications/cancelled":
            self._cancel(params_of(message).get("requestId"))
        if is_key(key):
            self._open[key] = str(message["method"])
            if self._looked_at(message):
                self._start(key, self._send_changed(message, line))
                return
        await self._up(line)

    async def from_upstream(self, line: bytes) -> None:
        """Take a line of the upstream's."""
        found = envelope_of(line) if self._open or self._own else None
        if isinstance(found, Envelope) and found.is_answer and isinstance(found.id, str) and found.id in self._own:
            self._own.pop(found.id).set_result(mapping(parse(line)).get("result"))
        elif isinstance(found, str):
            await self._unread(line, found)
        elif found is None or not found.is_answer or found.id is None:
            await self._down(line)
        elif not is_key(found.id):
            await self._fail_all("The server answered with an id that is none")
        elif self._open.pop(found.id, None) is None:
            await self._down(line)
        else:
            await self._answered(found, line)

    async def long_from_client(self, line: LongLine) -> None:
        """A line of the client's was too long to be passed on."""
        said = f"The message has {line.size} bytes, more than BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES allows"
        log.warning("A message of the client's was refused: %d bytes", line.size)
        await self._down(failed_line(key_in(line.head, line.tail), said, types.INVALID_REQUEST))

    async def long_from_upstream(self, line: LongLine) -> None:
        """A line of the upstream's was too long. Whose answer it was cannot always be told: then it may be anyone's."""
        said = f"The server sent a message of {line.size} bytes, more than BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES allows"
        log.warning("%s; it was dropped", said)
        key = key_in(line.head, line.tail)
        if has_method(line.head):
            if key is not None:
                await self._up(failed_line(key, said, types.INVALID_REQUEST))
        elif key in self._open:
            await self._fail(key, said)
        elif key is None:
            await self._fail_all(said)

    async def upstream_ended(self) -> None:
        """No answer comes any more."""
        for waiting in self._own.values():
            if not waiting.done():
                waiting.set_result(None)
        await self._fail_all("The server ended before it answered", quiet=True)

    async def refuse(self, line: bytes, said: str) -> None:
        """A line of the client's does not go up."""
        key = key_asked(line)
        self._forget(key)
        log.warning("A message of the client's was refused: %s", said)
        await self._down(failed_line(key, said, types.INVALID_REQUEST))

    def waits(self, key: Any) -> bool:
        """Whether a request waits for its answer."""
        return key in self._open or key in self._own

    async def unanswered(self, key: Any, said: str) -> None:
        """No answer comes to a request."""
        if key in self._own:
            self._own.pop(key).set_result(None)
        elif key in self._open:
            await self._fail(key, said)

    async def settled(self, seconds: float) -> None:
        """Wait until every request is answered, but no longer than `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._busy or not LASTING.issuperset(self._open.values()):  # noqa: ASYNC110  # once, at the end
                    await asyncio.sleep(_LOOK_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Wait for the messages that are being made, but no longer than `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._busy:
                    await asyncio.wait(list(self._busy.values()))

    def _looked_at(self, message: Message) -> bool:
        """Note what the answer to a request depends on; whether the request itself is changed."""
        try:
            asked = self._relay.asked(message, self._version)
            if asked is not None:
                self._asked[message["id"]] = asked
            return self._relay.needs_change(message)
        except Exception as error:  # noqa: BLE001  # whatever a message does to us, it passes
            log.warning(_NOT_MADE, "a request", repr(error))
            return False

    async def _answered(self, found: Envelope, line: bytes) -> None:
        """Pass on the answer to an open request, or what becomes of it."""
        asked = self._asked.pop(found.id, None)
        if not found.answers:
            log.warning("The server's answer to a request has not the form of one; it was answered by an error")
            await self._down(failed_line(found.id, "The server's answer has not the form of one"))
        elif asked is None or (message := parse(line)) is None:
            await self._down(line)
        else:
            await self._passed(asked, message, line)

    async def _passed(self, asked: Asked, message: Message, line: bytes) -> None:
        try:
            if asked.method == "initialize":
                self._greeted(message)
            concerns = self._relay.concerns(asked, message, len(line))
            learnt = not concerns and self._relay.learn(asked, message)
        except Exception as error:  # noqa: BLE001  # as above
            log.warning(_NOT_MADE, "an answer", repr(error))
            concerns = learnt = False
        if concerns:
            self._start(message["id"], self._send_answered(asked, message, line))
            return
        await self._down(line)
        if learnt and self._tells:
            await self._down(dumps(_CHANGED) + b"\n")

    async def _unread(self, line: bytes, why: Unread) -> None:
        """A line that nobody here can read: one that is cut or broken is no answer, one that is deep may be."""
        key = key_of(line)
        readable = why == "too deep" or is_json(line)
        if key in self._open and (self._strict or not readable):
            log.warning("The server's answer to a request cannot be read; it was answered by an error")
            await self._fail(key, "The server's answer is no JSON that can be read")
        elif key is None and self._strict and not readable and not has_method(line[:_LOOKED_AT]):
            await self._fail_all("The server wrote a line that cannot be read")
        elif not self._strict:
            if key is not None:
                self._forget(key)
            await self._down(line)

    async def _listed(self, params: Message) -> Any:
        """A page of the upstream's tools, for ourselves."""
        key = f"{_OWN}{uuid4().hex}"
        answer = self._own[key] = asyncio.get_running_loop().create_future()
        asked = {"jsonrpc": "2.0", "id": key, "method": "tools/list", "params": params}
        try:
            await self._up(dumps(asked) + b"\n")
            return await asyncio.wait_for(answer, _LIST_SECONDS)
        except TimeoutError:
            log.warning("The server did not list its tools in time")
            return None
        finally:
            self._own.pop(key, None)

    async def _fail_all(self, said: str, *, quiet: bool = False) -> None:
        if self._open and not quiet:
            log.warning("%s; all %d open requests were answered by errors", said, len(self._open))
        for key in list(self._open):
            await self._fail(key, said)

    async def _fail(self, key: Any, said: str) -> None:
        self._forget(key)
        await self._down(failed_line(key, said))

    def _forget(self, key: Any) -> None:
        self._open.pop(key, None)
        self._asked.pop(key, None)

    def _greeted(self, message: Message) -> None:
        result = mapping(message.get("result"))
        version = result.get("protocolVersion")
        self._version = version if isinstance(version, str) else ""
        self._tells = bool(mapping(mapping(result.get("capabilities")).get("tools")).get("listChanged"))

    def _start(self, key: Any, work: Any) -> None:
        """In a task of its own: a body under way holds no other message up."""
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
            made = await self._relay.changed(message, self._listed)
            changed = line if made is message else dumps(made) + b"\n"
        except RefusedCall as refused:
            self._forget(message["id"])
            await self._down(dumps(refused.answer) + b"\n")
        except Exception as error:  # noqa: BLE001  # as above
            log.warning(_NOT_MADE, "a request", repr(error))
            await self._up(line)
        else:
            await self._up(changed)

    async def _send_answered(self, asked: Asked, message: Message, line: bytes) -> None:
        try:
            answer = await self._relay.answered(asked, message, self._listed)
            made = line if answer is message else dumps(answer) + b"\n"
        except Exception as error:  # noqa: BLE001  # as above
            log.warning(_NOT_MADE, "an answer", repr(error))
            made = line
        await self._down(made)
