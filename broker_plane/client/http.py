"""Pulling over HTTP: the Puller port against a bridge."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any

import httpx2

from broker_plane.client.answers import asked
from broker_plane.client.capped import ShortResponse, no_cookies
from broker_plane.client.download import Download, DownloadLimits
from broker_plane.client.trust import Trust
from broker_plane.errors import AuthenticationRequiredError, PullError
from broker_plane.plane.ports import Incoming
from broker_plane.plane.redacted_logs import redact_loggers
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.reading.answers import BodyDescription, ReadAnswer, description_of, read_answer
from broker_plane.reading.request import ReadRequest
from broker_plane.units import UNLIMITED
from broker_plane.wire import urls
from broker_plane.wire.grant import Grant, peek, uses_of
from broker_plane.wire.page import MOST_PAGE_BYTES, Page, page_of
from broker_plane.wire.preview import Preview, preview_of
from broker_plane.wire.query import QueryAnswer, QueryRequest, answer_of
from broker_plane.wire.selector import Selector


def _read_in_large_pieces() -> None:
    """Have the client read up to 1 MiB from a socket at once instead of 64 KiB: every layer has a cost per piece.

    The attribute is private to httpcore2. In a version without it the client reads its own sizes.
    """
    with suppress(ImportError, AttributeError):
        connection = import_module("httpcore2._async.http11").AsyncHTTP11Connection
        if isinstance(connection.READ_NUM_BYTES, int):
            connection.READ_NUM_BYTES = 1 << 20


_read_in_large_pieces()
redact_loggers("httpx2", "httpcore2")  # after the import: each of their loggers gets the redactor

_PATIENCE_SECONDS = 5.0
_MAX_LOOK_BYTES = 1 << 20
_SLACK_BYTES = 64 * 1024
_MAX_READ_BYTES = 1 << 20
"""Largest answer to a reader: the most tokens, each byte of which may be six characters of JSON."""


class HttpPuller:
    """The Puller port over HTTP. It follows no redirects and ignores proxies of the environment.

    A body that declares its size, or its number of rows, may have `max_bytes`, any other `unsized_bytes`.
    """

    def __init__(
        self,
        trust: Trust,
        *,
        timeout: float = 30.0,
        token: str = "",
        max_bytes: int = 64 << 30,
        unsized_bytes: int = 32 << 20,
    ) -> None:
        """`token` authenticates this puller to the hosts that `trust` allows."""
        self.trust = trust
        self.before: Callable[[], Awaitable[None]] | None = None
        """Awaited before the first request: starts our own bridge."""
        self._token = token
        self._timeout = timeout
        self._limits = DownloadLimits(max_bytes, unsized_bytes, 2 * timeout)
        self._clients: dict[bool, httpx2.AsyncClient] = {}

    @asynccontextmanager
    async def pull(self, address: str, selector: Selector) -> AsyncIterator[Incoming]:
        grant = self.trust.check(address)
        said = peek(grant)
        identity = self._identity(said, address)
        pulling = Download(self._client(address), address.strip(), selector, said.scope, identity, self._limits)
        await self._begin()
        with self._advice(said, address):
            await retry_while_retryable(pulling.open, _PATIENCE_SECONDS)
        incoming = pulling.incoming()
        accepted = False
        try:
            if not pulling.verifiable:
                await pulling.confirm(success=False)
                raise PullError("The bridge sent no Repr-Digest, so the body cannot be verified")
            yield incoming
            accepted = True
        finally:
            await incoming.pieces.aclose()
            await pulling.close()
            # An interrupted delivery is ended by its connection; a complete one was accepted or not.
            if pulling.complete and uses_of(grant):
                await asyncio.shield(pulling.confirm(success=accepted))

    async def look(self, address: str, sample: int) -> Preview:
        said = peek(self.trust.check(address))
        url = f"{address.strip().rstrip('/')}/look"

        async def look() -> Preview:
            answer = await self._asked(said, url, {"sample": sample}, most=_MAX_LOOK_BYTES)
            return preview_of(answer.json())

        return await retry_while_retryable(look, _PATIENCE_SECONDS)

    async def read(self, address: str, request: ReadRequest) -> ReadAnswer:
        """The part of a body that `request` names. It takes no use of the grant.

        Raises:
            WireError, SelectorError, TooLargeError, TooCostlyError, GrantError, UntrustedHostError,
            BrokerUnavailableError.
        """
        return read_answer(await self._asked_json(address, "read", request.to_wire()))

    async def describe(self, address: str) -> BodyDescription:
        """What a body is: its columns, lines or shape. It takes no use of the grant. Raises as `read`."""
        return description_of(await self._asked_json(address, "describe", {}))

    async def _asked_json(self, address: str, verb: str, fields: dict[str, Any]) -> Any:
        said = peek(self.trust.check(address))
        url = f"{address.strip().rstrip('/')}/{verb}"

        async def ask() -> Any:
            return (await self._asked(said, url, fields, most=_MAX_READ_BYTES)).json()

        return await retry_while_retryable(ask, _PATIENCE_SECONDS)

    async def page(self, address: str, cursor: str, limit: int, most: int) -> Page:
        """One part of a body of up to `most` bytes (0 or `UNLIMITED`: any size), and the cursor of the next part.

        Raises:
            TooLargeError, GrantError, WireError, UntrustedHostError, BrokerUnavailableError.
        """
        said = peek(self.trust.check(address))
        url = f"{address.strip().rstrip('/')}/page"
        limit = min(limit, MOST_PAGE_BYTES)
        fields = {"cursor": cursor, "limit": limit, "most": 0 if most >= UNLIMITED else most}

        async def page() -> Page:
            answer = await self._asked(said, url, fields, most=limit + _SLACK_BYTES)
            headers = answer.headers
            media_type, part = headers.get("content-type", ""), headers.get("bp-part", "")
            return page_of(answer.content, media_type, part, headers.get("bp-cursor", ""))

        return await retry_while_retryable(page, _PATIENCE_SECONDS)

    async def query(self, addresses: Collection[str], request: QueryRequest, seconds: float) -> QueryAnswer:
        """The answer of the bridge of the first address to a query; it may take `seconds`.

        Raises:
            QueryError, TooCostlyError, RateLimitedError, GrantError, UntrustedHostError, BrokerUnavailableError.
        """
        said = [peek(self.trust.check(address)) for address in addresses]
        first = next(iter(addresses)).strip()
        url = first.rpartition(urls.DATA)[0] + urls.QUERY
        # A grant with an audience needs the token, whichever of them it is.
        named = next((grant for grant in said if grant.scope.audience), said[0])

        async def query() -> QueryAnswer:
            timeout = max(self._timeout, seconds)
            answer = await self._asked(named, url, request.to_wire(), most=_MAX_LOOK_BYTES, seconds=timeout)
            return answer_of(answer.json())

        return await retry_while_retryable(query, _PATIENCE_SECONDS)

    async def tell(self, address: str, report: dict[str, Any]) -> str:
        """Report how a delivery ended; returns confirmed, released or settled.

        Raises:
            LeaseLostError: it was settled before. GrantError, WireError, UntrustedHostError, BrokerUnavailableError.
        """
        said = peek(self.trust.check(address))
        url = f"{address.strip().rstrip('/')}/confirm"
        fields = (await self._asked(said, url, report)).json()
        return str(fields.get("status", "")) if isinstance(fields, dict) else ""

    async def session(self, url: str, fields: dict[str, Any], most: int) -> Any:
        """The answer to one request of a session, of up to `most` bytes, as parsed JSON.

        Raises:
            SessionError, GrantError, WireError, UntrustedHostError, BrokerUnavailableError.
        """
        said = peek(self.trust.check_session(url))
        return (await self._asked(said, url.strip(), fields, most=most)).json()

    async def session_headers(self, url: str) -> dict[str, str]:
        """The headers of a WebSocket to `url`, which is checked; our own bridge runs on return.

        Raises:
            UntrustedHostError: nothing was sent.
        """
        said = peek(self.trust.check_session(url))
        await self._begin()
        return self._identity(said, url)

    async def _begin(self) -> None:
        if self.before is not None:
            await self.before()

    async def _asked(
        self, said: Grant, url: str, fields: dict[str, Any], most: int = _SLACK_BYTES, seconds: float | None = None
    ) -> ShortResponse:
        """The response to a POST of JSON, of up to `most` bytes, within `seconds` or the timeout of this puller."""
        await self._begin()
        seconds = seconds or self._timeout
        with self._advice(said, url):
            return await asked(
                self._client(url),
                url,
                most=most,
                seconds=seconds,
                timeout=httpx2.Timeout(seconds, connect=_connect_seconds(self._timeout)),
                json=fields,
                headers={"Accept-Encoding": "identity", **self._identity(said, url)},
            )

    def _identity(self, said: Grant, url: str) -> dict[str, str]:
        """The token, for grants with an audience. The grant can only withhold it: the host decides."""
        if not (self._token and said.scope.audience and self.trust.takes_token(url)):
            return {}
        return {"Authorization": f"Bearer {self._token}"}

    @contextmanager
    def _advice(self, said: Grant, url: str) -> Iterator[None]:
        """Explain an authentication error if the token was withheld from the bridge."""
        try:
            yield
        except AuthenticationRequiredError as error:
            if not self._token or self.trust.takes_token(url):
                raise
            raise AuthenticationRequiredError(
                f"{error}. BROKER_PLANE_TOKEN was not sent: add the bridge's host:port to BROKER_PLANE_TOKEN_HOSTS "
                "(over https, or on loopback)"
            ) from error

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
                cookies=no_cookies(),
                timeout=httpx2.Timeout(self._timeout, connect=_connect_seconds(self._timeout)),
                limits=httpx2.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=20),
            )
        return self._clients[secure]


def _connect_seconds(timeout: float) -> float:
    return min(timeout, 10.0)


@cache
def verifying() -> ssl.SSLContext:
    """One context a process: reading the certificates takes 17 ms."""
    return ssl.create_default_context()


@cache
def bare() -> ssl.SSLContext:
    """A context that trusts no one, for http URLs: the client requires one."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
