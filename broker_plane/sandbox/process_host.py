"""The host's side of the pipes to a process rung; `child.py` is the other one, and describes the frames.

From the moment it runs the code, the child is hostile: sizes are checked before memory is taken, and whatever it sends
can only call the functions of `host_functions.py` or end the run.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import suppress
from math import ceil
from typing import Any, Final

from broker_plane.sandbox.child import (
    CALL,
    EMIT,
    END,
    ERROR,
    HEAD,
    JOB,
    MAX_BLOB_BYTES,
    MAX_EMIT_BYTES,
    MAX_RAISED_CHARACTERS,
    MAX_TEXT_BYTES,
    READY,
    RESULT,
    encode,
)
from broker_plane.sandbox.host_api import SIGNATURES
from broker_plane.sandbox.host_functions import CallError, HostFunctions
from broker_plane.sandbox.ports import Job, RunLimits, Status
from broker_plane.sandbox.run_frame import Ending, Printed
from broker_plane.wire import exact_json

READ_AHEAD_BYTES: Final = 1 << 20
"""Bytes that a StreamReader over the child's pipe should hold (its `limit`)."""

PYTHON_BYTES: Final = 48 << 20
"""Address space that Python takes before it runs the code."""

_GRACE_SECONDS: Final = 2
_END_SECONDS: Final = 10.0
_PRINT_READ_BYTES: Final = 1 << 16
_MAX_NAME_CHARACTERS: Final = 100
_STATUSES: Final[Mapping[str, Status]] = {"ok": "ok", "failed": "failed", "refused": "refused", "limit": "limit"}


class BrokenProtocolError(Exception):
    """The child sent something that is not a frame, or not one that it may send."""


class ChildEndedError(Exception):
    """The child closed its pipe before it said how the code ended."""


async def converse(
    source: StreamReader,
    target: StreamWriter,
    errors: StreamReader,
    job: Job,
    functions: HostFunctions,
    printed: Printed,
) -> Ending:
    """Give the job to a child that has just started, and carry out its calls until it says how the code ended.

    `source` and `target` are its standard output and input, `errors` its standard error. The caller kills it then.

    Raises:
        ChildEndedError: it ended without a word. LimitExceededError. Errors of the sink are not caught.
    """
    printing = asyncio.create_task(_keep_printed(errors, printed))
    talking = asyncio.create_task(_talk(source, target, job, functions))
    try:
        await asyncio.wait((printing, talking), return_when=asyncio.FIRST_COMPLETED)
        if printing.done():
            printing.result()
        ending = await talking
        await printing  # all that it printed before its end
        return ending
    except BrokenProtocolError as error:
        return Ending("refused", f"The code wrote into the pipe to its host: {error}")
    finally:
        for task in (printing, talking):
            task.cancel()
        await asyncio.gather(printing, talking, return_exceptions=True)


async def _keep_printed(errors: StreamReader, printed: Printed) -> None:
    while piece := await errors.read(_PRINT_READ_BYTES):
        printed.add(piece.decode(errors="backslashreplace"))


async def _talk(source: StreamReader, target: StreamWriter, job: Job, functions: HostFunctions) -> Ending:
    try:
        # Not before: a sandbox that is being set up may outlive its host for a moment, and must have no code then.
        kind, _, _ = await _receive(source)
        if kind != READY:
            raise BrokenProtocolError(f"the first frame is {kind!r}")
        await _send(target, JOB, _job_message(job))
        while True:
            kind, text, blobs = await _receive(source)
            if kind == EMIT:
                await functions.call("emit", (blobs,), {})
            elif kind == CALL:
                await _answer(target, _value(text, blobs), functions)
            elif kind == END:
                return _ending(_value(text, blobs))
            else:
                raise BrokenProtocolError(f"no frame begins with {kind!r}")
    except asyncio.IncompleteReadError as error:
        raise ChildEndedError from error


