"""The proxy on standard input and output, before a server that is a command: lines in, lines out."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import orjson

from broker_plane.proxy.command import READ_BYTES, STOP_SECONDS, Write, each_line, running
from broker_plane.proxy.relay import Asked, Message, RefusedCall, Relay, is_answer, parse

_CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}


class StdioRelay:
    """Pairs requests with their answers on one duplex connection; what nobody rewrites passes byte for byte."""

    def __init__(self, relay: Relay, up: Write, down: Write) -> None:
        self._relay = relay
        self._up = up
        self._down = down
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
        if message["method"] == "notifications/cancelled":
            self._cancel((message.get("params") or {}).get("requestId"))
        if "id" in message:
            asked = self._relay.asked(message, self._version)
            if asked is not None:
                self._asked[message["id"]] = asked
            if self._relay.needs_change(message):
                self._start(message["id"], self._send_changed(message))
                return
        await self._up(line)

    async def from_upstream(self, line: bytes) -> None:
        """Take a line of the upstream's."""
        # Most lines are answers to calls that nobody rewrites; the first look is for an id that is waited for.
        message = parse(line) if self._asked else None
        if message is None or not is_answer(message):
            await self._down(line)
            return
        asked = self._asked.pop(message["id"], None)
        if asked is None:
            await self._down(line)
            return
        if asked.method == "initialize":
            self._greeted(message)
        if self._relay.concerns(asked, message, len(line)):
            self._start(message["id"], self._send_answered(asked, message))
            return
        await self._down(line)
        if self._relay.learn(asked, message) and self._tells:
            await self._down(orjson.dumps(_CHANGED) + b"\n")

    async def drain(self) -> None:
        """Wait for the answers that are being made."""
        while self._busy:
            await asyncio.wait(list(self._busy.values()))

    def _greeted(self, message: Message) -> None:
        result = message.get("result") or {}
        self._version = result.get("protocolVersion") or ""
        self._tells = bool(((result.get("capabilities") or {}).get("tools") or {}).get("listChanged"))

    def _start(self, key: Any, work: Any) -> None:
        """In a task of its own: a body under way holds no other message up."""
        task = asyncio.create_task(work)
        self._busy[key] = task
        task.add_done_callback(lambda done: self._busy.pop(key, None) if self._busy.get(key) is done else None)

    def _cancel(self, key: Any) -> None:
        self._asked.pop(key, None)
        if key in self._busy:
            self._busy[key].cancel()

    async def _send_changed(self, message: Message) -> None:
        try:
            changed = await self._relay.changed(message)
        except RefusedCall as refused:
            self._asked.pop(message["id"], None)
            await self._down(orjson.dumps(refused.answer) + b"\n")
        else:
            await self._up(orjson.dumps(changed) + b"\n")

    async def _send_answered(self, asked: Asked, message: Message) -> None:
        await self._down(orjson.dumps(await self._relay.answered(asked, message)) + b"\n")


async def serve_command(relay: Relay, command: Sequence[str]) -> int:
    """Run `command` and relay between it and this process's standard streams until one side ends; its exit code.

    Raises:
        UpstreamError: it cannot be started.
    """
    async with running(command) as upstream:
        lock = asyncio.Lock()
        write_down = await standard_output()

        async def down(line: bytes) -> None:
            async with lock:
                await write_down(line)

        pairing = StdioRelay(relay, upstream.write, down)
        reading = asyncio.create_task(each_line(standard_input(), pairing.from_client))
        answering = asyncio.create_task(each_line(upstream.pieces(), pairing.from_upstream))
        try:
            await asyncio.wait([reading, answering], return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                # The client said all it had to say; what the upstream still answers goes out.
                upstream.say_no_more()
                with suppress(TimeoutError):
                    await asyncio.wait_for(answering, STOP_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(pairing.drain(), STOP_SECONDS)
        finally:
            for task in (reading, answering):
                task.cancel()
    return upstream.code


def _polls(fd: int) -> bool:
    """Whether an event loop can wait for it; for a file or /dev/null it cannot, and uvloop ends the process there."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


async def standard_input() -> AsyncIterator[bytes]:
    """The bytes of standard input, as they come."""
    fd = os.dup(0)
    if not _polls(fd):
        while piece := await asyncio.to_thread(os.read, fd, READ_BYTES):
            yield piece
        return
    reader = asyncio.StreamReader(limit=READ_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(fd, "rb", 0))
    while piece := await reader.read(READ_BYTES):
        yield piece


async def standard_output() -> Write:
    """Writes to standard output."""
    loop = asyncio.get_running_loop()
    file = os.fdopen(os.dup(1), "wb", 0)
    if not _polls(1):

        async def plainly(line: bytes) -> None:
            await asyncio.to_thread(file.write, line)

        return plainly
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, file)
    writer = asyncio.StreamWriter(transport, protocol, None, loop)

    async def write(line: bytes) -> None:
        writer.write(line)
        await writer.drain()

    return write
