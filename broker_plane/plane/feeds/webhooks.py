"""Webhooks: a feed's notices as thin events, POSTed to whoever registered an endpoint and answered for it.

An endpoint is a durable subscriber: what it did not take comes again by a schedule, and is a dead letter then. Events
say that there is a version and bring a grant for it; the rows are pulled. Order is best effort, as SEP-3415 has it: one
event that waits does not hold up those behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from broker_plane.errors import BrokerPlaneError, WebhookError
from broker_plane.logs import FIELDS
from broker_plane.plane.feeds.access import shown_notice
from broker_plane.plane.feeds.ports import Entries
from broker_plane.plane.feeds.subscribe import Arrival
from broker_plane.plane.redacted_logs import quiet_logger
from broker_plane.plane.retry import patiently
from broker_plane.wire.durables import FEEDS
from broker_plane.wire.feeds import Notice
from broker_plane.wire.names import encode_id
from broker_plane.wire.webhooks import (
    SECRET_BYTES,
    Endpoint,
    Secret,
    key_of_secret,
    parse_endpoint,
    secret_of,
    signed_headers,
    subscription_id,
)

log = quiet_logger(__name__)

ROTATE_SECONDS = 86_400.0
GONE = 410
_PATIENCE_SECONDS = 10.0
_ENTRY_SECONDS = 10 * 365 * 86_400


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered; the status 0 is no answer. `retry_after` is in seconds."""

    status: int
    body: bytes = b""
    retry_after: float | None = None
    error: str = ""

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300


class Post(Protocol):
    """The way to a receiver."""

    async def post(self, url: str, body: bytes, headers: dict[str, str], now: float) -> Answer:
        """Send `body`; redirects are not followed.

        Raises:
            UntrustedHostError, BrokerUnavailableError: nothing was sent.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A line of the delivery log. `at` is in unix seconds, `status` 0 is no answer."""

    at: float
    endpoint: str
    event: str
    times: int
    status: int
    seconds: float
    error: str = ""


class Endpoints:
    """Endpoints, registered with verification, in entries changed by compare-and-set."""

    def __init__(
        self, entries: Entries, post: Post, *, now: Callable[[], float], random_bytes: Callable[[int], bytes]
    ) -> None:
        self._entries = entries
        self._post = post
        self._now = now
        self._random = random_bytes

    async def add(
        self, feed: str, url: str, *, columns: tuple[str, ...] | None = None, where: str | None = None
    ) -> tuple[Endpoint, str]:
        """A new endpoint, which has answered for itself, and its secret, which is told this once.

        Raises:
            WebhookError: it did not answer with the challenge.
            UntrustedHostError: nothing is sent there.
        """
        secret = secret_of(self._random(SECRET_BYTES))
        endpoint = Endpoint(
            id=encode_id(self._random(16)),
            feed=feed,
            url=url,
            secrets=(Secret(secret),),
            columns=columns,
            where=where,
            created=self._now(),
        )
        await self.verify(endpoint)
        await self._save(endpoint, 0)
        return endpoint, secret

    async def subscribe(
        self, principal: str, feed: str, url: str, secret: str, expires: float
    ) -> tuple[Endpoint, bool]:
        """The endpoint of an MCP client's subscription, and whether it is new; else it is refreshed, and active again.

        Raises:
            WireError: `secret` is none.
            WebhookError: it did not answer with the challenge.
            UntrustedHostError: nothing is sent there.
        """
        key_of_secret(secret)
        number = subscription_id(principal, feed, url)
        raw, revision = await self._entries.load(entry_name(number))
        found = parse_endpoint(raw) if raw else None
        if found is None:
            secrets, created = (Secret(secret),), self._now()
            endpoint = Endpoint(
                id=number, feed=feed, url=url, secrets=secrets, created=created, subscription=True, expires=expires
            )
        else:
            endpoint = replace(found, state="active", reason="", expires=expires)
            if secret != found.secrets[0].text:
                endpoint = endpoint.rotated(secret, self._now() + ROTATE_SECONDS)
        if found is None or found.state != "active":
            await self.verify(endpoint)
        await self._save(endpoint, revision)
        return endpoint, found is None

    async def verify(self, endpoint: Endpoint) -> None:
        """The receiver echoes a challenge: whoever reads there wants these events.

        Raises:
            WebhookError: it does not.
        """
        challenge = encode_id(self._random(24))
        body = orjson.dumps({"type": "verification", "challenge": challenge, "feed": endpoint.feed})
        number = f"msg_verification_{encode_id(self._random(9))}"
        headers = signed_headers(number, int(self._now()), body, endpoint.valid_secrets(self._now()))
        answer = await self._post.post(endpoint.url, body, headers, self._now())
        try:
            echoed = orjson.loads(answer.body).get("challenge")
        except (orjson.JSONDecodeError, AttributeError):
            echoed = None
        if not answer.taken or echoed != challenge:
            raise WebhookError(
                "The endpoint did not answer the verification: to a POST of "
                '{"type": "verification", "challenge": …} it answers 200 and {"challenge": …} with the same text'
                + (f" ({answer.error})" if answer.error else f" (it answered {answer.status})")
            )

    async def get(self, endpoint_id: str) -> Endpoint:
        """The endpoint. Raises WebhookError where there is none."""
        return (await self._load(endpoint_id))[0]

    async def rotate(self, endpoint_id: str, seconds: float = ROTATE_SECONDS) -> str:
        """A new secret; the one of before signs beside it for `seconds`."""
        secret = secret_of(self._random(SECRET_BYTES))
        await self._change(endpoint_id, lambda endpoint: endpoint.rotated(secret, self._now() + seconds))
        return secret

    async def disable(self, endpoint_id: str, reason: str) -> None:
        """Nothing is sent there any more; its place is kept."""
        await self._change(endpoint_id, lambda endpoint: replace(endpoint, state="disabled", reason=reason))

    async def enable(self, endpoint_id: str) -> None:
        """It goes on where it was, after it has answered for itself again."""
        await self.verify(await self.get(endpoint_id))
        await self._change(endpoint_id, lambda endpoint: replace(endpoint, state="active", reason=""))

    async def remove(self, endpoint_id: str) -> Endpoint:
        """Forget it."""
        endpoint, revision = await self._load(endpoint_id)
        await self._entries.save(entry_name(endpoint_id), b"", revision, 1)
        return endpoint

    async def _change(self, endpoint_id: str, change: Callable[[Endpoint], Endpoint]) -> None:
        async def attempt() -> None:
            endpoint, revision = await self._load(endpoint_id)
            await self._save(change(endpoint), revision)

        await patiently(attempt, _PATIENCE_SECONDS)

    async def _load(self, endpoint_id: str) -> tuple[Endpoint, int]:
        raw, revision = await self._entries.load(entry_name(endpoint_id))
        if not raw:
            raise WebhookError("There is no endpoint of this id; `broker-plane webhooks ls` lists them")
        return parse_endpoint(raw), revision

    async def _save(self, endpoint: Endpoint, revision: int) -> None:
        await self._entries.save(entry_name(endpoint.id), endpoint.pack(), revision, _ENTRY_SECONDS)


