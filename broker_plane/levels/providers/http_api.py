"""What the providers over HTTP share: one POST of JSON, retried while the service is busy, with errors without keys."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import httpx2

from broker_plane.client.capped import ShortResponse, ask, no_cookies
from broker_plane.client.http import bare, verifying
from broker_plane.config import Secret
from broker_plane.errors import ConfigError, ProviderError, TooLargeError, WireError, WrongCompressionError
from broker_plane.transfer.secret_filter import SecretFilter, spellings
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.hosts import nearness

MAX_ANSWER_BYTES: Final = 4 << 20

_BUSY: Final = (408, 409, 429, 500, 502, 503, 504, 529)
"""Statuses after which the same request may succeed; 529 is Anthropic's for an overloaded service."""

_BROKEN_OFF: Final = (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError)
_ATTEMPTS: Final = 4
_FIRST_WAIT_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 30.0
_MAX_SAID: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelApi:
    """A service: its base URL, the model to name, the key, and the time that one answer may take, with its retries."""

    service: str
    url: str
    model: str
    key: Secret = field(default_factory=lambda: Secret(""))
    seconds: float = 120.0

    def __post_init__(self) -> None:
        """Check URL and key.

        Raises:
            ConfigError: one of them is malformed, or the key would be sent over a network in plain text.
        """
        key = self.key.get_secret_value()
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"The key of {self.service} has characters that no key has; copy it again")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.query:
            raise ConfigError(f"The URL of {self.service} must be https://host[:port][/path]")
        if parts.scheme == "http" and key and nearness(self.url) != "loopback":
            raise ConfigError(f"The URL of {self.service} must be https: http would send the key in plain text")

    async def post(self, path: str, headers: Mapping[str, str], fields: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that answers a POST of `fields` to `path` below the base URL.

        Raises:
            ProviderError: there is none; the message says what to do.
        """
        try:
            async with asyncio.timeout(self.seconds):
                answer = await self._answered(f"{self.url.rstrip('/')}{path}", headers, fields)
        except TimeoutError:
            raise ProviderError(
                f"{self.service} did not answer within {self.seconds:g} s. Try again, or raise "
                "BROKER_PLANE_MAX_GENERATION_SECONDS"
            ) from None
        if answer.status != HTTPStatus.OK:
            raise self._refused(answer)
        try:
            found = answer.json()
        except WireError:
            found = None
        if not isinstance(found, dict):
            raise ProviderError(f"{self.service} answered with something that is not its API. Check its URL")
        return found

    async def _answered(self, url: str, headers: Mapping[str, str], fields: Mapping[str, Any]) -> ShortResponse:
        """The first answer of a service that is not busy, or the last one."""
        secure = url.startswith("https:")
        transport = httpx2.AsyncHTTPTransport(verify=verifying() if secure else bare(), trust_env=False)
        client = httpx2.AsyncClient(transport=transport, trust_env=False, follow_redirects=False, cookies=no_cookies())
        client.timeout = httpx2.Timeout(self.seconds, connect=10.0)
        sent = {"accept-encoding": "identity", "user-agent": "broker-plane", **headers}
        async with client:
            for attempt in range(1, _ATTEMPTS + 1):
                wait = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 4 ** (attempt - 1))
                try:
                    answer = await ask(
                        client, "POST", url, most=MAX_ANSWER_BYTES, seconds=self.seconds, json=fields, headers=sent
                    )
                except httpx2.TransportError as error:
                    if attempt == _ATTEMPTS or not isinstance(error, _BROKEN_OFF):
                        raise self._unreachable(error) from None
                except (TooLargeError, WrongCompressionError):
                    raise ProviderError(f"{self.service} sent an answer that is too long or unreadable") from None
                else:
                    if answer.status not in _BUSY or attempt == _ATTEMPTS:
                        return answer
                    wait = min(_LONGEST_WAIT_SECONDS, retry_after(answer.headers.get("retry-after", ""), wait))
                await anyio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _unreachable(self, error: httpx2.TransportError) -> ProviderError:
        place = urlsplit(self.url).netloc
        if isinstance(error, httpx2.TimeoutException):
            return ProviderError(f"{self.service} at {place} did not answer in time. Try again")
        reason = self._without_key(str(error) or type(error).__name__)
        return ProviderError(f"{self.service} cannot be reached at {place}: {reason}. Check the URL and the network")

    def _refused(self, answer: ShortResponse) -> ProviderError:
        """The error for a status other than 200."""
        status = answer.status
        if status in (401, 403):
            # What the service says about a key may repeat a part of it.
            return ProviderError(f"{self.service} answered {status}: it does not accept the key. Check it")
        said = f": {found}" if (found := self._said(answer)) else ""
        if status in (429, 529):
            return ProviderError(f"{self.service} answered {status}, also after retries{said}. Try again later")
        if status in _BUSY:
            return ProviderError(f"{self.service} answered {status}, also after retries{said}. Try again")
        if status == HTTPStatus.NOT_FOUND:
            return ProviderError(f"{self.service} answered 404{said}. Check the URL and the model {self.model!r}")
        return ProviderError(f"{self.service} answered {status}{said}")

    def _said(self, answer: ShortResponse) -> str:
        """The message of an error, as both APIs write it: `{"error": {"message": …}}`."""
        try:
            found = loads(answer.content)
        except MALFORMED:
            return ""
        error = found.get("error") if isinstance(found, dict) else None
        message = error.get("message") if isinstance(error, dict) else error
        return self._without_key(" ".join(message.split()))[:_MAX_SAID] if isinstance(message, str) else ""

    def _without_key(self, text: str) -> str:
        return SecretFilter(spellings(self.key.get_secret_value())).text(text)


def retry_after(text: str, otherwise: float) -> float:
    """The seconds of a Retry-After (RFC 9110, section 10.2.3), which is a number or a date."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (ValueError, TypeError):
        return otherwise


def tokens(usage: object, name: str) -> int | None:
    """A count in the usage that a service reports; None if it does not."""
    found = usage.get(name) if isinstance(usage, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None
