"""A session over NATS: the SessionChannel port. Requests go to `bp.say.…`; entries are heard on `bp.said.<session>`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message
from broker_plane.broker.subscriptions import Subscription
from broker_plane.errors import (
    BrokerAccessDeniedError,
    BrokerUnavailableError,
    GrantExpiredError,
    GrantRefusedError,
    GrantRevokedError,
    NotPermittedError,
    TooLargeError,
    WireError,
)
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.plane.sessions.channel import (
    AccessEnded,
    EntriesAdded,
    EventsMissed,
    PresenceChanged,
    SessionEvent,
    answer_of,
)
from broker_plane.plane.sessions.event_queue import EventQueue
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.sessions.entries import unpack_entries
from broker_plane.sessions.roles import OPERATIONS, check_may
from broker_plane.wire.exact_json import MALFORMED, dumps, loads
from broker_plane.wire.grant import peek

_RETRY_SECONDS = 10.0
"""How long a request is repeated while the broker is unavailable or no bridge answers."""

_QUIET_SECONDS = 30.0
"""After this without an entry, the reader looks into the log: core NATS does not say that it lost a message."""

_PAUSE_SECONDS = 0.1


class SessionSubjects:
    """One participant's requests and subscriptions over a connection that permits them; made by `session_subjects`."""

    shows_presence = False
    greeting: Mapping[str, Any] | None = None

    def __init__(self, connection: Connection, grant: str, asker: str, *, timeout: float) -> None:
        self._connection = connection
        self._grant = grant
        self._asker = asker
        self._timeout = timeout
        self._events = EventQueue()
        said = peek(grant)
        self._session, self._role = said.body, said.scope.role or "observer"

    async def request(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """As the port. nats-server answers nothing that the role does not permit, so that is said here."""
        operation = str(fields.get("do"))
        check_may(self._role, operation)
        subject = f"{self._connection.names.say_subject(OPERATIONS[operation], self._grant)}.{self._asker}"
        raw = dumps(dict(fields))
        self._check_size(raw)

        async def attempt() -> dict[str, Any]:
            if self._events.ended is not None:
                raise self._events.ended.error
            try:
                return _answer(await self._connection.request(subject, raw, seconds=self._timeout))
            except (GrantExpiredError, GrantRevokedError, GrantRefusedError) as error:
                self._events.put(AccessEnded(error))
                raise

        return await retry_while_retryable(attempt, _RETRY_SECONDS)

    def events(self) -> AsyncGenerator[SessionEvent, None]:
        """As the port."""
        return self._events.read()

    async def hear(self, ready: asyncio.Event) -> None:
        """Queue what the session sends, for as long as the grant lives; `ready` is set once it is subscribed."""
        names = self._connection.names
        async with (
            self._connection.subscribe(names.said_subject(self._session)) as said,
            self._connection.subscribe(names.here_subject(self._session)) as here,
        ):
            ready.set()
            hearing = [
                asyncio.ensure_future(self._hear(said, _entries, _QUIET_SECONDS)),
                asyncio.ensure_future(self._hear(here, _presence, None)),
                asyncio.ensure_future(self._expire()),
            ]
            try:
                await asyncio.wait(hearing, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in hearing:
                    await cancel_and_forget(task)

    async def _hear(
        self, subscription: Subscription, event_of: Callable[[bytes], SessionEvent], quiet: float | None
    ) -> None:
        """Queue the events of one subscription, until the access ends."""
        while True:
            try:
                message = await subscription.next(quiet)
                self._events.put(event_of(message.data))
            except WireError:
                self._events.put(EventsMissed())  # the log has it, or says why it cannot be read
            except BrokerUnavailableError:
                await self._reconnected()
                self._events.put(EventsMissed())
            except NotPermittedError as error:
                self._events.put(AccessEnded(error))
                return

    async def _reconnected(self) -> None:
        """Wait until there is a connection. If NATS refuses the grant, the access has ended."""
        while True:
            try:
                await self._connection.wait_connected()
                return
            except BrokerUnavailableError:
                failed = self._connection.client.failed
                if failed is not None and failed.refused:
                    self._events.put(
                        AccessEnded(
                            BrokerAccessDeniedError("NATS does not admit this grant any more: ask for a new one")
                        )
                    )
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _expire(self) -> None:
        """End the access when the grant expires: NATS itself may take a moment longer."""
        expires = peek(self._grant).expires
        while True:
            left = expires - self._connection.clock.now()
            if left <= 0:
                break
            await asyncio.sleep(min(left, 60))
        self._events.put(AccessEnded(GrantExpiredError("The grant of this session has expired; ask for a new one")))

    def _check_size(self, raw: bytes) -> None:
        if len(raw) > self._connection.max_payload:
            raise TooLargeError(
                f"The request has {len(raw)} bytes; a message over NATS has at most {self._connection.max_payload}. "
                "Join over HTTP, or propose a smaller edit"
            )


@asynccontextmanager
async def session_subjects(
    connection: Connection, grant: str, asker: str, *, timeout: float
) -> AsyncIterator[SessionSubjects]:
    """A SessionSubjects that hears the session, for the block.

    Raises:
        NotPermittedError: this connection may not subscribe there. BrokerUnavailableError.
    """
    channel = SessionSubjects(connection, grant, asker, timeout=timeout)
    ready = asyncio.Event()
    hearing = asyncio.create_task(channel.hear(ready))
    waiting = asyncio.ensure_future(ready.wait())
    try:
        await asyncio.wait({hearing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if hearing.done():
            hearing.result()
        yield channel
    finally:
        await cancel_and_forget(waiting)
        await cancel_and_forget(hearing)


def _answer(message: Message) -> dict[str, Any]:
    try:
        return answer_of(loads(message.data))
    except MALFORMED as error:
        raise WireError("The answer does not come from a session") from error


def _entries(raw: bytes) -> SessionEvent:
    return EntriesAdded(unpack_entries(raw))


def _presence(raw: bytes) -> SessionEvent:
    """Presence is JSON: `{"presence": […]}`, or something that this version does not know."""
    try:
        fields = loads(raw)
    except MALFORMED as error:
        raise WireError("The presence of a participant is not JSON") from error
    found = fields.get("presence") if isinstance(fields, dict) else None
    return PresenceChanged(tuple(each for each in found or () if isinstance(each, dict)))
