"""Reads responses under a limit: the server decides neither how much memory nor how much time they take.

Every short response of a bridge, a peer or an endpoint is read by `ask` or `read`. Decompression works in small pieces,
so that a decompression bomb costs no more than the limit.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Protocol

import httpx2
from backports import zstd

from broker_plane.errors import TooLargeError, WireError, WrongCompressionError
from broker_plane.wire.exact_json import MALFORMED, loads

MAX_REASON_BYTES = 64 * 1024
"""Maximum number of bytes of an error's body, and of a response that merely reports success."""

REASON_SECONDS = 5.0
"""How long to wait for the body of an error after its status."""

_PIECE_BYTES = 1 << 18
_INPUT_BYTES = 1 << 14
"""Input of a decompressor at once. Unused input is copied for each member, so the cost is quadratic in this number."""

_MAX_EMPTY = 1000
"""Maximum number of empty members in a row; each costs as much as one with data."""

_ALIASES = {"x-gzip": "gzip"}
_MAX_CODINGS = 3
_ZLIB_HEAD = 2
"""The number of bytes after which zlib recognizes its wrapper."""

_WINDOW_LOG = 23
"""8 MiB, the limit of RFC 9659 for zstd over HTTP: a frame can request much memory before its first byte."""


@dataclass(frozen=True, slots=True)
class ShortResponse:
    """A whole response. The content of a refusal is empty if it was too long or too slow."""

    status: int
    headers: httpx2.Headers
    content: bytes

    def json(self) -> Any:
        """The content as JSON. Raises WireError if it is not JSON."""
        try:
            return loads(self.content)
        except MALFORMED as error:
            raise WireError("The response is not JSON; is this a bridge?") from error


async def ask(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    most: int = MAX_REASON_BYTES,
    seconds: float,
    **request: Any,
) -> ShortResponse:
    """The response to one request, of up to `most` bytes; `seconds` limit its head, and again its body.

    Raises:
        TooLargeError, WrongCompressionError. httpx2.TransportError: also if it took too long.
    """
    response = await head(client, method, url, seconds=seconds, **request)
    try:
        if response.status_code >= 300:
            content = await read_reason(response)
        else:
            async with in_time(seconds):
                content = await read(response, most)
    finally:
        await response.aclose()
    return ShortResponse(response.status_code, response.headers, content)


async def head(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    seconds: float,
    content: AsyncGenerator[bytes, None] | bytes | None = None,
    **request: Any,
) -> httpx2.Response:
    """The head of a response, which has to arrive within `seconds`; the caller reads and closes its body.

    If `content` is a generator, `seconds` start after its end. The client's own time-outs do not suffice: a server may
    send any number of provisional responses (1xx), each of which restarts them.

    Raises:
        httpx2.TransportError: also if it took too long.
    """
    streams = isinstance(content, AsyncGenerator)
    async with in_time(None if streams else seconds) as clock:
        if not isinstance(content, AsyncGenerator):
            return await client.send(client.build_request(method, url, content=content, **request), stream=True)
        # A server may respond before it has read everything; the client then leaves the generator open.
        async with aclosing(then_timed(content, clock, seconds)) as timed:
            return await client.send(client.build_request(method, url, content=timed, **request), stream=True)


async def read(response: httpx2.Response, most: int) -> bytes:
    """The decoded content of a response whose body has not been read.

    Raises:
        TooLargeError: it exceeds `most` bytes. WrongCompressionError. httpx2.TransportError.
    """
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most:
        raise _too_large(most)
    content = bytearray()
    async with aclosing(decoded(response, most)) as pieces:
        async for piece in pieces:
            content += piece
            if len(content) > most:
                raise _too_large(most)
    return bytes(content)


async def decoded(response: httpx2.Response, most: int) -> AsyncGenerator[bytes, None]:
    """The decoded content in pieces of a response whose body has not been read.

    The caller limits the decoded size. Raises as `read`; TooLargeError only if the encoded size exceeds `most`.
    """
    expander, came = expander_of(response.headers.get("content-encoding", "")), 0
    async for raw in response.aiter_raw():
        came += len(raw)
        for piece in (raw,) if expander is None else expander.expand(raw):
            yield piece
        if came > most + _PIECE_BYTES:
            raise _too_large(most)


async def read_reason(response: httpx2.Response) -> bytes:
    """The body of a refusal; empty if it is too long or too slow.

    Raises:
        httpx2.TransportError: the connection broke.
    """
    try:
        async with asyncio.timeout(REASON_SECONDS):
            return await read(response, MAX_REASON_BYTES)
    except (TooLargeError, WrongCompressionError, TimeoutError):
        return b""


