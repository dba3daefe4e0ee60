"""What a front does with the messages of clients: it opens sessions, and stores requests before it accepts them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from broker_plane.errors import ConflictError, KeyReusedError, McpSessionNotFoundError, WireError
from broker_plane.exchange.headers import DEADLINE, DIGEST
from broker_plane.exchange.keys import is_exchange_id, request_digest
from broker_plane.exchange.lines import outline
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.plane.exchanges.limits import KEPT_SECONDS, MAX_SECONDS
from broker_plane.plane.exchanges.outbox import Outgoing, SessionOutbox
from broker_plane.plane.exchanges.ports import ExchangeStore
from broker_plane.proxy.messages import Message, is_key, params_of
from broker_plane.transports.webhook.call_deliveries import CallDeliveries
from broker_plane.transports.webhook.call_webhooks import acknowledgement, call_webhooks, without_webhooks
from broker_plane.transports.webhook.message_ids import exchange_of, new_exchange
from broker_plane.transports.webhook.outstanding import OutstandingRequests
from broker_plane.transports.webhook.posted import Posted
from broker_plane.transports.webhook.record import WebhookSession
from broker_plane.transports.webhook.session_end import Hosting, SessionEnd
from broker_plane.transports.webhook.sessions import WebhookSessions
from broker_plane.wire.exact_json import dumps

CALLER = "Bp-Caller"
"""Header of a stored call with webhooks: the session that has made it."""

_KEPT = MAX_SECONDS + KEPT_SECONDS
_ENTROPY_BYTES = 16
_PAGE_MESSAGES, _PAGE_BYTES = 100, 1 << 20
_CANCELLED = "notifications/cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What the client learns of a message that was accepted."""

    session: str
    secret: str = ""
    """With which callbacks are signed, if the client has named none."""
    exchange: str = ""
    repeated: bool = False
    """Whether the request was stored before: its messages so far can be fetched."""


@dataclass(slots=True)
class MessagePage:
    """Stored messages of a session. `after` is where the next page begins."""

    after: int
    messages: list[Outgoing] = field(default_factory=list)
    more: bool = False


