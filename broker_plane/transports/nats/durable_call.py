"""One durable call of a client: what is stored for it, and what has arrived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_plane.broker.conditional import EXPECTED
from broker_plane.broker.connection import Connection
from broker_plane.broker.errors import parsed
from broker_plane.broker.requests import Answer
from broker_plane.errors import BrokerPlaneError, TooLargeError
from broker_plane.exchange.headers import DEADLINE, DIGEST
from broker_plane.exchange.keys import idempotency_key, keyed_exchange, request_digest
from broker_plane.exchange.lines import localized
from broker_plane.exchange.messages import ExchangeKey
from broker_plane.exchange.parts import PartJoiner
from broker_plane.exchange.receiver import Received
from broker_plane.plane.exchanges.limits import DEFAULT_SECONDS, KEPT_SECONDS, MAX_SECONDS
from broker_plane.proxy.messages import Message, meta_of
from broker_plane.transports.nats.call_batches import CallBatches
from broker_plane.transports.nats.wire_form import HEADER_BYTES, SESSION_LETTER, request_headers


@dataclass(slots=True)
class DurableCall:
    """A durable request, for the caller that has made it."""

    id: Any
    token: Any
    """The progress token; None if the caller wants no progress."""
    key: ExchangeKey
    keyed: bool
    """Whether the caller has named an idempotency key."""
    line: bytes
    subject: str
    headers: dict[str, str]
    since: float
    deadline: float
    """When an instance answers with an error at the latest, by the same clock as `since`."""
    heard: float
    received: Received
    parts: PartJoiner
    stored: bool = False
    answer: Answer | None = None
    """The acknowledgement that the request is stored, while it is waited for."""
    acknowledged: bool = False
    """Whether this caller is known to have stored the request, and not another one under the same key."""
    tried: float = 0.0
    resumed: float = 0.0
    busy_since: float = 0.0
    """When the call was first refused for lack of a place; 0 if it was not."""

    @property
    def digest(self) -> str:
        """The digest of a request with an idempotency key; empty for others."""
        return self.headers.get(DIGEST, "")

    def shown(self, line: bytes) -> bytes:
        """A message as this caller gets it; empty if it does not."""
        return localized(line, self.id, self.token) if self.keyed else line


@dataclass(frozen=True, slots=True)
class CallMaker:
    """Makes the calls of one client. `scope` is as of `caller_scope`, `deadline_seconds` may be 0 for the default."""

    connection: Connection
    server: str
    scope: bytes
    deadline_seconds: float
    most_bytes: int
    batches: CallBatches

    def call(self, line: bytes, message: Message, token: str, reply: Mapping[str, str], now: float) -> DurableCall:
        """The call for a valid request. `token` is the last one of the inbox that the headers `reply` name.

        Raises:
            TooLargeError: it is too large to be stored. WireError: its idempotency key is not valid.
        """
        most = self.connection.max_payload - HEADER_BYTES
        if len(line) > most:
            raise TooLargeError(
                f"The request has {len(line):,} bytes; this NATS stores at most {most:,} in one message. Publish the "
                "large part and pass its URL, call with durable=False, or raise max_payload of nats-server"
            )
        key = idempotency_key(message)
        exchange = (
            ExchangeKey(self.server, self.batches.begin(token), token)
            if key is None
            else keyed_exchange(self.server, SESSION_LETTER, self.scope, key)
        )
        return DurableCall(
            id=message["id"],
            token=meta_of(message).get("progressToken"),
            key=exchange,
            keyed=key is not None,
            line=line,
            subject=self.connection.names.request_subject(self.server, exchange.session, exchange.exchange),
            headers=self._headers(message, reply, keyed=key is not None),
            since=now,
            deadline=now + min(self.deadline_seconds or DEFAULT_SECONDS, MAX_SECONDS),
            heard=now,
            received=Received(),
            parts=PartJoiner(self.most_bytes),
        )

    def _headers(self, message: Message, reply: Mapping[str, str], *, keyed: bool) -> dict[str, str]:
        seconds = self.deadline_seconds or DEFAULT_SECONDS
        headers = request_headers(message) | dict(reply) | {"Nats-TTL": f"{int(seconds) + KEPT_SECONDS}s"}
        if self.deadline_seconds:
            headers[DEADLINE] = f"{self.connection.clock.now() + self.deadline_seconds:.3f}"
        if keyed:
            headers |= {DIGEST: request_digest(message), EXPECTED: "0"}
        return headers


def why_not_stored(answer: Answer) -> BaseException | None:
    """Why a request was not stored; None if it was."""
    if (error := answer.exception()) is not None:
        return error
    try:
        parsed(answer.result())
    except BrokerPlaneError as refused:
        return refused
    return None