async def then_timed(
    content: AsyncGenerator[bytes, None], clock: asyncio.Timeout, seconds: float
) -> AsyncGenerator[bytes, None]:
    """`content`; after its end, `clock` has `seconds` left."""
    async with aclosing(content):
        async for piece in content:
            yield piece
    clock.reschedule(asyncio.get_running_loop().time() + seconds)


@asynccontextmanager
async def in_time(seconds: float | None) -> AsyncGenerator[asyncio.Timeout, None]:
    """Limit the block to `seconds`; the client's own time-outs restart with every byte.

    Raises:
        httpx2.ReadTimeout: the block took longer.
    """
    try:
        async with asyncio.timeout(seconds) as clock:
            yield clock
    except TimeoutError as error:
        raise httpx2.ReadTimeout("The response was not complete in time") from error


def no_cookies() -> CookieJar:
    """A jar that stores nothing. An ordinary jar would send cookies of one port to other ports of the host."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


class Decompressor(Protocol):
    def expand(self, data: bytes) -> Iterator[bytes]: ...


def expander_of(codings: str) -> Decompressor | None:
    """A decompressor for the codings of a Content-Encoding, the last one first; None if there are none.

    Raises:
        WrongCompressionError: one of them is not supported.
    """
    named = [coding.strip().lower() for coding in codings.split(",")]
    found = [Expander(_ALIASES.get(name, name)) for name in named if name not in ("", "identity")]
    if len(found) > _MAX_CODINGS:
        raise WrongCompressionError(f"The response has {len(found)} codings")
    return _Layers(found[::-1]) if len(found) > 1 else found[0] if found else None


class _Layers:
    """Several nested codings."""

    def __init__(self, layers: list[Expander]) -> None:
        self._layers = layers

    def expand(self, data: bytes) -> Iterator[bytes]:
        return self._through(data, 0)

    def _through(self, data: bytes, place: int) -> Iterator[bytes]:
        if place == len(self._layers):
            yield data
            return
        for piece in self._layers[place].expand(data):
            yield from self._through(piece, place + 1)


class Expander:
    """Decompresses one stream; several members or frames in a row are one stream."""

    def __init__(self, compression: str) -> None:
        if compression not in ("gzip", "deflate", "zstd"):
            raise WrongCompressionError(
                f"The response is compressed with {compression[:40]!r}, which was not requested"
            )
        self._compression = compression
        self._empty = 0
        self._head = b""
        self._undo = self._another()

    @property
    def whole(self) -> bool:
        return bool(self._undo.eof)

    def expand(self, data: bytes) -> Iterator[bytes]:
        """The decompressed `data`, in pieces of a bounded size.

        Raises:
            WrongCompressionError: it is not compressed this way.
        """
        for start in range(0, len(data), _INPUT_BYTES):
            yield from self._expand(data[start : start + _INPUT_BYTES])

    def _expand(self, data: bytes) -> Iterator[bytes]:
        while data or not self._undo.eof:
            if self._undo.eof:
                self._undo = self._another()
                self._empty += 1
                if self._empty > _MAX_EMPTY:
                    raise WrongCompressionError(f"The {self._compression} data has too many empty members")
            try:
                out = self._decompress(data)
            except (zlib.error, zstd.ZstdError) as error:
                raise WrongCompressionError(f"The response is not valid {self._compression}") from error
            # zlib returns the input it has not consumed; zstd keeps it.
            data = self._undo.unused_data if self._undo.eof else getattr(self._undo, "unconsumed_tail", b"")
            if out:
                self._empty = 0
                yield out
            if not data and len(out) < _PIECE_BYTES:
                return

    def _decompress(self, data: bytes) -> bytes:
        if self._compression != "deflate" or len(self._head) >= _ZLIB_HEAD:
            return bytes(self._undo.decompress(data, _PIECE_BYTES))
        self._head += data
        try:
            return bytes(self._undo.decompress(data, _PIECE_BYTES))
        except zlib.error:
            # Some servers send deflate without the zlib wrapper that RFC 9110, section 8.4.1.2, requires.
            self._undo = zlib.decompressobj(wbits=-15)
            return bytes(self._undo.decompress(self._head, _PIECE_BYTES))

    def _another(self) -> Any:
        if self._compression == "zstd":
            return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
        return zlib.decompressobj(wbits=31 if self._compression == "gzip" else 15)


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(f"The response exceeds {most} bytes")
