"""One body over HTTP: read under a limit, resumed by Range after a break, and verified as a whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import httpx2

from broker_plane.client.answers import away, count, refusal
from broker_plane.client.capped import ask, in_time
from broker_plane.client.resume import MAX_BREAKS, across_breaks
from broker_plane.errors import (
    GrantInUseError,
    TooLargeError,
    TransferInterruptedError,
    WireError,
    WrongCompressionError,
)
from broker_plane.plane.bodies.digest import held_back, verified
from broker_plane.plane.grants.state import LEASE_SECONDS
from broker_plane.plane.ports import Incoming
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.wire.body import ROWS_TYPE
from broker_plane.wire.digests import sha256_of
from broker_plane.wire.disposition import file_name_of
from broker_plane.wire.scope import EVERYTHING, Scope
from broker_plane.wire.selector import Selector

_ACCEPT = f"{ROWS_TYPE}, */*;q=0.5"
_PIECE_BYTES = 1 << 19
"""Pieces are combined to this size: every layer has a cost per piece, and the HTTP client's have up to 64 KiB."""

_RESUME_SECONDS = LEASE_SECONDS + 5.0
"""By then our lease has expired, even if the bridge was killed."""


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """Maximum number of bytes of a body that declares its size, and of any other. `seconds` limit each head."""

    sized: int
    unsized: int
    seconds: float

    def of(self, size: int | None, *, counted: bool) -> int:
        """The limit of one body. Without a size, the limit of sized bodies applies if its rows are `counted`.

        Raises:
            TooLargeError: its declared size exceeds the limit.
        """
        if size is not None and size > self.sized:
            raise TooLargeError(f"The body has {size} bytes; the limit is {self.sized} (BROKER_PLANE_MAX_BODY_BYTES)")
        if size is None:
            return self.sized if counted else self.unsized
        return size


