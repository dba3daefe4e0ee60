"""Carries out the calls of generated code in the host's process. Every argument is checked: the code may be hostile."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin

from broker_plane.sandbox import child
from broker_plane.sandbox.host_api import MAX_ARGUMENT_BYTES, MAX_RECEIVE_BYTES, SIGNATURES
from broker_plane.sandbox.ports import Door, DoorFailedError, DoorRefusedError, RunLimits, Sink

ErrorKind = Literal["PermissionError", "OSError", "TypeError", "ValueError", "NameError"]

LOCAL: Final = frozenset({"unpack", "pack", "emit", "now"})
"""Functions that wait for nothing, and that any thread may call while nothing else is called."""

_PIECE_BYTES: Final = 1 << 20
_GATHERED_BYTES: Final = 64 << 10
"""Small pieces are put together up to this size before the sink gets them."""

_PIECE_COST: Final = 64
"""Bytes that a piece uses besides its own, so that empty ones count too."""

_MAX_HEADERS: Final = 256
_MAX_HEADER_CHARACTERS: Final = 1 << 20


class CallError(Exception):
    """A call failed; the code gets a built-in exception of this kind with this message, and may handle it."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class LimitExceededError(Exception):
    """The run exceeded a limit and must end; the message says which one."""


class HostFunctions:
    """The host's side of one run: its calls, what it emitted, and the handles that it has open."""

    def __init__(self, door: Door, sink: Sink, limits: RunLimits) -> None:
        self.emitted_bytes = 0
        self._door = door
        self._sink = sink
        self._limits = limits
        self._requests = 0
        self._handles: set[int] = set()
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._waiting: dict[str, Callable[..., Awaitable[Any]]] = {
            "fetch": self._fetch,
            "open_url": self._open_url,
            "connect": self._connect,
            "send": self._send,
            "receive": self._receive,
            "close": self._close,
            "hmac_sha256": self._hmac_sha256,
            "sleep": self._sleep,
        }

    async def call(self, name: str, values: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """Carry out one call; the result consists of None, bool, int, float, str, bytes, list and dict.

        Raises:
            CallError: the code gets this. LimitExceededError: the run must end. Errors of the sink are not caught.
        """
        if self.flush_due:
            await self.flush()
        if name in LOCAL:
            result = self.call_local(name, values, named)
            if self.flush_due:
                await self.flush()
            return result
        arguments = bound(name, values, named)
        try:
            return await self._waiting[name](*arguments)
        except DoorRefusedError as error:
            raise CallError("PermissionError", str(error)) from error
        except DoorFailedError as error:
            raise CallError("OSError", str(error)) from error

    def call_local(self, name: str, values: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """As `call`, for a function of LOCAL. The sink gets the bytes at the next `call` or `flush`."""
        arguments = bound(name, values, named)
        if name == "now":
            return int(time.time())
        if name == "emit":
            return self._emit(*arguments)
        try:
            return child.unpack(*arguments) if name == "unpack" else child.pack(*arguments)
        except (TypeError, ValueError) as error:
            raise CallError("ValueError" if isinstance(error, ValueError) else "TypeError", str(error)) from error

    @property
    def flush_due(self) -> bool:
        """Whether so much was emitted that the sink must get it before the code goes on."""
        return self._gathered_bytes >= _GATHERED_BYTES

    async def flush(self) -> None:
        """Hand to the sink what it has not got yet. Raises what the sink raises."""
        whole = b"".join(self._gathered)
        self._gathered.clear()
        self._gathered_bytes = 0
        for start in range(0, len(whole), _PIECE_BYTES):
            await self._sink.write(whole[start : start + _PIECE_BYTES])

    async def aclose(self) -> None:
        """Close the handles that the code left open."""
        for handle in self._handles:
            with suppress(DoorFailedError, DoorRefusedError):
                await self._door.close(handle)
        self._handles.clear()

    def _emit(self, data: bytes) -> None:
        if self.emitted_bytes + len(data) > self._limits.output_bytes:
            raise LimitExceededError(f"it emitted more than {self._limits.output_bytes} bytes")
        self.emitted_bytes += len(data)
        self._gathered.append(data)
        self._gathered_bytes += len(data) + _PIECE_COST

    async def _hmac_sha256(self, message: bytes) -> bytes:
        return self._door.hmac_sha256(message)

    async def _fetch(self, url: str, method: str, headers: Mapping[str, str] | None, body: bytes) -> dict[str, Any]:
        self._count_request()
        response = await self._door.fetch(method, url, headers or {}, body)
        return {"status": response.status, "headers": dict(response.headers), "body": response.body}

    async def _open_url(self, url: str, method: str, headers: Mapping[str, str] | None, body: bytes) -> dict[str, Any]:
        self._count_request()
        handle, status, found = await self._door.open(method, url, headers or {}, body)
        self._handles.add(handle)
        return {"handle": handle, "status": status, "headers": dict(found)}

    async def _connect(self, host: str, port: int, tls: bool) -> int:
        self._count_request()
        if not 0 < port < 1 << 16:
            raise CallError("ValueError", "connect: port must be between 1 and 65535")
        handle = await self._door.connect(host, port, tls)
        self._handles.add(handle)
        return handle

    async def _send(self, handle: int, data: bytes) -> None:
        self._count_request()
        await self._door.send(self._own(handle), data)

    async def _receive(self, handle: int, at_most: int) -> bytes:
        if not 0 < at_most <= MAX_RECEIVE_BYTES:
            raise CallError("ValueError", f"receive: at_most must be between 1 and {MAX_RECEIVE_BYTES}")
        return await self._door.receive(self._own(handle), at_most)

    async def _close(self, handle: int) -> None:
        if handle in self._handles:
            self._handles.discard(handle)
            await self._door.close(handle)

    async def _sleep(self, seconds: float) -> None:
        if not 0 <= seconds < math.inf:
            raise CallError("ValueError", "sleep: seconds must be a number from 0 on")
        # Longer than the run may take is as good as forever, and asyncio refuses the largest numbers.
        await asyncio.sleep(min(seconds, self._limits.seconds + 1))

    def _own(self, handle: int) -> int:
        if handle not in self._handles:
            raise CallError("ValueError", "this handle is not open")
        return handle

    def _count_request(self) -> None:
        self._requests += 1
        if self._requests > self._limits.requests:
            raise LimitExceededError(f"it made more than {self._limits.requests} requests")


def bound(name: str, values: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arguments of a call in order, with defaults.

    Raises:
        CallError: there is no such function, or an argument is missing, unknown, too large or of another type.
    """
    signature = SIGNATURES.get(name)
    if signature is None:
        raise CallError("NameError", f"name {name[:100]!r} is not defined")
    try:
        found = signature.bind(*values, **named)
    except TypeError as error:
        raise CallError("TypeError", f"{name}: {error}") from error
    found.apply_defaults()
    for parameter, value in found.arguments.items():
        wanted = signature.parameters[parameter].annotation
        if not _is_of(value, wanted):
            expected = getattr(wanted, "__name__", "a dict of str to str")
            raise CallError("TypeError", f"{name}: {parameter} must be {expected}, not {type(value).__name__}")
        if not _is_text(value):
            raise CallError("ValueError", f"{name}: {parameter} has a lone surrogate")
    size = sum(len(value) for value in found.arguments.values() if isinstance(value, str | bytes))
    if size > MAX_ARGUMENT_BYTES and name != "emit":
        raise CallError("ValueError", f"{name}: the arguments have more than {MAX_ARGUMENT_BYTES} bytes")
    return found.args


def _is_text(value: Any) -> bool:
    """Whether all text in it can be encoded: whatever the door hands it to may otherwise raise anything."""
    if isinstance(value, dict):
        return all(_is_text(each) for item in value.items() for each in item)
    try:
        return not isinstance(value, str) or value.encode() is not None
    except UnicodeEncodeError:
        return False


def _is_of(value: Any, wanted: Any) -> bool:
    if wanted is Any:
        return True
    if isinstance(wanted, UnionType):
        return any(_is_of(value, each) for each in get_args(wanted))
    if get_origin(wanted) is not None:  # a Mapping[str, str]
        return (
            isinstance(value, dict)
            and len(value) <= _MAX_HEADERS
            and all(isinstance(each, str) for item in value.items() for each in item)
            and sum(len(each) for item in value.items() for each in item) <= _MAX_HEADER_CHARACTERS
        )
    if wanted is float:
        wanted = int | float
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
