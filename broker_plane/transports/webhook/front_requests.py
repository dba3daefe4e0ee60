"""Requests of a client to a webhook front, repeated while the front is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2

from broker_plane.client.capped import read
from broker_plane.errors import (
    BrokerPlaneError,
    ConfigError,
    McpSessionNotFoundError,
    TooLargeError,
    UpstreamError,
    WrongCompressionError,
    error_class,
)
from broker_plane.proxy.messages import mapping, parse
from broker_plane.proxy.upstream_http import check_url, sent, shown
from broker_plane.transports.webhook.callbacks import SESSION_HEADER
from broker_plane.transports.webhook.posted import EXCHANGE_HEADER
from broker_plane.wire.exact_json import dumps

TIMEOUT = httpx2.Timeout(30.0)
_HEAD_SECONDS = 30.0
_MOST_AT_ONCE = 16
"""Requests under way. A pool of connections looks at each of them for every request, so more of them cost more time."""

_MAX_ANSWER_BYTES = 16 << 20
_REPEATED = frozenset({408, 409, 429, 500, 502, 503, 504, 507})
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0
_BROKEN = (httpx2.TransportError, httpx2.StreamError, TooLargeError, WrongCompressionError)


@dataclass(frozen=True, slots=True)
class FrontAnswer:
    """The status of an accepted request and the members of its answer."""

    status: int
    fields: Mapping[str, Any] = field(default_factory=dict)


class FrontRequests:
    """The front at `url`. `headers` go with every request, such as `authorization`."""

    def __init__(
        self, http: httpx2.AsyncClient, url: str, headers: Mapping[str, str], *, patience_seconds: float
    ) -> None:
        """A request is repeated for `patience_seconds` while the front is unavailable."""
        self._http = http
        self._url = url.rstrip("/")
        self._headers = headers
        self._patience_seconds = patience_seconds
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)

    async def post(self, message: Mapping[str, Any], session: str, exchange: str = "") -> FrontAnswer:
        """POST a message; `exchange` names a request without an idempotency key, so that it can be repeated.

        Raises:
            UpstreamError: the front was unavailable for too long. The error that the front names: it refused it.
            McpSessionNotFoundError: the session is unknown or closed.
        """
        given = {"content-type": "application/json"}
        if session:
            given[SESSION_HEADER] = session
        if exchange:
            given[EXCHANGE_HEADER] = exchange
        return await self._repeated("POST", "", dumps(message), given)

    async def messages(self, session: str, after: int, exchange: str = "") -> FrontAnswer:
        """Fetch the stored messages of a session, or of one exchange, behind a position. Raises as `post`."""
        only = f"&exchange={exchange}" if exchange else ""
        return await self._repeated("GET", f"/{session}/messages?after={after}{only}", None, {})

    async def close(self, session: str) -> None:
        """Close a session. Raises as `post`."""
        await self._repeated("DELETE", f"/{session}", None, {})

    async def _repeated(self, method: str, path: str, body: bytes | None, given: dict[str, str]) -> FrontAnswer:
        until = asyncio.get_running_loop().time() + self._patience_seconds
        wait = _FIRST_WAIT
        while True:
            try:
                answer = await self._once(method, path, body, given)
            except _BROKEN as error:
                where = f"the front at {shown(self._url)} cannot be reached ({type(error).__name__})"
                failed: BrokerPlaneError = UpstreamError(f"The message was not accepted: {where}")
            else:
                if answer.status not in _REPEATED:
                    return self._accepted(answer)
                failed = _named(answer, "The message was not accepted")
            if asyncio.get_running_loop().time() + wait > until:
                raise failed
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _once(self, method: str, path: str, body: bytes | None, given: Mapping[str, str]) -> FrontAnswer:
        """One attempt."""
        headers = {**self._headers, **given, "accept": "application/json", "accept-encoding": "identity"}
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        async with self._turns:
            response = await sent(self._http, method, self._url + path, pairs, body, _HEAD_SECONDS)
            try:
                fields = mapping(parse(await read(response, _MAX_ANSWER_BYTES)))
            finally:
                await response.aclose()
        return FrontAnswer(response.status_code, fields)

    def _accepted(self, answer: FrontAnswer) -> FrontAnswer:
        if answer.status == 404:
            raise McpSessionNotFoundError
        if answer.status >= 300:
            raise _named(answer, f"The front at {shown(self._url)} refused the message")
        return answer


def _named(answer: FrontAnswer, what: str) -> BrokerPlaneError:
    """The error that the front names in its answer; UpstreamError if it names none of ours."""
    error = mapping(answer.fields.get("error"))
    kind = error_class(str(mapping(error.get("data")).get("code")))
    told = f"{what}: {error.get('message') or f'HTTP {answer.status}'}"
    return (UpstreamError if kind is BrokerPlaneError else kind).received(told)


def check_front(url: str, headers: Mapping[str, str]) -> None:
    """Raise ConfigError unless `url` is that of a front to which secrets may be sent."""
    check_url(url, headers)
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise ConfigError(f"{shown(url)}: the URL of a front has no query, such as https://tools.example/mcp")
