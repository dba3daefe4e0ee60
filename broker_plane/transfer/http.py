"""http, https and s3-presigned: GET with ranges and resumption; PUT, and S3's multipart upload."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from xml.sax.saxutils import escape

import anyio
import httpx2

from broker_plane.client.answers import count, is_no_http, refusal
from broker_plane.client.capped import MAX_REASON_BYTES, head, no_cookies, read
from broker_plane.client.http import bare, verifying
from broker_plane.client.resume import MAX_BREAKS, across_breaks
from broker_plane.errors import (
    AuthFailedError,
    RedirectedError,
    TransferError,
    TransferInterruptedError,
    WrongCompressionError,
)
from broker_plane.transfer.allowance import Allowance
from broker_plane.transfer.auth import check_auth
from broker_plane.transfer.credential import CredentialTransport
from broker_plane.transfer.reach import Reach
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.protocols import HTTP_SCHEMES

_SECONDS = 30.0
_HEAD_SECONDS = 2 * _SECONDS
"""For the head of a response: a server may send any number of provisional responses (1xx)."""

_MAX_CONNECTS = 5
"""Attempts to reach an endpoint that has never answered."""

_SOCKET = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)]
"""A small receive buffer: a break loses what the kernel holds, which would otherwise grow to megabytes."""

_BUSY = (409, 425, 429, 503)
_BUSY_SECONDS = 35.0
"""By then the lease of an interrupted delivery has expired."""

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)\Z")


async def http_source(
    descriptor: Descriptor, reach: Reach, allowance: Allowance, *, after: int = 0
) -> AsyncGenerator[bytes, None]:
    """The bytes of the endpoint as it sends them, without the first `after`; interrupted responses are resumed.

    Raises:
        RedirectedError, AuthFailedError, WrongCompressionError, TransferInterruptedError, UntrustedHostError.
    """
    reading = _Reading(descriptor, reach, allowance, after)
    async with aclosing(across_breaks(reading.pieces, reading.failure)) as pieces:
        async for piece in pieces:
            yield piece


class _Reading:
    """One download over as many connections as needed."""

    def __init__(self, descriptor: Descriptor, reach: Reach, allowance: Allowance, after: int) -> None:
        self._allowance = allowance
        self._descriptor = descriptor
        self._reach = reach
        self._after = after
        self._received = after
        self._etag = ""

    def failure(self, error: httpx2.TransportError, breaks: int) -> TransferInterruptedError | None:
        """The error of a break that cannot be resumed; None if another request continues."""
        # A strong ETag, or the checksum at the end, shows that the parts of two answers belong to one body.
        resumable = not self._received or bool(self._etag or self._descriptor.checksum)
        most = MAX_BREAKS if self._received > self._after else _MAX_CONNECTS
        if resumable and breaks <= most and not is_no_http(error):
            return None
        return TransferInterruptedError("The endpoint closed the connection; try again", reason=repr(error))

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        async with requested(self._descriptor, self._reach, "GET", self._headers()) as answer:
            skip = self._skipped(answer)
            _announce(answer, self._allowance, self._received - skip)
            async for raw in answer.aiter_raw():
                piece = raw[skip:]
                skip = max(0, skip - len(raw))
                if piece:
                    self._received += len(piece)
                    yield piece

    def _headers(self) -> dict[str, str]:
        descriptor = self._descriptor
        wanted = descriptor.compression or "none"
        headers = {
            "accept": f"{descriptor.format}, */*;q=0.5",
            "accept-encoding": "identity" if wanted == "none" else f"{wanted}, identity;q=0.5",
        }
        if self._received:
            headers["range"] = f"bytes={self._received}-"
            if self._etag:
                headers["if-range"] = self._etag
        return headers

    def _skipped(self, answer: httpx2.Response) -> int:
        """How many bytes at the beginning of this response were received before."""
        coding = answer.headers.get("content-encoding", "identity").lower()
        if coding not in ("identity", self._descriptor.compression or "none"):
            raise WrongCompressionError(f"The endpoint sends {coding}, which the descriptor does not name")
        if not self._received:
            etag = answer.headers.get("etag", "")
            self._etag = "" if etag.startswith("W/") else etag
            return 0
        if answer.status_code == 206:
            found = _CONTENT_RANGE.match(answer.headers.get("content-range", ""))
            if found is None or int(found[1]) != self._received:
                raise TransferInterruptedError("The endpoint sent another range than requested")
            return 0
        if self._etag and answer.headers.get("etag") != self._etag:
            raise TransferInterruptedError("The body changed while it was fetched; request another descriptor")
        return self._received


async def put(descriptor: Descriptor, reach: Reach, content: Any, size: int) -> str:
    """Send `content` of `size` bytes to the endpoint of a push; returns the ETag, or an empty text."""
    headers = {"content-type": descriptor.format, "content-length": str(size)}
    method = (descriptor.method or "PUT").upper()
    try:
        async with requested(descriptor, reach, method, headers, content) as answer:
            return str(answer.headers.get("etag", ""))
    except httpx2.TransportError as error:
        raise TransferInterruptedError("The endpoint closed the connection; push again", reason=repr(error)) from error


async def posted(
    descriptor: Descriptor, reach: Reach, content: AsyncGenerator[bytes, None], size: int, allowance: Allowance
) -> AsyncGenerator[bytes, None]:
    """Send `content`, and yield the response, which is not resumed."""
    fields = {"content-type": descriptor.format, "content-length": str(size), "accept-encoding": "identity"}
    method = (descriptor.method or "POST").upper()
    try:
        async with requested(descriptor, reach, method, fields, content) as answer:
            _announce(answer, allowance, 0)
            async for piece in answer.aiter_raw():
                yield piece
    except httpx2.TransportError as error:
        raise TransferInterruptedError(
            "The endpoint closed the connection; run it again", reason=repr(error)
        ) from error


async def complete_multipart(url: str, reach: Reach, etags: list[str], descriptor: Descriptor) -> None:
    """Send S3's CompleteMultipartUpload to a presigned `url`."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    raw = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    closing = descriptor.model_copy(update={"endpoint": url})
    async with requested(closing, reach, "POST", {"content-type": "application/xml"}, raw) as answer:
        reply = await read(answer, MAX_REASON_BYTES)
    if b"<Error>" in reply:  # S3 reports errors with status 200 here
        raise TransferError("The store did not assemble the parts; push again")


