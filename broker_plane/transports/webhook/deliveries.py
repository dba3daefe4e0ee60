"""Delivers a stored message to the callback of its session, or the answer of a call to the webhooks of that call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from broker_plane.errors import BrokerPlaneError
from broker_plane.exchange.messages import ExchangeKey
from broker_plane.plane.exchanges.outbox import Outgoing
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.webhooks.signed_post import WebhookResponse
from broker_plane.transports.webhook import asyncmcp
from broker_plane.transports.webhook.call_deliveries import CallDeliveries, CallDelivery, CallTarget
from broker_plane.transports.webhook.callbacks import SESSION_HEADER, Callbacks
from broker_plane.transports.webhook.message_ids import MessageId
from broker_plane.transports.webhook.outstanding import OutstandingRequests
from broker_plane.transports.webhook.record import Callback, WebhookSession
from broker_plane.transports.webhook.sessions import WebhookSessions

log = redacted_logger(__name__)

DeliveredTo = WebhookSession | CallDelivery
"""Whom messages are delivered to."""

Close = Callable[[str, Callback], Awaitable[bool]]

_ACCEPTED, _GONE = WebhookResponse(200), 410


class CallbackDeliveries:
    """The SessionDeliveries port: signed POSTs to the latest callback."""

    def __init__(
        self,
        sessions: WebhookSessions,
        callbacks: Callbacks,
        outstanding: OutstandingRequests,
        close: Close,
        calls: CallDeliveries | None = None,
        loopback: Callbacks | None = None,
    ) -> None:
        """`close` ends a session whose callback is the given one. `calls` are those with webhooks.

        `loopback` sends to clients of asyncmcp; without it theirs get nothing.
        """
        self._close = close
        self._sessions = sessions
        self._callbacks = callbacks
        self._outstanding = outstanding
        self._calls = calls
        self._loopback = loopback

    async def find(self, session: str) -> DeliveredTo | None:
        """As `SessionDeliveries.find`."""
        found = await self._sessions.find(session)
        if found is None and self._calls is not None:
            return await self._calls.find(session)
        return found

    async def deliver(self, session: DeliveredTo, outgoing: Outgoing) -> WebhookResponse:
        """As `SessionDeliveries.deliver`."""
        if isinstance(session, CallDelivery):
            return await self._to_all(session, outgoing) if outgoing.said.last else _ACCEPTED
        headers, callbacks = {SESSION_HEADER: session.id}, self._callbacks
        if session.asyncmcp:
            if self._loopback is None:
                return WebhookResponse(0, error="BROKER_PLANE_ASYNCMCP_CLIENTS is off")
            headers, callbacks = {asyncmcp.SESSION_HEADER: session.id}, self._loopback
        return await callbacks.send(session.callback, _id_of(session.id, outgoing), outgoing.said.line, headers)

    async def answered(self, key: ExchangeKey, *, accepted: bool) -> None:
        """As `SessionDeliveries.answered`."""
        await self._outstanding.answered(key, accepted=accepted)

    async def gone(self, session: DeliveredTo) -> None:
        """As `SessionDeliveries.gone`."""
        if isinstance(session, WebhookSession) and await self._close(session.id, session.callback):
            log.info("The callback of a session is gone, so the session was closed")

    async def _to_all(self, delivery: CallDelivery, outgoing: Outgoing) -> WebhookResponse:
        """Send an answer to each webhook that has not accepted it; returns the last failure, if there is one."""
        failure: WebhookResponse | None = None
        assert self._calls is not None  # noqa: S101  # for the type checker: it has found the delivery
        for target in delivery.targets:
            response = await self._to_one(self._calls, delivery, target, outgoing)
            if response.accepted or response.status == _GONE:
                delivery = await self._calls.reached(delivery, target)
            else:
                failure = response
        if failure is None:
            await self._calls.remove(delivery.id)
        return failure or _ACCEPTED

    async def _to_one(
        self, calls: CallDeliveries, delivery: CallDelivery, target: CallTarget, outgoing: Outgoing
    ) -> WebhookResponse:
        message_id = _id_of(delivery.id, outgoing)
        try:
            headers = await calls.headers_of(delivery, target)
            return await self._callbacks.send(target.callback, message_id, outgoing.said.line, headers)
        except BrokerPlaneError as error:
            return WebhookResponse(0, error=error.brief)


def _id_of(session: str, outgoing: Outgoing) -> str:
    return str(MessageId(session, outgoing.key.exchange, outgoing.said.seq))
