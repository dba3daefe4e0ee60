"""Services as other NATS tools see them (ADR-32): `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, and an endpoint.

nats-py's `nats.micro` is not used: it answers an error with the `repr` of any exception, which may contain a secret,
and handles the requests of an endpoint one after the other, without a limit of size or time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from time import perf_counter_ns
from typing import Any

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message, respond
from broker_plane.broker.subscriptions import Served
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, PeerError, RateLimitedError, TooLargeError
from broker_plane.plane.announcements.ports import ServiceDescription, ServiceEndpoint
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.wire.urls import redact

log = redacted_logger(__name__)

_ERROR, _ERROR_CODE = "Nats-Service-Error", "Nats-Service-Error-Code"
_RESPONSE = "io.nats.micro.v1.{}_response"
_QUEUE = "q"
"""The queue group of endpoints, as ADR-32 has it."""

_MOST_AT_ONCE = 64
_MAX_MESSAGE = 500
"""Maximum length of the text of an error, in characters."""


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
            raise PeerError(f"The agent refused: {redact(headers[_ERROR])[:_MAX_MESSAGE]}")
        return answer.data


class _Responder:
    def __init__(self, connection: Connection, service: ServiceDescription, endpoint: ServiceEndpoint) -> None:
        self._connection = connection
        self._service = service
        self._endpoint = endpoint
        self._served: list[Served] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = datetime.now(UTC)
        self._requests = self._errors = self._busy_ns = 0
        self._last_error = ""

    async def start(self) -> None:
        own = (f".{self._service.name}", f".{self._service.name}.{self._service.id}")
        for verb, fields in (("PING", self._ping), ("INFO", self._info), ("STATS", self._stats)):
            for suffix in ("", *own):
                # No queue group: every instance answers.
                await self._serve(f"$SRV.{verb}{suffix}", partial(_describe, fields), "")
        await self._serve(self._endpoint.subject, self._begin, _QUEUE)

    async def close(self) -> None:
        await self._connection.stop_serving(self._served)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, subject: str, answer: Callable[[Message], Awaitable[None]], queue: str) -> None:
        self._served.append(await self._connection.serve(subject, answer, queue=queue))

    def _identity(self, kind: str) -> dict[str, Any]:
        service = self._service
        return {
            "type": _RESPONSE.format(kind),
            "name": service.name,
            "id": service.id,
            "version": service.version,
            "metadata": dict(service.metadata),
        }

    def _ping(self) -> dict[str, Any]:
        return self._identity("ping")

    def _info(self) -> dict[str, Any]:
        return self._identity("info") | {
            "description": self._service.description,
            "endpoints": [self._named_endpoint() | {"metadata": {}}],
        }

    def _stats(self) -> dict[str, Any]:
        counts = {
            "num_requests": self._requests,
            "num_errors": self._errors,
            "last_error": self._last_error,
            "processing_time": self._busy_ns,
            "average_processing_time": self._busy_ns // max(1, self._requests),
            "data": None,
        }
        started = f"{self._started:%Y-%m-%dT%H:%M:%S}.{self._started.microsecond // 1000:03}Z"
        return self._identity("stats") | {"started": started, "endpoints": [self._named_endpoint() | counts]}

    def _named_endpoint(self) -> dict[str, Any]:
        return {"name": self._endpoint.name, "subject": self._endpoint.subject, "queue_group": _QUEUE}

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
        self._requests += 1
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
            self._busy_ns += perf_counter_ns() - began

    async def _refuse(self, message: Message, error: BrokerPlaneError) -> None:
        text = " ".join(redact(str(error)).split())[:_MAX_MESSAGE]
        self._errors += 1
        self._last_error = text
        if message.reply:
            with suppress(BrokerPlaneError):  # the requester has its time-out
                await self._connection.publish(message.reply, b"", headers={_ERROR: text, _ERROR_CODE: error.code})


async def _describe(fields: Callable[[], dict[str, Any]], message: Message) -> None:
    await respond(message, orjson.dumps(fields()))