@asynccontextmanager
async def requested(
    descriptor: Descriptor, reach: Reach, method: str, headers: dict[str, str], content: Any = None
) -> AsyncIterator[httpx2.Response]:
    """The response to one request with the descriptor's credential; a busy endpoint is retried for a while.

    Raises:
        RedirectedError, AuthFailedError, UntrustedHostError, httpx2.TransportError, and the endpoint's own error.
    """
    target = await reach.check(descriptor.endpoint, HTTP_SCHEMES)
    check_auth(descriptor.auth, target)
    fields = {**headers, "host": target.authority}
    transport: httpx2.AsyncBaseTransport = httpx2.AsyncHTTPTransport(
        verify=verifying() if target.encrypted else bare(), trust_env=False, socket_options=_SOCKET
    )
    client = httpx2.AsyncClient(
        transport=CredentialTransport(transport, descriptor.auth) if descriptor.auth else transport,
        trust_env=False,
        follow_redirects=False,
        cookies=no_cookies(),
        timeout=httpx2.Timeout(_SECONDS, connect=10.0),
    )
    deadline = anyio.current_time() + _BUSY_SECONDS
    async with client:
        while True:
            named = {"sni_hostname": target.host}
            answer = await head(
                client, method, target.url, seconds=_HEAD_SECONDS, content=content, headers=fields, extensions=named
            )
            if answer.status_code not in _BUSY or anyio.current_time() > deadline or content is not None:
                break
            await answer.aclose()
            await anyio.sleep(_wait(answer))
        try:
            await _check(answer)
            yield answer
        finally:
            await answer.aclose()


def _announce(answer: httpx2.Response, allowance: Allowance, before: int) -> None:
    """Announce the response's size, plus the `before` bytes of the body that are not in it."""
    length = count(answer.headers.get("content-length", ""))
    if length is not None:
        allowance.announce(before + length)


async def _check(answer: httpx2.Response) -> None:
    status = answer.status_code
    if 300 <= status < 400:
        raise RedirectedError(f"The endpoint answered {status}; redirects are not followed")
    if status in (401, 403):
        raise AuthFailedError(f"The endpoint answered {status}: it rejected the descriptor's credential")
    if status >= 400:
        error = await refusal(answer)
        raise error if error.code != "pull_failed" else TransferError(f"The endpoint answered {status}")


def _wait(answer: httpx2.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return min(2.0, float(text)) if text.isdigit() else 0.5