async def _answer(target: StreamWriter, call: Any, functions: HostFunctions) -> None:
    match call:
        case {"name": str(name), "values": list(values), "named": dict(named)} if len(name) <= _MAX_NAME_CHARACTERS:
            pass
        case _:
            raise BrokenProtocolError("a call has another form")
    try:
        result = await functions.call(name, values, named)
    except CallError as error:
        await _send(target, ERROR, {"kind": error.kind, "message": str(error)})
    else:
        await _send(target, RESULT, result)


async def _send(target: StreamWriter, kind: bytes, value: Any) -> None:
    with suppress(ConnectionError):  # then reading says that it has ended
        target.write(encode(kind, value, secrets.token_hex(8)))
        await target.drain()


async def _receive(source: StreamReader) -> tuple[bytes, bytes, bytes]:
    """The next frame: kind, JSON text, bytes."""
    kind, text_size, blob_size = HEAD.unpack(await source.readexactly(HEAD.size))
    most = MAX_EMIT_BYTES if kind == EMIT else MAX_BLOB_BYTES
    if text_size > MAX_TEXT_BYTES or blob_size > most or (kind == EMIT and text_size):
        raise BrokenProtocolError("a frame is too large")
    text = await source.readexactly(text_size) if text_size else b""
    return kind, text, await source.readexactly(blob_size) if blob_size else b""


def _value(text: bytes, blobs: bytes) -> Any:
    """The value of a frame, with the bytes in their places."""
    try:
        match exact_json.loads(text):
            case {"mark": str(mark), "sizes": list(sizes), "value": value}:
                return _restored(value, mark, _pieces(sizes, blobs))
        raise BrokenProtocolError("a frame has another form")
    except (*exact_json.MALFORMED, RecursionError) as error:
        raise BrokenProtocolError("the text of a frame is not JSON") from error


def _pieces(sizes: list[Any], blobs: bytes) -> list[bytes]:
    pieces, start = [], 0
    for size in sizes:
        if type(size) is not int or not 0 <= size <= len(blobs) - start:
            raise BrokenProtocolError("the sizes in a frame are wrong")
        pieces.append(blobs[start : start + size])
        start += size
    return pieces


def _restored(value: Any, mark: str, pieces: list[bytes]) -> Any:
    match value:
        case dict():
            if mark not in value:
                return {key: _restored(each, mark, pieces) for key, each in value.items()}
            place = value[mark]
            if type(place) is not int or not 0 <= place < len(pieces):
                raise BrokenProtocolError("a frame names bytes that it does not have")
            return pieces[place]
        case list():
            return [_restored(each, mark, pieces) for each in value]
    return value


def _ending(said: Any) -> Ending:
    match said:
        case {"status": str(status), "raised": str(raised)} if status in _STATUSES:
            return Ending(_STATUSES[status], raised[-MAX_RAISED_CHARACTERS:])
    raise BrokenProtocolError("the end has another form")


def _job_message(job: Job) -> dict[str, Any]:
    return {
        "source": job.source,
        "inputs": dict(job.inputs),
        "functions": list(SIGNATURES),
        "limits": kernel_limits(job.limits),
    }


def kernel_limits(limits: RunLimits) -> dict[str, int]:
    """The limits that the child sets for itself before it runs the code."""
    return {
        "memory_bytes": limits.memory_bytes + PYTHON_BYTES,
        "cpu_seconds": ceil(limits.seconds) + _GRACE_SECONDS,
    }


async def let_go(process: Process) -> None:
    """Wait for a process that was killed, and close its pipes."""
    if process.stdin is not None:
        process.stdin.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            for pipe in (process.stdout, process.stderr):
                while pipe is not None and await pipe.read(READ_AHEAD_BYTES):
                    pass  # a pipe closes at its end, and not before
            await process.wait()


def ending_of(returncode: int | None) -> Ending:
    """How code ended that took its process with it, from the exit code (128 + signal, or -signal)."""
    number = -returncode if returncode is not None and returncode < 0 else (returncode or 0) - 128
    if number == signal.SIGXCPU:
        return Ending("limit", "Limit exceeded: it used more CPU time than it may")
    said = f"signal {number}" if number > 0 else f"exit code {returncode}"
    return Ending("failed", f"The process of the code ended before the code did ({said})")
