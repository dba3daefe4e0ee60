"""The proxy on standard input and output, in front of a command or a URL: lines in, lines out."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from broker_plane.errors import UpstreamError
from broker_plane.proxy.command import READ_BYTES, STOP_SECONDS, Write
from broker_plane.proxy.connection import ProxyConnection
from broker_plane.proxy.lines import DEFAULT_LINE_BYTES, each_line
from broker_plane.proxy.messages import parse, wrong_with
from broker_plane.proxy.rules import ProxyRules
from broker_plane.proxy.upstream import Open, Upstream

log = logging.getLogger(__name__)

LAST_SECONDS = 60.0
"""How long to wait for answers of a URL after the client has closed its side."""


async def serve_upstream(rules: ProxyRules, open_upstream: Open, *, line_bytes: int = DEFAULT_LINE_BYTES) -> int:
    """Open an upstream and relay between it and this process's standard streams until one side ends; returns its exit
    code.

    Raises:
        UpstreamError: it cannot be started, or relaying failed.
    """
    async with open_upstream() as upstream:
        connection = ProxyConnection(rules, upstream.write, await _locked_output())
        reading = asyncio.create_task(
            each_line(standard_input(), connection.from_client, most=line_bytes, too_long=connection.long_from_client)
        )
        answering = asyncio.create_task(
            each_line(
                upstream.pieces(),
                connection.from_upstream,
                most=line_bytes,
                too_long=connection.long_from_upstream,
            )
        )
        try:
            await _relay(connection, upstream, reading, answering)
        except ConnectionError:
            pass  # the client has left
        finally:
            for task in (reading, answering):
                task.cancel()
            await asyncio.gather(reading, answering, return_exceptions=True)
    return upstream.code


async def _relay(
    connection: ProxyConnection, upstream: Upstream, reading: asyncio.Task[None], answering: asyncio.Task[None]
) -> None:
    """Relay until one side ends, then let the other finish."""
    await asyncio.wait([reading, answering], return_when=asyncio.FIRST_COMPLETED)
    if reading.done():
        # The client has closed its side; answers that are still outstanding are passed on.
        settled = asyncio.create_task(connection.settled(STOP_SECONDS))
        await asyncio.wait([settled, answering], return_when=asyncio.FIRST_COMPLETED)
        settled.cancel()
        upstream.close_input()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(answering), STOP_SECONDS)
    await connection.drain(STOP_SECONDS)
    raise_of(reading, answering)
    if answering.done():
        await connection.upstream_ended()


async def _locked_output() -> Write:
    """Writes whole lines to standard output, one at a time."""
    lock = asyncio.Lock()
    write = await standard_output()

    async def down(line: bytes) -> None:
        async with lock:
            await write(line)

    return down


async def serve_url(
    rules: ProxyRules, url: str, credentials: Mapping[str, str], *, line_bytes: int = DEFAULT_LINE_BYTES
) -> int:
    """ProxyRules between this process's standard streams and the server at `url` until the client leaves.

    `credentials` are headers of every request; a redirect to another origin is not followed.

    Raises:
        ConfigError: the URL is invalid, or must not get credentials. UpstreamError: relaying failed.
    """
    from broker_plane.proxy.remote import TIMEOUT, RemoteServer
    from broker_plane.proxy.upstream_http import client_for  # in front of a command no HTTP client is needed

    async def up(line: bytes) -> None:
        message = parse(line)
        wrong = "it is not valid JSON" if message is None else wrong_with(message)
        if message is None or wrong:
            await connection.refuse(line, f"This is not an MCP message: {wrong}")
        else:
            await remote.send(line, message)

    connection = ProxyConnection(rules, up, await _locked_output())
    async with client_for(url, TIMEOUT) as client:
        remote = RemoteServer(client, url, credentials, line_bytes, connection)
        try:
            await each_line(
                standard_input(), connection.from_client, most=line_bytes, too_long=connection.long_from_client
            )
            # The client has closed its side; answers that are still outstanding are passed on.
            await connection.settled(LAST_SECONDS)
        except ConnectionError:
            log.info("The client has left")
        finally:
            await remote.close()
    return 0


def raise_of(*tasks: asyncio.Task[None]) -> None:
    """Raise the error that ended one of the tasks."""
    for task in tasks:
        error = task.exception() if task.done() and not task.cancelled() else None
        if isinstance(error, ConnectionError):
            raise error
        if error is not None:
            raise UpstreamError(f"Relaying failed: {error!r}") from error


def _polls(fd: int) -> bool:
    """Whether an event loop can wait for it. It cannot for a file or /dev/null, for which uvloop ends the process."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


async def standard_input() -> AsyncIterator[bytes]:
    """The bytes of standard input as they arrive."""
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
    """A function that writes to standard output."""
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
