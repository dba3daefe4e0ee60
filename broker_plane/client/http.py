"""Pulling over HTTP: the Puller port against a bridge. A broken body is resumed by range, and verified as a whole."""

from __future__ import annotations

import asyncio
import re
import ssl
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import cache
from typing import Any

import anyio
import httpx2
from httpcore2._async.http11 import AsyncHTTP11Connection

from broker_plane.client.trust import Trust
from broker_plane.errors import (
    BrokerAwayError,
    BrokerPlaneError,
    DigestMismatchError,
    GrantInUseError,
    PullError,
    TransferBrokenError,
)
from broker_plane.plane.digest import RunningDigest
from broker_plane.plane.grant_state import LEASE_SECONDS
from broker_plane.plane.patience import patiently
from broker_plane.plane.ports import Incoming
from broker_plane.plane.quiet import quiet
from broker_plane.wire.body import ROWS_TYPE
from broker_plane.wire.grant import Grant, peek, uses_of
from broker_plane.wire.look import Look, look_of
from broker_plane.wire.page import MOST_PAGE_BYTES, Page, page_of
from broker_plane.wire.presigned import error_of
from broker_plane.wire.scope import EVERYTHING, Scope
from broker_plane.wire.selector import Selector

# What the socket brings at once comes in one piece, and not in slices of 64 KiB: every layer of the client costs by the
# piece, 154 of them for 5 MB. The name is the client's own; where a later version has another, this changes nothing.
AsyncHTTP11Connection.READ_NUM_BYTES = 1 << 20
quiet("httpx2", "httpcore2")

_ACCEPT = f"{ROWS_TYPE}, */*;q=0.5"
_RESUMES = 20
_PIECE_BYTES = 1 << 19
"""Pieces are gathered to this: every layer of ours costs by the piece, and the HTTP client's come at 64 KiB."""

_PATIENCE_SECONDS = 5.0
_RESUME_SECONDS = LEASE_SECONDS + 5.0
"""A bridge that was killed in the middle gave our lease to nobody; it is over by then."""

_NAME = re.compile(r'filename="([^"]*)"')


class HttpPuller:
    """The Puller port over HTTP. One kept client; it follows no redirect and takes no proxy from the environment."""

    def __init__(self, trust: Trust, *, timeout: float = 30.0, token: str = "") -> None:
        """`token` says who this puller is; it goes with grants that have an audience, and with no other."""
        self.trust = trust
        self._token = token
        self._timeout = timeout
        self._clients: dict[bool, httpx2.AsyncClient] = {}

    @asynccontextmanager
    async def pull(self, address: str, selector: Selector) -> AsyncIterator[Incoming]:
        grant = self.trust.check(address)
        said = peek(grant)
        pulling = _Pulling(self._client(address), address.strip(), selector, said.scope, self._identity(said))
        await patiently(pulling.open, _PATIENCE_SECONDS)
        incoming = pulling.incoming()
        accepted = False
        try:
            if not pulling.verifiable:
                await pulling.confirm(success=False)
                raise PullError("The bridge sent no Repr-Digest, so what it sends cannot be verified")
            yield incoming
            accepted = True
        finally:
            await incoming.pieces.aclose()
            await pulling.close()
            # What broke off says so by the connection's end; what came whole was taken, or was not.
            if pulling.complete and uses_of(grant):
                await asyncio.shield(pulling.confirm(success=accepted))

    async def look(self, address: str, sample: int) -> Look:
        said = peek(self.trust.check(address))
        url = f"{address.strip().rstrip('/')}/look"

        async def ask() -> Look:
            try:
                response = await self._client(url).post(url, json={"sample": sample}, headers=self._identity(said))
            except httpx2.TransportError as error:
                raise away(error) from error
            if response.status_code != 200:
                raise await refusal(response)
            return look_of(response.json())

        return await patiently(ask, _PATIENCE_SECONDS)

    async def page(self, address: str, cursor: str, limit: int, most: int) -> Page:
        """One part of a body of at most `most` bytes (0: any), and the cursor of the next (wire/page.py).

        Raises:
            TooLargeError, GrantError, WireError, UntrustedHostError, BrokerAwayError.
        """
        said = peek(self.trust.check(address))
        url = f"{address.strip().rstrip('/')}/page"
        asked = {"cursor": cursor, "limit": min(limit, MOST_PAGE_BYTES), "most": most}

        async def ask() -> Page:
            try:
                response = await self._client(url).post(url, json=asked, headers=self._identity(said))
            except httpx2.TransportError as error:
                raise away(error) from error
            if response.status_code != 200:
                raise await refusal(response)
            headers = response.headers
            media_type, part = headers.get("content-type", ""), headers.get("bp-part", "")
            return page_of(response.content, media_type, part, headers.get("bp-cursor", ""))

        return await patiently(ask, _PATIENCE_SECONDS)

    async def tell(self, address: str, report: dict[str, Any]) -> str:
        """Report how a delivery ended; says what came of it: confirmed, released or settled.

        Raises:
            LeaseLostError: it is settled already. GrantError, WireError, UntrustedHostError, BrokerAwayError.
        """
        said = peek(self.trust.check(address))
        url = f"{address.strip().rstrip('/')}/confirm"
        try:
            response = await self._client(url).post(url, json=report, headers=self._identity(said))
        except httpx2.TransportError as error:
            raise away(error) from error
        if response.status_code != 200:
            raise await refusal(response)
        return str(response.json()["status"])

    def _identity(self, said: Grant) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if said.scope.audience and self._token else {}

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    def _client(self, url: str) -> httpx2.AsyncClient:
        secure = url.strip().lower().startswith("https:")
        if secure not in self._clients:
            self._clients[secure] = httpx2.AsyncClient(
                verify=verifying() if secure else bare(),
                trust_env=False,
                timeout=httpx2.Timeout(self._timeout, connect=min(self._timeout, 10.0)),
                limits=httpx2.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=20),
            )
        return self._clients[secure]


