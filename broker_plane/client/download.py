"""One body over HTTP: pieces under a cap, resumed by range after a break, and verified as a whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2
from httpcore2._async.http11 import AsyncHTTP11Connection

from broker_plane.client.answers import away, count, digest_of, refusal
from broker_plane.client.capped import ask, in_time
from broker_plane.errors import (
    DigestMismatchError,
    GrantInUseError,
    TooLargeError,
    TransferInterruptedError,
    WireError,
    WrongCompressionError,
)
from broker_plane.plane.bodies.digest import RunningDigest
from broker_plane.plane.grants.state import LEASE_SECONDS
from broker_plane.plane.ports import Incoming
from broker_plane.plane.retry import patiently
from broker_plane.wire.body import ROWS_TYPE
from broker_plane.wire.disposition import name_of
from broker_plane.wire.scope import EVERYTHING, Scope
from broker_plane.wire.selector import Selector

# What the socket brings at once comes in one piece, and not in slices of 64 KiB: every layer of the client costs by the
# piece, 154 of them for 5 MB. The name is the client's own; where a later version has another, this changes nothing.
AsyncHTTP11Connection.READ_NUM_BYTES = 1 << 20

_ACCEPT = f"{ROWS_TYPE}, */*;q=0.5"
_RESUMES = 20
_PIECE_BYTES = 1 << 19
"""Pieces are gathered to this: every layer of ours costs by the piece, and the HTTP client's come at 64 KiB."""

_RESUME_SECONDS = LEASE_SECONDS + 5.0
"""A bridge that was killed in the middle gave our lease to nobody; it is over by then."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Most bytes of a body that says its size, and of one that does not. `seconds` are for each answer's head."""

    sized: int
    unsized: int
    seconds: float

    def of(self, size: int | None, *, counted: bool) -> int:
        """Most bytes of one body; where its rows are `counted`, they end it.

        Raises:
            TooLargeError: it says that it is larger.
        """
        if size is not None and size > self.sized:
            raise TooLargeError(f"The body has {size} bytes; the most is {self.sized} (BROKER_PLANE_MAX_BODY_BYTES)")
        if size is None:
            return self.sized if counted else self.unsized
        return size


class Download:
    """One pull over HTTP: the response under way, and how much of the body is here."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        url: str,
        selector: Selector,
        scope: Scope,
        identity: dict[str, str],
        limits: Limits,
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
        self._etag = ""
        self._lease = ""

    async def open(self) -> None:
        """Send the request, from the first byte that is missing on.

        Raises:
            BrokerUnavailableError: the bridge, or the broker behind it, does not answer.
            GrantError, SelectorError: as the bridge says.
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
            raise WrongCompressionError(f"The bridge sends {coding[:40]!r}, which nobody asked for")
        if self._received and response.status_code != 206:
            await response.aclose()
            raise TransferInterruptedError("The body changed on the way; pull again")
        self._response = response
        self._etag = response.headers.get("etag", "")
        self._lease = response.headers.get("bp-lease", "")

    async def _resume(self) -> None:
        """As `open`, after ending our own delivery where it still holds the use because a proxy took all of it."""
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
        digest = digest_of(headers.get("repr-digest", ""))
        # Frames verify themselves; whether a narrowed grant shows all of the body, the bridge says by the digest.
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
        """End the lease; where this fails, the end of the connection or a time-out does."""
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

    async def _verified(self, expected: str, most: int, *, whole: bool) -> AsyncGenerator[bytes, None]:
        digest = RunningDigest()
        held = b""
        async for piece in self._pieces(resumable=whole):
            if self._received > most:
                raise TooLargeError(
                    f"More came than {most} bytes. A body that does not say its size has at most "
                    "BROKER_PLANE_MAX_UNSIZED_BYTES; any other no more than it says"
                )
            if held:
                yield held
            held = piece
            if whole:
                await digest.add(piece)
        if whole and await digest.hexdigest() != expected:
            raise DigestMismatchError("What arrived is not what was published; publish the body again")
        self.complete = True
        if held:
            yield held

    async def _pieces(self, *, resumable: bool) -> AsyncGenerator[bytes, None]:
        resumes = 0
        while True:
            response = self._response
            if response is None:
                return
            try:
                async with aclosing(_gathered(response)) as pieces:
                    async for piece in pieces:
                        self._received += len(piece)
                        resumes = 0
                        yield piece
            except httpx2.TransportError as error:
                resumes += 1
                if not resumable or resumes > _RESUMES:
                    raise TransferInterruptedError("The body broke off; pull again", reason=repr(error)) from error
                await self.close()
                await anyio.sleep(min(1.0, 0.02 * 2**resumes))
                await patiently(self._resume, _RESUME_SECONDS)
                continue
            return

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
        return name_of(headers.get("content-disposition", ""))
    except WireError:  # what another server calls its body is no reason not to pull it
        return ""


async def _gathered(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """What comes, in large pieces. What came before a break is here before its error: it need not come again."""
    held = bytearray()
    try:
        async for piece in response.aiter_raw():
            held += piece
            if len(held) >= _PIECE_BYTES:
                yield bytes(held)
                held.clear()
    except httpx2.TransportError:
        if held:
            yield bytes(held)
        raise
    if held:
        yield bytes(held)