class Download:
    """One pull over HTTP: the current response, and how much of the body has arrived."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        url: str,
        selector: Selector,
        scope: Scope,
        identity: dict[str, str],
        limits: DownloadLimits,
    ) -> None:
        self._limits = limits
        self.complete = False
        self.verifiable = True
        self._narrowed = scope != EVERYTHING
        self._identity = identity
        self._client = client
        self._url = url
        self._selector = selector
        self._response: httpx2.Response | None = None
        self._received = 0
        self._broken = False
        self._etag = ""
        self._lease = ""

    async def open(self) -> None:
        """Send the request for the body from the first missing byte on.

        Raises:
            BrokerUnavailableError: the bridge, or the broker behind it, does not answer.
            GrantError, SelectorError: the bridge refused.
        """
        request = self._request()
        try:
            async with in_time(self._limits.seconds):
                response = await self._client.send(request, stream=True)
        except httpx2.TransportError as error:
            raise away(error) from error
        if response.status_code not in (200, 206):
            raise await refusal(response)
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", ""):
            await response.aclose()
            raise WrongCompressionError(f"The bridge sends {coding[:40]!r}, which was not requested")
        if self._received and response.status_code != 206:
            await response.aclose()
            raise TransferInterruptedError("The body changed during the transfer; pull again")
        self._response = response
        self._etag = response.headers.get("etag", "")
        self._lease = response.headers.get("bp-lease", "")

    async def _resume(self) -> None:
        """As `open`; first ends our own earlier delivery if it still holds the use, because a proxy buffered it."""
        try:
            await self.open()
        except GrantInUseError:
            if not self._lease:
                raise
            await self.confirm(success=False)
            self._lease = ""
            await self.open()

    def incoming(self) -> Incoming:
        headers = self._headers()
        media_type = headers.get("content-type", "").partition(";")[0].strip()
        length = count(headers.get("content-length", ""))
        rows = count(headers.get("bp-rows", ""))
        digest = sha256_of(headers.get("repr-digest", ""))
        # Frames verify themselves. For a narrowed grant, the bridge sends a digest only if it shows the whole body.
        cut = not self._selector.whole or (self._narrowed and not digest and media_type == ROWS_TYPE)
        self.verifiable = cut or bool(digest)
        most = self._limits.of(length, counted=media_type == ROWS_TYPE and rows is not None and not digest)
        return Incoming(
            kind="rows" if media_type == ROWS_TYPE else "bytes",
            media_type=media_type,
            name=_name(headers),
            size=length,
            digest=digest,
            rows=rows,
            cut=False,
            pieces=self._verified(digest, most, whole=not cut),
        )

    async def confirm(self, *, success: bool) -> None:
        """End the lease; if this fails, the end of the connection or a time-out does."""
        status = "success" if success else "failure"
        confirmation: dict[str, Any] = {"status": status, "bytes_received": self._received, "lease": self._lease}
        url = self._url.rstrip("/") + "/confirm"
        with suppress(httpx2.TransportError, TooLargeError, WrongCompressionError):
            await ask(
                self._client, "POST", url, seconds=self._limits.seconds, json=confirmation, headers=self._identity
            )

    async def close(self) -> None:
        if self._response is not None:
            with suppress(httpx2.TransportError):
                await self._response.aclose()

    def _verified(self, expected: str, most: int, *, whole: bool) -> AsyncGenerator[bytes, None]:
        arriving = self._within(most, resumable=whole)
        if whole:
            return verified(arriving, expected, complete=self._completed)
        return held_back(arriving, self._check_nothing)

    async def _check_nothing(self) -> None:
        """Cut frames verify themselves when they are decoded."""
        self._completed()

    def _completed(self) -> None:
        self.complete = True

    async def _within(self, most: int, *, resumable: bool) -> AsyncGenerator[bytes, None]:
        """The pieces, up to `most` bytes in all. Raises TooLargeError."""
        async with aclosing(self._pieces(resumable=resumable)) as pieces:
            async for piece in pieces:
                if self._received > most:
                    raise TooLargeError(
                        f"The body exceeds {most} bytes: its declared size, or BROKER_PLANE_MAX_UNSIZED_BYTES if it "
                        "declares none"
                    )
                yield piece

    def _pieces(self, *, resumable: bool) -> AsyncGenerator[bytes, None]:
        def failure(error: httpx2.TransportError, breaks: int) -> TransferInterruptedError | None:
            if resumable and breaks <= MAX_BREAKS:
                return None
            return TransferInterruptedError("The body was interrupted; pull again", reason=repr(error))

        return across_breaks(self._connection, failure)

    async def _connection(self) -> AsyncGenerator[bytes, None]:
        """The pieces of one response, which is requested again if the one before broke off."""
        if self._broken:
            await retry_while_retryable(self._resume, _RESUME_SECONDS)
            self._broken = False
        if self._response is None:
            return
        try:
            async with aclosing(_gathered(self._response)) as pieces:
                async for piece in pieces:
                    self._received += len(piece)
                    yield piece
        except httpx2.TransportError:
            self._broken = True
            await self.close()
            raise

    def _request(self) -> httpx2.Request:
        headers = {"Accept": _ACCEPT, "Accept-Encoding": "identity", **self._identity}
        if not self._selector.whole:
            return self._client.build_request("POST", self._url, json=self._selector.to_wire(), headers=headers)
        if self._received:
            headers |= {"Range": f"bytes={self._received}-", "If-Range": self._etag}
        return self._client.build_request("GET", self._url, headers=headers)

    def _headers(self) -> httpx2.Headers:
        return self._response.headers if self._response is not None else httpx2.Headers()


def _name(headers: httpx2.Headers) -> str:
    try:
        return file_name_of(headers.get("content-disposition", ""))
    except WireError:  # an invalid name is no reason to refuse the body
        return ""


async def _gathered(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """The response in large pieces. Bytes before a break are yielded before the error, to be resumed after them."""
    held: list[bytes] = []
    size = 0
    try:
        async for piece in response.aiter_raw():
            held.append(piece)
            size += len(piece)
            if size >= _PIECE_BYTES:
                yield b"".join(held)
                held.clear()
                size = 0
    except httpx2.TransportError:
        if held:
            yield b"".join(held)
        raise
    if held:
        yield b"".join(held)