class Sending:
    """Sends a feed's notices to one endpoint: the handler of its subscription."""

    def __init__(
        self,
        endpoint: Endpoint,
        endpoints: Endpoints,
        post: Post,
        address: Callable[[Endpoint, Notice], Awaitable[str]],
        log: Callable[[Attempt], Awaitable[None]],
        *,
        now: Callable[[], float],
    ) -> None:
        self._id = endpoint.id
        self._endpoints = endpoints
        self._post = post
        self._address = address
        self._log = log
        self._now = now

    async def send(self, arrival: Arrival) -> None:
        """Return once the receiver has taken the event.

        Raises:
            WebhookError: it has not; `retry_after` is what it asked for.
        """
        endpoint = await self._endpoints.get(self._id)  # its secrets may have been rotated
        if endpoint.state != "active" or not endpoint.alive(self._now()):
            raise WebhookError("This endpoint is disabled, or its subscription is over")
        notice = arrival.notice
        number = occurrence_id(notice) if endpoint.subscription else event_id(notice)
        body = orjson.dumps(event(endpoint, notice, await self._address(endpoint, notice)))
        began = self._now()
        headers = signed_headers(number, int(began), body, endpoint.valid_secrets(began))
        if endpoint.subscription:
            headers["x-mcp-subscription-id"] = endpoint.id
        try:
            answer = await self._post.post(endpoint.url, body, headers, began)
        except BrokerPlaneError as error:  # nothing was sent, and its log says why
            await self._note(endpoint, number, arrival, began, Answer(0, error=str(error)))
            raise
        await self._note(endpoint, number, arrival, began, answer)
        if answer.status == GONE:
            await self._endpoints.disable(endpoint.id, "It answered 410 Gone")
        if not answer.taken:
            said = f"It answered {answer.status}" if answer.status else f"No answer: {answer.error}"
            raise WebhookError(said, retry_after=answer.retry_after)

    async def _note(self, endpoint: Endpoint, number: str, arrival: Arrival, began: float, answer: Answer) -> None:
        attempt = Attempt(
            at=began,
            endpoint=endpoint.id,
            event=number,
            times=arrival.times,
            status=answer.status,
            seconds=self._now() - began,
            error=answer.error,
        )
        await self._log(attempt)
        _log_attempt(attempt, taken=answer.taken)


def _log_attempt(attempt: Attempt, *, taken: bool) -> None:
    level = logging.INFO if taken else logging.WARNING
    line = "webhook %s: try %d of %s answered %d in %.2fs %s"
    told = (attempt.endpoint, attempt.times, attempt.event, attempt.status, attempt.seconds, attempt.error)
    log.log(level, line, *told, extra={FIELDS: asdict(attempt)})


def event(endpoint: Endpoint, notice: Notice, resource_url: str) -> dict[str, Any]:
    """A thin event: that there is a version, and where it is. Of what the endpoint is not to see, nothing."""
    if endpoint.subscription:
        return occurrence(notice, resource_url)
    whole = endpoint.columns is None and endpoint.where is None
    return {
        "type": "feed.version",
        "timestamp": _time(notice),
        "data": shown_notice(notice, endpoint.columns, whole=whole) | {"resource_url": resource_url},
    }


def occurrence(notice: Notice, resource_url: str) -> dict[str, Any]:
    """An EventOccurrence (SEP-3415): that there is a version, and where it is. Its cursor is its place."""
    return {
        "eventId": occurrence_id(notice),
        "name": notice.feed,
        "timestamp": _time(notice),
        "data": notice.to_wire() | {"resource_url": resource_url},
        "cursor": str(notice.sequence),
    }


def occurrence_id(notice: Notice) -> str:
    return f"{FEEDS}:{notice.sequence}"


def event_id(notice: Notice) -> str:
    """The same for every try, of every sender."""
    return f"evt_{notice.feed.replace('.', '-')}_{notice.sequence}"


def _time(notice: Notice) -> str:
    return datetime.fromtimestamp(notice.at, UTC).isoformat().replace("+00:00", "Z")


def entry_name(endpoint_id: str) -> str:
    return f"hook.{endpoint_id}"
