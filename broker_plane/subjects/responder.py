"""The plane's side of the presigned subjects: opens the grant of each request and passes the request to its handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message, respond
from broker_plane.broker.subscriptions import Served
from broker_plane.errors import BrokerPlaneError
from broker_plane.logs import FIELDS
from broker_plane.plane.first_use import FirstUse
from broker_plane.plane.grants.grants import Opened
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.subjects.requests import PendingRequests, Reply, RequestClaim, claim_of
from broker_plane.web.access_log import log_request
from broker_plane.web.problems import status_of
from broker_plane.wire.grant import Kind
from broker_plane.wire.names import parse_asker
from broker_plane.wire.presigned_errors import pack_error

if TYPE_CHECKING:
    from broker_plane.plane.bodies.deliveries import Deliveries
    from broker_plane.plane.streams.access import GrantedStreams
    from broker_plane.subjects.body_requests import BodyRequests
    from broker_plane.subjects.confirmations import Confirmations
    from broker_plane.subjects.feed_requests import FeedRequests
    from broker_plane.subjects.stream_requests import StreamRequests

log = redacted_logger(__name__)
_QUEUE = "bp"

Handler = Callable[[Opened, str, bytes], Awaitable[Reply]]
"""Called with the opened grant, the puller's name and the payload of a request; returns the answer."""

Observer = Callable[[str, int], None]
"""Called with the route and the status of each answer; the status is that of the same answer over HTTP."""


@dataclass(frozen=True, slots=True)
class Route:
    """A subject with its handler. `name` is what logs and metrics show: a subject contains a grant."""

    name: str
    subject: str
    handle: Handler


class Responder:
    """One member of the queue group that answers pulls and confirmations; every bridge runs one."""

    def __init__(
        self,
        connection: Connection,
        deliveries: FirstUse[Deliveries],
        feeds: FirstUse[FeedRequests],
        live: FirstUse[GrantedStreams],
        *,
        answered: Observer = lambda route, status: None,
    ) -> None:
        names = connection.names
        self._routes = (
            Route(names.pull_subject("…"), names.pull_subject("*"), self._pull),
            Route(names.confirm_subject("…"), names.confirm_subject("*"), self._confirm),
        )
        self._answered = answered
        self._connection = connection
        self._deliveries = deliveries
        self._live = live
        self._feeds = feeds
        self._bodies = FirstUse(self._make_bodies)
        self._streams = FirstUse(self._make_streams)
        self._confirmations = FirstUse(self._make_confirmations)
        self._served: list[Served] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest: dict[tuple[str, bytes], Message] = {}
        """The last message of each request that is being answered, by subject and payload."""
        self._pending = PendingRequests()

    @property
    def routes(self) -> Sequence[str]:
        """The names of the subjects, as they are passed to the observer."""
        return [route.name for route in self._routes]

    async def start(self) -> None:
        for route in self._routes:
            self._served.append(await self._connection.listen(f"{route.subject}.*", self._begin(route), queue=_QUEUE))

    async def close(self) -> None:
        """Leave the queue group, so that the server sends further requests to another member."""
        await self._connection.stop_serving(self._served)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._bodies.made is not None:
            await self._bodies.made.close()

    def _begin(self, route: Route) -> Callable[[Message], None]:
        """A subscription's callback that answers in a task, so that a slow pull does not delay others."""

        def begin(message: Message) -> None:
            request = (message.subject, message.data)
            if request in self._latest:
                # Repeated because the answer is late: it is claimed, paid and sent once, in answer to the last message.
                self._latest[request] = message
                return
            claim = claim_of(message.subject.split(".")[2], len(message.data))
            try:
                self._pending.take(claim)
            except BrokerPlaneError as error:
                self._start(respond(message, pack_error(error)))
                self._answered(route.name, status_of(error))
                return
            self._latest[request] = message
            task = self._start(self._answer(message, route))
            task.add_done_callback(partial(self._ended, claim, request))

        return begin

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _ended(self, claim: RequestClaim, request: tuple[str, bytes], task: asyncio.Task[None]) -> None:
        self._latest.pop(request, None)
        self._pending.free(claim)

    async def _answer(self, message: Message, route: Route) -> None:
        began, client, status = perf_counter(), "-", 200
        try:
            _, _, grant, puller = message.subject.split(".")
            client = parse_asker(puller)
            opened = await (await self._deliveries.get()).open(grant, client)
            reply = await route.handle(opened, puller, message.data)
        except BrokerPlaneError as error:
            fields = {"code": error.code, "path": route.name}
            log.info("refused: %s on %s", error.brief, route.name, extra={FIELDS: fields})
            reply, status = Reply(pack_error(error)), status_of(error)
        except Exception:
            # The puller must not wait for its time-out because of a bug here.
            log.exception("A request failed")
            reply, status = Reply(pack_error(BrokerPlaneError("The plane failed; see its log"))), 500
        self._answered(route.name, status)
        await respond(self._latest.pop((message.subject, message.data), message), reply.raw)
        log_request(client, "NATS", route.name, status, reply.sent or len(reply.raw), perf_counter() - began)

    async def _pull(self, opened: Opened, puller: str, payload: bytes) -> Reply:
        """Pulls of grants of all other kinds are answered as for a body."""
        if opened.grant.kind is Kind.FEED:
            return await self._pull_feed(opened, puller, payload)
        if opened.grant.kind is Kind.STREAM:
            return await (await self._streams.get()).answer(opened, puller, payload)
        return await (await self._bodies.get()).answer(opened, puller, payload)

    async def _pull_feed(self, opened: Opened, puller: str, payload: bytes) -> Reply:
        feeds, bodies = await self._feeds.get(), await self._bodies.get()
        async with bodies.admitted(opened, payload) as request:
            answered = await feeds.answer(opened, puller, request)
            if isinstance(answered, bytes):
                return Reply(answered)
            return await bodies.deliver(opened, puller, request, answered)

    async def _confirm(self, opened: Opened, puller: str, payload: bytes) -> Reply:
        return await (await self._confirmations.get()).answer(opened, puller, payload)

    def _make_bodies(self) -> BodyRequests:
        from broker_plane.subjects.body_requests import BodyRequests

        return BodyRequests(self._connection, self._deliveries.now())

    def _make_confirmations(self) -> Confirmations:
        from broker_plane.subjects.confirmations import Confirmations

        return Confirmations(self._deliveries.now())

    def _make_streams(self) -> StreamRequests:
        from broker_plane.subjects.stream_requests import StreamRequests

        return StreamRequests(self._live.now(), self._bodies.now())
