"""Answers are read under a cap: whoever answers decides neither how much memory that takes nor how long it lasts.

Every short answer of a bridge, a peer or an endpoint comes through `ask` or `read`. Compression is undone in small
pieces, so that a bomb costs no more than the cap.
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

MOST_REASON_BYTES = 64 * 1024
"""Of an error's body, and of any answer that only says that something was done."""

REASON_SECONDS = 5.0
"""For the body of an error, once its status is here."""

_PIECE_BYTES = 1 << 18
_FED_BYTES = 1 << 14
"""Fed to a decompressor at once. What one member leaves is copied, so that a piece of many members costs its square."""

_MOST_EMPTY = 1000
"""Members one after the other without a byte; each of them costs as much as one with some."""

_ALIASES = {"x-gzip": "gzip"}
_MOST_CODINGS = 3
_ZLIB_HEAD = 2
"""Bytes after which zlib knows whether its wrapper is there."""

_WINDOW_LOG = 23
"""8 MiB, as RFC 9659 has it for zstd over HTTP: a frame may ask for much memory before its first byte."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. The content of a refusal is empty where it was too long, or did not come in time."""

    status: int
    headers: httpx2.Headers
    content: bytes

    def json(self) -> Any:
        """Raises WireError: the content is no JSON."""
        try:
            return loads(self.content)
        except MALFORMED as error:
            raise WireError("The answer is no JSON; is this a bridge?") from error


async def ask(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    most: int = MOST_REASON_BYTES,
    seconds: float,
    **request: Any,
) -> Answer:
    """The answer to one request, of at most `most` bytes; `seconds` are for its head, and again for its body.

    Raises:
        TooLargeError, WrongCompressionError. httpx2.TransportError: or it took too long.
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
    return Answer(response.status_code, response.headers, content)


async def head(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    seconds: float,
    content: AsyncGenerator[bytes, None] | bytes | None = None,
    **request: Any,
) -> httpx2.Response:
    """The head of an answer, which comes after at most `seconds`; its body is the caller's to read and to close.

    Where `content` is a generator they begin when all of it was sent. A server may send as many provisional answers
    (1xx) as it likes, each of which begins the client's own time-outs anew.

    Raises:
        httpx2.TransportError: or it took too long.
    """
    streams = isinstance(content, AsyncGenerator)
    async with in_time(None if streams else seconds) as clock:
        if not isinstance(content, AsyncGenerator):
            return await client.send(client.build_request(method, url, content=content, **request), stream=True)
        # A server may answer before it has taken all of it; the client then leaves the generator as it is.
        async with aclosing(then_timed(content, clock, seconds)) as timed:
            return await client.send(client.build_request(method, url, content=timed, **request), stream=True)


async def read(response: httpx2.Response, most: int) -> bytes:
    """The decoded content of a response whose body was not read yet.

    Raises:
        TooLargeError: it has more than `most` bytes. WrongCompressionError. httpx2.TransportError.
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
    """The content of a response whose body was not read yet, in pieces, without its codings.

    Who takes it counts the pieces. Raises as `read`; TooLargeError only for compressed nothing that comes without end.
    """
    expander, came = expander_of(response.headers.get("content-encoding", "")), 0
    async for raw in response.aiter_raw():
        came += len(raw)
        for piece in (raw,) if expander is None else expander.expand(raw):
            yield piece
        if came > most + _PIECE_BYTES:
            raise _too_large(most)


async def read_reason(response: httpx2.Response) -> bytes:
    """What a refusal says; empty where that is too long, or does not come in time.

    Raises:
        httpx2.TransportError: the connection broke first.
    """
    try:
        async with asyncio.timeout(REASON_SECONDS):
            return await read(response, MOST_REASON_BYTES)
    except (TooLargeError, WrongCompressionError, TimeoutError):
        return b""


async def then_timed(
    content: AsyncGenerator[bytes, None], clock: asyncio.Timeout, seconds: float
) -> AsyncGenerator[bytes, None]:
    """`content`; when all of it was taken, `clock` has `seconds` left."""
    async with aclosing(content):
        async for piece in content:
            yield piece
    clock.reschedule(asyncio.get_running_loop().time() + seconds)


@asynccontextmanager
async def in_time(seconds: float | None) -> AsyncGenerator[asyncio.Timeout, None]:
    """The block takes at most `seconds`; the client's own time-outs begin anew with every byte.

    Raises:
        httpx2.ReadTimeout: it took longer.
    """
    try:
        async with asyncio.timeout(seconds) as clock:
            yield clock
    except TimeoutError as error:
        raise httpx2.ReadTimeout("No whole answer came in time") from error


def no_cookies() -> CookieJar:
    """A jar that takes none. A client's jar sends what one port of a host set to all other ports of it."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


class Expands(Protocol):
    def expand(self, data: bytes) -> Iterator[bytes]: ...


def expander_of(codings: str) -> Expands | None:
    """What undoes the codings of a Content-Encoding, the last of them first; None where there is none.

    Raises:
        WrongCompressionError: one of them is unknown here.
    """
    named = [coding.strip().lower() for coding in codings.split(",")]
    found = [Expander(_ALIASES.get(name, name)) for name in named if name not in ("", "identity")]
    if len(found) > _MOST_CODINGS:
        raise WrongCompressionError(f"The answer is compressed {len(found)} times over")
    return _Layers(found[::-1]) if len(found) > 1 else found[0] if found else None


class _Layers:
    """Several codings, one around the other."""

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
    """One compressed stream; several members or frames behind one another are one."""

    def __init__(self, compression: str) -> None:
        if compression not in ("gzip", "deflate", "zstd"):
            raise WrongCompressionError(f"The answer is compressed with {compression[:40]!r}, which nobody asked for")
        self._compression = compression
        self._empty = 0
        self._head = b""
        self._undo = self._another()

    @property
    def whole(self) -> bool:
        return bool(self._undo.eof)

    def expand(self, data: bytes) -> Iterator[bytes]:
        """What `data` gives, in pieces of a bounded size.

        Raises:
            WrongCompressionError: it is not compressed so.
        """
        for start in range(0, len(data), _FED_BYTES):
            yield from self._expand(data[start : start + _FED_BYTES])

    def _expand(self, data: bytes) -> Iterator[bytes]:
        while data or not self._undo.eof:
            if self._undo.eof:
                self._undo = self._another()
                self._empty += 1
                if self._empty > _MOST_EMPTY:
                    raise WrongCompressionError(f"What came is empty {self._compression}, again and again")
            try:
                out = self._decompress(data)
            except (zlib.error, zstd.ZstdError) as error:
                raise WrongCompressionError(f"What came is no {self._compression}") from error
            # zlib gives back what it did not take in yet, zstd keeps that.
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
            # Some servers send deflate without the wrapper of zlib that RFC 9110, section 8.4.1.2, asks for.
            self._undo = zlib.decompressobj(wbits=-15)
            return bytes(self._undo.decompress(self._head, _PIECE_BYTES))

    def _another(self) -> Any:
        if self._compression == "zstd":
            return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
        return zlib.decompressobj(wbits=31 if self._compression == "gzip" else 15)


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(f"The answer has more than {most} bytes, and was not read to its end")
