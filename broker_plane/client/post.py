"""One POST to a webhook's endpoint: to a checked address, without redirects, proxies, or a long answer."""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8
from contextlib import aclosing
from email.utils import parsedate_to_datetime

import httpx2

from broker_plane.client.addresses import Addresses
from broker_plane.client.capped import decoded
from broker_plane.errors import TooLargeError, WrongCompressionError
from broker_plane.plane.feeds.webhooks import Answer

_MOST_ANSWER = 64 * 1024


class WebhookPost:
    """The Post port over HTTP. `seconds` are for the whole answer."""

    def __init__(self, addresses: Addresses, *, seconds: float = 15.0) -> None:
        self._addresses = addresses
        self._seconds = seconds
        limits = httpx2.Limits(max_keepalive_connections=0)  # a kept connection would go to an address of before
        self._client = httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=seconds, limits=limits)

    async def close(self) -> None:
        await self._client.aclose()

    async def post(self, url: str, body: bytes, headers: dict[str, str], now: float) -> Answer:
        """Send `body`. An answer that is none has the status 0, and the error in words.

        Raises:
            UntrustedHostError: it may not be sent there.
            BrokerUnavailableError: the name does not resolve.
        """
        target = await self._addresses.check(url)
        fields = {**headers, "host": target.host, "content-type": "application/json", "user-agent": "broker-plane"}
        fields["accept-encoding"] = "identity"
        extensions = {"sni_hostname": target.name}
        try:
            # The client's own time-outs begin anew with every byte.
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream("POST", target.url, content=body, headers=fields, extensions=extensions) as answer,
            ):
                text, unreadable = await _said(answer)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError) as error:
            return Answer(0, error=type(error).__name__)
        retry_after = _seconds(answer.headers.get("retry-after", ""), now)
        return Answer(answer.status_code, text, retry_after, unreadable)


async def _said(answer: httpx2.Response) -> tuple[bytes, str]:
    """The beginning of the content, and why there is none where it cannot be read: the status counts all the same."""
    text = b""
    try:
        async with aclosing(decoded(answer, _MOST_ANSWER)) as pieces:
            async for piece in pieces:
                text += piece
                if len(text) > _MOST_ANSWER:
                    break
    except (WrongCompressionError, TooLargeError) as error:
        return b"", str(error)
    return text[:_MOST_ANSWER].removeprefix(BOM_UTF8), ""


def _seconds(text: str, now: float) -> float | None:
    """Retry-After (RFC 9110, section 10.2.3): seconds, or a date."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError):
        return None
