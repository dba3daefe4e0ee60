"""Services as other NATS tools see them (ADR-32), with an endpoint that answers each request with one message.

nats-py's `nats.micro` is not used: it answers an error with the `repr` of any exception, which may contain a secret,
and handles the requests of an endpoint one after the other, without a limit of size or time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import perf_counter_ns

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message, respond
from broker_plane.broker.service import QUEUE, DescribedEndpoint, DescribedService, ServiceCounts, shown_error
from broker_plane.broker.subscriptions import Served
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, PeerError, RateLimitedError, TooLargeError
from broker_plane.plane.announcements.ports import ServiceDescription, ServiceEndpoint
from broker_plane.plane.redacted_logs import redacted_logger

log = redacted_logger(__name__)

_ERROR, _ERROR_CODE = "Nats-Service-Error", "Nats-Service-Error-Code"
_MOST_AT_ONCE = 64


class NatsServices:
    """The Services port over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def serving(self, service: ServiceDescription, endpoint: ServiceEndpoint) -> AsyncIterator[None]:
        responder = _Responder(self._connection, service, endpoint)
        try:
            await responder.start()
            yield
        finally:
            await responder.close()

    async def ask(self, subject: str, payload: bytes, seconds: float) -> bytes:
        answer = await self._connection.request(subject, payload, seconds=seconds)
        headers = answer.headers or {}
        if _ERROR in headers:
            # A text of a stranger: it is shown, so neither its length nor a grant in it is theirs to choose.
            raise PeerError(f"The agent refused: {shown_error(headers[_ERROR])}")
        return answer.data


class _Responder:
    def __init__(self, connection: Connection, service: ServiceDescription, endpoint: ServiceEndpoint) -> None:
        self._connection = connection
        self._service = service
        self._endpoint = endpoint
        self._counts = ServiceCounts()
        described = DescribedEndpoint(name=endpoint.name, subject=endpoint.subject, counts=self._counts)
        self._described = DescribedService(connection, service, [described])
        self._served: list[Served] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self._described.start()
        self._served = [await self._connection.serve(self._endpoint.subject, self._begin, queue=QUEUE)]

    async def close(self) -> None:
        await self._described.close()
        await self._connection.stop_serving(self._served)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begin(self, message: Message) -> None:
        """Answer in a task, so that a slow request does not delay others."""
        if len(self._tasks) >= _MOST_AT_ONCE:
            await self._refuse(message, RateLimitedError("Too many requests at once; try again"))
            return
        task = asyncio.create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: Message) -> None:
        began = perf_counter_ns()
        try:
            if len(message.data) > self._endpoint.max_bytes:
                raise TooLargeError(f"A request has at most {self._endpoint.max_bytes} bytes")
            async with asyncio.timeout(self._endpoint.seconds):
                raw = await self._endpoint.answer(message.data)
            await respond(message, raw)
        except BrokerPlaneError as error:
            await self._refuse(message, error)
        except TimeoutError:
            await self._refuse(message, BrokerUnavailableError("The answer took too long"))
        except Exception:
            # The requester must not wait for its time-out because of a bug here, and learns nothing of it.
            log.exception("A request to the service %s failed", self._service.name)
            await self._refuse(message, BrokerPlaneError("It failed; see its log"))
        finally:
            self._counts.note(perf_counter_ns() - began)

    async def _refuse(self, message: Message, error: BrokerPlaneError) -> None:
        self._counts.fail(str(error))
        text = shown_error(str(error))
        if message.reply:
            with suppress(BrokerPlaneError):  # the requester has its time-out
                await self._connection.publish(message.reply, b"", headers={_ERROR: text, _ERROR_CODE: error.code})
