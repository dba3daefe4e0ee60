"""The proxy on standard input and output, before a server that is a command: lines in, lines out."""

from __future__ import annotations

import asyncio
import os
import stat
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import orjson

from broker_plane.errors import UpstreamError
from broker_plane.proxy.relay import Asked, Message, RefusedCall, Relay, is_answer, parse

_STOP_SECONDS = 5.0
_READ_BYTES = 1 << 20

Write = Callable[[bytes], Awaitable[None]]
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
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=_READ_BYTES)
    except OSError as error:
        raise UpstreamError(f"{command[0]} cannot be started: {error.strerror or error}") from error
    assert process.stdin is not None and process.stdout is not None  # noqa: S101  # both are pipes
    up_lock, down_lock = asyncio.Lock(), asyncio.Lock()
    stdin = process.stdin
    write_down = await standard_output()

    async def up(line: bytes) -> None:
        async with up_lock:
            stdin.write(line)
            with suppress(ConnectionError):
                await stdin.drain()

    async def down(line: bytes) -> None:
        async with down_lock:
            await write_down(line)

    pairing = StdioRelay(relay, up, down)
    reading = asyncio.create_task(each_line(standard_input(), pairing.from_client))
    answering = asyncio.create_task(each_line(pieces_of(process.stdout), pairing.from_upstream))
    try:
        await asyncio.wait([reading, answering], return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            # The client said all it had to say; what the upstream still answers goes out.
            stdin.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(answering, _STOP_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(pairing.drain(), _STOP_SECONDS)
    finally:
        for task in (reading, answering):
            task.cancel()
        code = await _ended(process)
    return code


async def _ended(process: Process) -> int:
    """The exit code; whoever does not end by itself is told to."""
    if process.stdin is not None:
        process.stdin.close()
    for stop in (None, process.terminate, process.kill):
        if stop is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                stop()
        with suppress(TimeoutError):
            return await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    return process.returncode or 0


async def each_line(source: AsyncIterator[bytes], take: Callable[[bytes], Awaitable[None]]) -> None:
    """Every line, however long; asyncio's own `readline` has a limit."""
    pieces: list[bytes] = []
    async for piece in source:
        *ended, rest = piece.split(b"\n")
        for line in ended:
            whole = b"".join([*pieces, line])
            pieces.clear()
            if whole.strip():
                await take(whole + b"\n")
        if rest:
            pieces.append(rest)
    if pieces:
        await take(b"".join(pieces) + b"\n")


def _polls(fd: int) -> bool:
    """Whether an event loop can wait for it; for a file or /dev/null it cannot, and uvloop ends the process there."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


async def standard_input() -> AsyncIterator[bytes]:
    """The bytes of standard input, as they come."""
    fd = os.dup(0)
    if not _polls(fd):
        while piece := await asyncio.to_thread(os.read, fd, _READ_BYTES):
            yield piece
        return
    reader = asyncio.StreamReader(limit=_READ_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(fd, "rb", 0))
    while piece := await reader.read(_READ_BYTES):
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


async def pieces_of(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while piece := await reader.read(_READ_BYTES):
        yield piece
