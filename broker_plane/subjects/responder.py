"""The plane's side of the presigned subjects: opens the grant of each request and passes the request to its handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message, respond
from broker_plane.broker.subscriptions import Served
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.fairness.windows import LARGEST_BYTES
from broker_plane.plane.grants.grants import Opened
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.streams.access import GrantedStreams
from broker_plane.subjects.body_requests import BodyRequests
from broker_plane.subjects.confirmations import Confirmations
from broker_plane.subjects.feed_requests import FeedRequests
from broker_plane.subjects.requests import (
    PendingRequests,
    RequestClaim,
    claim_of,
)
from broker_plane.subjects.stream_requests import StreamRequests
from broker_plane.wire.grant import Kind
from broker_plane.wire.names import parse_asker
from broker_plane.wire.presigned import (
    pack_error,
)

log = redacted_logger(__name__)
_QUEUE = "bp"

Handler = Callable[[Opened, str, bytes], Awaitable[bytes]]
"""Called with the opened grant, the puller's name and the payload of a request; returns the answer."""


class Responder:
    """One member of the queue group that answers pulls and confirmations; every bridge runs one."""

    def __init__(
        self,
        connection: Connection,
        deliveries: Deliveries,
        feeds: FeedRequests | None = None,
        live: GrantedStreams | None = None,
        *,
        window: int = LARGEST_BYTES,
    ) -> None:
        self._connection = connection
        self._deliveries = deliveries
        self._bodies = BodyRequests(connection, deliveries, window=window)
        self._confirmations = Confirmations(deliveries)
        self._handlers = self._handlers_of(feeds, live)
        self._served: list[Served] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest: dict[tuple[str, bytes], Message] = {}
        """The last message of each request that is being answered, by subject and payload."""
        self._pending = PendingRequests()

    def _handlers_of(self, feeds: FeedRequests | None, live: GrantedStreams | None) -> Mapping[Kind, Handler]:
        """The handlers of pulls by the kind of the grant; those for all other kinds are handled as for a body."""
        handlers: dict[Kind, Handler] = {Kind.BODY: self._bodies.answer}
        if feeds is not None:
            handlers[Kind.FEED] = partial(self._pull_feed, feeds)
        if live is not None:
            handlers[Kind.STREAM] = StreamRequests(live, self._bodies).answer
        return handlers

    async def start(self) -> None:
        names = self._connection.names
        for subject, handle in ((names.pull_subject("*"), self._pull), (names.confirm_subject("*"), self._confirm)):
            self._served.append(await self._connection.serve(f"{subject}.*", self._begin(handle), queue=_QUEUE))

    async def close(self) -> None:
        """Leave the queue group, so that the server sends further requests to another member."""
        await self._connection.stop_serving(self._served)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._bodies.close()

    def _begin(self, handle: Handler) -> Callable[[Message], Awaitable[None]]:
        """A subscription's callback that answers in a task, so that a slow pull does not delay others."""

        async def begin(message: Message) -> None:
            request = (message.subject, message.data)
            if request in self._latest:
                # Repeated because the answer is late: it is claimed, paid and sent once, in answer to the last message.
                self._latest[request] = message
                return
            claim = claim_of(message.subject.split(".")[2], len(message.data))
            try:
                self._pending.take(claim)
            except BrokerPlaneError as error:
                await respond(message, pack_error(error))
                return
            self._latest[request] = message
            task = asyncio.create_task(self._answer(message, handle))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, claim, request))

        return begin

    def _ended(self, claim: RequestClaim, request: tuple[str, bytes], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._latest.pop(request, None)
        self._pending.free(claim)

    async def _answer(self, message: Message, handle: Handler) -> None:
        try:
            _, _, grant, puller = message.subject.split(".")
            opened = await self._deliveries.open(grant, parse_asker(puller))
            reply = await handle(opened, puller, message.data)
        except BrokerPlaneError as error:
            log.info("refused: %s", error.brief)
            reply = pack_error(error)
        except Exception:
            # The puller must not wait for its time-out because of a bug here.
            log.exception("A request failed")
            reply = pack_error(BrokerPlaneError("The plane failed; see its log"))
        await respond(self._latest.pop((message.subject, message.data), message), reply)

    async def _pull(self, opened: Opened, puller: str, payload: bytes) -> bytes:
        handler = self._handlers.get(opened.grant.kind, self._bodies.answer)
        return await handler(opened, puller, payload)

    async def _pull_feed(self, feeds: FeedRequests, opened: Opened, puller: str, payload: bytes) -> bytes:
        async with self._bodies.admitted(opened, payload) as request:
            answered = await feeds.answer(opened, puller, request)
            if isinstance(answered, bytes):
                return answered
            return await self._bodies.deliver(opened, puller, request, answered)

    async def _confirm(self, opened: Opened, puller: str, payload: bytes) -> bytes:
        return await self._confirmations.answer(opened, puller, payload)