class _Pulling:
    """One pull: the response under way, and how much of the body is here."""

    def __init__(
        self, client: httpx2.AsyncClient, url: str, selector: Selector, scope: Scope, identity: dict[str, str]
    ) -> None:
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
            BrokerAwayError: the bridge, or the broker behind it, does not answer.
            GrantError, SelectorError: as the bridge says.
        """
        request = self._request()
        try:
            response = await self._client.send(request, stream=True)
        except httpx2.TransportError as error:
            raise away(error) from error
        if response.status_code not in (200, 206):
            raise await refusal(response)
        if self._received and response.status_code != 206:
            await response.aclose()
            raise TransferBrokenError("The body changed on the way; pull again")
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
        length = headers.get("content-length", "")
        name = _NAME.search(headers.get("content-disposition", ""))
        rows = headers.get("bp-rows", "")
        digest = digest_of(headers.get("repr-digest", ""))
        # Frames verify themselves; whether a narrowed grant shows all of the body, the bridge says by the digest.
        cut = not self._selector.whole or (self._narrowed and not digest and media_type == ROWS_TYPE)
        self.verifiable = cut or bool(digest)
        return Incoming(
            kind="rows" if media_type == ROWS_TYPE else "bytes",
            media_type=media_type,
            name=name[1] if name else "",
            size=int(length) if length.isdigit() else None,
            digest=digest,
            rows=int(rows) if rows.isdigit() else None,
            cut=False,
            pieces=self._verified(digest, whole=not cut),
        )

    async def confirm(self, *, success: bool) -> None:
        """End the lease; where this fails, the end of the connection or a time-out does."""
        status = "success" if success else "failure"
        confirmation: dict[str, Any] = {"status": status, "bytes_received": self._received, "lease": self._lease}
        with suppress(httpx2.TransportError):
            await self._client.post(self._url.rstrip("/") + "/confirm", json=confirmation, headers=self._identity)

    async def close(self) -> None:
        if self._response is not None:
            with suppress(httpx2.TransportError):
                await self._response.aclose()

    async def _verified(self, expected: str, *, whole: bool) -> AsyncGenerator[bytes, None]:
        digest = RunningDigest()
        held = b""
        async for piece in self._pieces(resumable=whole):
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
                    raise TransferBrokenError("The body broke off; pull again", reason=repr(error)) from error
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


def away(error: httpx2.TransportError) -> BrokerAwayError:
    return BrokerAwayError("The bridge does not answer; it may be restarting. Try again", reason=repr(error))


async def refusal(response: httpx2.Response) -> BrokerPlaneError:
    """The error that a bridge's problem details name (RFC 9457), or one that says the status."""
    try:
        raw = await response.aread()
    except httpx2.TransportError as error:  # the bridge went away between the head and the reason
        return away(error)
    finally:
        await response.aclose()
    fields: Any = None
    with suppress(ValueError):
        fields = httpx2.Response(200, content=raw).json() if len(raw) < 65_536 else None
    if not isinstance(fields, dict) or "code" not in fields:
        return PullError(f"The bridge answered {response.status_code}, without saying why")
    retry_after = response.headers.get("retry-after", "")
    return error_of(
        {
            "code": fields["code"],
            "message": fields.get("detail") or fields.get("error"),
            "retry_after": float(retry_after) if retry_after.isdigit() else None,
        }
    )


def digest_of(header: str) -> str:
    """The SHA-256 of a Repr-Digest (RFC 9530) in hex; empty where there is none."""
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "sha-256" and value.startswith(":") and value.endswith(":"):
            with suppress(ValueError):
                return b64decode(value[1:-1], validate=True).hex()
    return ""


@cache
def verifying() -> ssl.SSLContext:
    """One context a process: to read the certificates takes 17 ms."""
    return ssl.create_default_context()


@cache
def bare() -> ssl.SSLContext:
    """For http URLs, where the client wants a context all the same; it trusts no one."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