class FrontWork:
    """The sessions of one server, as a front offers them."""

    def __init__(
        self,
        server: str,
        sessions: WebhookSessions,
        store: ExchangeStore,
        outbox: SessionOutbox,
        hosting: Hosting,
        wake: Callable[[str], None],
        outstanding: OutstandingRequests,
        calls: CallDeliveries,
        end: SessionEnd,
        *,
        now: Callable[[], float],
    ) -> None:
        """`wake` sends the stored messages of a session at once."""
        self._server = server
        self._sessions = sessions
        self._store = store
        self._outbox = outbox
        self._hosting = hosting
        self._wake = wake
        self._now = now
        self._outstanding = outstanding
        self._calls = calls
        self._end = end

    async def post(self, posted: Posted, caller: str) -> Accepted:
        """Accept a message: a request is stored then.

        Raises:
            WireError, UntrustedHostError, WebhookError: the callback is missing, or is not one.
            McpSessionNotFoundError, ConflictError, KeyReusedError, RateLimitedError, TooLargeError.
            BrokerUnavailableError, StoreFullError: it is unknown whether it was accepted; send it again.
        """
        session = await self._session(posted, caller)
        secret = "" if posted.secret or posted.session else session.callback.secrets[0].text
        if posted.is_request:
            exchange, repeated = await self._asked(session, posted)
            return Accepted(session=session.id, secret=secret, exchange=exchange, repeated=repeated)
        if posted.is_disconnect:
            await self.close(session.id, caller)
        elif posted.message.get("method") == _CANCELLED:
            await self._cancel(session, params_of(posted.message).get("requestId"))
        elif not posted.is_registration:
            await self._hosting.tell(session, posted.line + b"\n")
        return Accepted(session=session.id, secret=secret)

    async def close(self, session: str, caller: str) -> None:
        """Close a session: its requests are cancelled, and its messages are not sent any more.

        Raises:
            McpSessionNotFoundError: it is unknown or closed, or another caller opened it.
        """
        await self._sessions.used(session, caller)
        if not await self._end.close(session):
            raise McpSessionNotFoundError

    async def messages(self, session: str, caller: str, after: int, exchange: str) -> MessagePage:
        """A page of the stored messages of a session behind the position `after`; of one `exchange`, or of all ("").

        Raises as `close`.
        """
        await self._sessions.used(session, caller)
        page, size = MessagePage(after), 0
        async with aclosing(self._outbox.after(self._server, session, after, exchange=exchange or "*")) as messages:
            async for outgoing in messages:
                size += len(outgoing.said.line)
                if page.messages and (size > _PAGE_BYTES or len(page.messages) >= _PAGE_MESSAGES):
                    page.more = True
                    break
                page.messages.append(outgoing)
                page.after = outgoing.position
        return page

    async def _session(self, posted: Posted, caller: str) -> WebhookSession:
        if not posted.session:
            if not posted.callback:
                raise WireError("A new session names its callback: put callbackUri beside the message")
            return await self._sessions.open(posted.callback, posted.secret, caller)
        session = await self._sessions.used(posted.session, caller)
        if posted.callback or posted.secret:
            callback = posted.callback or session.callback.url
            session = await self._sessions.called_back_at(session, callback, posted.secret)
            self._wake(session.id)
        return session

    async def _asked(self, session: WebhookSession, posted: Posted) -> tuple[str, bool]:
        """Store a request; returns its exchange, and whether it was stored before."""
        self._outstanding.check(session.id)
        if posted.idempotency_key:
            exchange = exchange_of(posted.idempotency_key)
        else:
            exchange = posted.exchange or new_exchange(secrets.token_bytes(_ENTROPY_BYTES))
        headers = {DIGEST: request_digest(posted.message)}
        if posted.seconds:
            headers[DEADLINE] = f"{self._now() + posted.seconds:.3f}"
        key, message = ExchangeKey(self._server, session.id, exchange), posted.message
        webhooks = call_webhooks(message)
        if webhooks:
            message = without_webhooks(message)
            headers |= {DIGEST: request_digest(message), CALLER: session.id}
            delivery = await self._calls.open(session, exchange, webhooks)
            key = ExchangeKey(self._server, delivery.id, exchange)
        new = await self._stored(key, message, headers)
        if webhooks:
            await self._acknowledge(ExchangeKey(self._server, session.id, exchange), message)
        return exchange, not new

    async def _stored(self, key: ExchangeKey, message: Message, headers: dict[str, str]) -> bool:
        """Store a request. False: it was stored before."""
        counts, new = self._outstanding.add(key), False
        try:
            new = await self._store.ask(key, dumps(message), headers, _KEPT)
        except ConflictError as error:
            raise KeyReusedError("Another request of this session has this idempotency key") from error
        finally:
            if counts and not new:
                self._outstanding.drop(key)
        return new

    async def _acknowledge(self, key: ExchangeKey, message: Message) -> None:
        """Answer a call whose result goes to its webhooks; once, also if the call is repeated."""
        with suppress(ConflictError):
            await self._store.append(key, Said(1, acknowledgement(message), last=True), _KEPT)

    async def _cancel(self, session: WebhookSession, request_id: Any) -> None:
        """Cancel the request that the client has given this id; our clients name the exchange."""
        if isinstance(request_id, str) and is_exchange_id(request_id):
            key = ExchangeKey(self._server, session.id, request_id)
            if await self._store.find(key) is not None:
                await self._hosting.cancel(key)
                return
        found: ExchangeKey | None = None
        if is_key(request_id):
            async with aclosing(self._outbox.requests(self._server, session.id)) as requests:
                async for key, line in requests:
                    if outline(line).id == request_id:
                        found = key  # ids may be used again, so the latest one counts
        if found is not None:
            await self._hosting.cancel(found)
