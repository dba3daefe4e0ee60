"""Requests that wait for an answer: each has a numbered reply subject below one inbox, so one subscription serves all.

nats-py tells only its error callback about a refused publish, so the subject of each request is kept here: the request
that was refused is looked up by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker_plane.broker.client import NatsClient
from broker_plane.broker.errors import NO_RESPONDERS, UNAVAILABLE, electing, fail, unavailable
from broker_plane.broker.messages import Message
from broker_plane.errors import BrokerUnavailableError, StorageError

Answer = asyncio.Future[Message]


@dataclass(slots=True)
class _Request:
    number: int
    subject: str
    answer: Answer


class Requests:
    """The requests of one connection that have no answer yet."""

    def __init__(self, client: NatsClient) -> None:
        self.sent = 0
        """Number of requests sent so far; also the number of the latest one."""
        self._client = client
        self._inbox = ""
        self._pending: dict[str, _Request] = {}
        self._deaf: StorageError | None = None
        """Set if the server does not let this user subscribe to its own inbox, so that no answer can arrive."""

    async def start(self) -> None:
        self._inbox = self._client.new_inbox()
        await self._client.listen(f"{self._inbox}.*", self._answered)

    async def send(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Publish a request and return the future of its answer. Requests keep their order."""
        if self._deaf:
            raise self._deaf
        self.sent += 1
        key = str(self.sent)
        answer: Answer = asyncio.get_running_loop().create_future()
        self._pending[key] = _Request(self.sent, subject, answer)
        answer.add_done_callback(lambda _: self._pending.pop(key, None))
        try:
            await self._client.publish(
                subject, payload, reply=f"{self._inbox}.{key}", headers=dict(headers) if headers else None
            )
        except UNAVAILABLE as error:
            answer.cancel()
            raise unavailable(error) from error
        except BaseException:
            answer.cancel()
            raise
        return answer

    def subject_of(self, answer: Answer) -> str:
        """The subject that this answer was requested on; empty if it has arrived."""
        return next((each.subject for each in self._pending.values() if each.answer is answer), "")

    def refuse(self, subject: str, refusal: StorageError) -> None:
        """Fail the requests on `subject` (in lower case), which the server does not permit."""
        if subject == f"{self._inbox}.*".lower():
            self._deaf = refusal  # another user's name, or another role than was configured
        self.fail(refusal, lambda request: bool(self._deaf) or request.subject.lower() == subject)

    def fail_before(self, number: int, belongs: Callable[[str], bool], error: StorageError) -> None:
        """Fail the requests up to `number` whose subject `belongs`."""
        self.fail(error, lambda request: request.number <= number and belongs(request.subject))

    def fail(self, error: StorageError, chosen: Callable[[_Request], bool] = lambda _: True) -> None:
        for request in filter(chosen, list(self._pending.values())):
            fail(request.answer, error)

    def cancel(self) -> None:
        for request in list(self._pending.values()):
            request.answer.cancel()

    def unanswered(self, reason: str) -> BrokerUnavailableError:
        """The error for a request without an answer. In a cluster a leader is probably being elected."""
        return electing(reason) if self._client.clustered else unavailable(None, reason)

    def _answered(self, message: Message) -> None:
        request = self._pending.get(message.subject.rpartition(".")[2])
        if request is None or request.answer.done():
            return
        headers = message.headers or {}
        if headers.get("Status") == "503" and "Nats-Stream" not in headers:  # ADR-4; a stored message may have it too
            fail(request.answer, self.unanswered(NO_RESPONDERS))
        else:
            request.answer.set_result(message)
