"""One POST to a webhook endpoint: to a checked address, without redirects or proxies, with a short response."""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8
from contextlib import aclosing
from email.utils import parsedate_to_datetime

import httpx2

from broker_plane.client.capped import decoded
from broker_plane.client.guard import RequestGuard, RequestTarget
from broker_plane.errors import TooLargeError, WrongCompressionError
from broker_plane.plane.webhooks.signed_post import WebhookResponse

_MAX_ANSWER_BYTES = 64 * 1024
_LEAST_BYTES_PER_SECOND = 500_000
"""Large bodies have more time, as if the connection was this slow."""


class WebhookPost:
    """The Post port over HTTP. `seconds` limit the whole response; a large body has more time."""

    def __init__(
        self, guard: RequestGuard, *, seconds: float = 15.0, kept_connections: int = 0, kept_seconds: float = 5.0
    ) -> None:
        """`kept_connections` without TLS stay open for `kept_seconds`, for the next message to the same address."""
        self._guard = guard
        self._seconds = seconds
        self._limits = httpx2.Limits(max_keepalive_connections=kept_connections, keepalive_expiry=kept_seconds)
        self._kept_seconds = kept_seconds if kept_connections else None
        self._client = self._new_client()
        self._under_way = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._closing is not None:
            await self._closing
        await self._client.aclose()

    async def post(self, url: str, body: bytes, headers: dict[str, str], now: float) -> WebhookResponse:
        """Send `body`. Without a response, the answer has the status 0 and the error's name.

        Raises:
            UntrustedHostError: the URL must not be contacted.
            BrokerUnavailableError: the name does not resolve.
        """
        return await self.post_to(await self._guard.check(url), body, headers, now)

    async def post_to(self, target: RequestTarget, body: bytes, headers: dict[str, str], now: float) -> WebhookResponse:
        """As `post`, to a target that was checked."""
        fields = {**headers, "host": target.authority, "content-type": "application/json", "user-agent": "broker-plane"}
        fields["accept-encoding"] = "identity"
        if target.encrypted:  # the certificate was checked for one name, and the address may have several
            fields["connection"] = "close"
        extensions = {"sni_hostname": target.host}
        self._begun()
        try:
            # The client's own time-outs restart with every byte.
            async with (
                asyncio.timeout(self._seconds + len(body) / _LEAST_BYTES_PER_SECOND),
                self._client.stream("POST", target.url, content=body, headers=fields, extensions=extensions) as answer,
            ):
                text, unreadable = await _beginning(answer)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError) as error:
            return WebhookResponse(0, error=type(error).__name__)
        finally:
            self._ended()
        retry_after = _seconds(answer.headers.get("retry-after", ""), now)
        return WebhookResponse(answer.status_code, text, retry_after, unreadable)

    def _new_client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=self._seconds, limits=self._limits)

    def _begun(self) -> None:
        self._under_way += 1
        if self._timer is not None:
            self._timer.cancel()

    def _ended(self) -> None:
        self._under_way -= 1
        if self._kept_seconds is not None and not self._under_way:
            self._timer = asyncio.get_running_loop().call_later(self._kept_seconds, self._close_kept)

    def _close_kept(self) -> None:
        """Close what is kept, because nothing was sent for a while: the pool itself looks only when something is."""
        idle, self._client = self._client, self._new_client()
        self._closing = asyncio.create_task(idle.aclose())


async def _beginning(answer: httpx2.Response) -> tuple[bytes, str]:
    """The beginning of the content, and the reason if it cannot be read; the status counts in either case."""
    text = b""
    try:
        async with aclosing(decoded(answer, _MAX_ANSWER_BYTES)) as pieces:
            async for piece in pieces:
                text += piece
                if len(text) > _MAX_ANSWER_BYTES:
                    break
    except (WrongCompressionError, TooLargeError) as error:
        return b"", str(error)
    return text[:_MAX_ANSWER_BYTES].removeprefix(BOM_UTF8), ""


def _seconds(text: str, now: float) -> float | None:
    """Retry-After (RFC 9110, section 10.2.3): seconds, or a date."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError):
        return None
