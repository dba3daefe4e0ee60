"""The puller's side of the presigned subject: the Puller port over NATS. It needs no JetStream permission at all."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from broker_plane.broker.connection import Connection
from broker_plane.plane.ports import Incoming
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.subjects.arrivals import Arrivals
from broker_plane.subjects.pull import SubjectPull, bounded
from broker_plane.wire.grant import grant_of
from broker_plane.wire.names import encode_id
from broker_plane.wire.presigned import (
    NUMBER_BYTES,
    PullRequest,
    parse_preview,
)
from broker_plane.wire.preview import Preview
from broker_plane.wire.selector import WHOLE, Selector

RETRY_SECONDS = 5.0
_MAX_PREVIEW_BYTES = 512 << 10


class NatsPuller:
    """The Puller port; `asker` is this connection's name on the subjects, and only it gets what is delivered there.

    If several processes share the name, each has a `who` of its own, so that none uses another's lease.
    """

    def __init__(
        self,
        connection: Connection,
        asker: str,
        *,
        who: str = "",
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """`retry_seconds` is how long a retryable refusal is retried before it is raised."""
        self._connection = connection
        self._names = connection.names
        self._asker = asker
        self._who = who
        self._random = random_bytes
        self._retry_seconds = retry_seconds
        self._arrivals = Arrivals(connection, asker, random_bytes)

    @property
    def connection(self) -> Connection:
        return self._connection

    @asynccontextmanager
    async def puller_for(self, address: str) -> AsyncIterator[NatsPuller]:
        """The puller for requests with the grant in `address`, for the time of the block."""
        yield self

    def new_number(self) -> str:
        """A number for a request that is not a pull."""
        return encode_id(self._random(NUMBER_BYTES))

    async def request(self, address: str, request: PullRequest) -> bytes:
        """The answer to a request that is not a pull."""
        subject = f"{self._names.pull_subject(grant_of(address))}.{self._asker}"

        async def attempt() -> bytes:
            return (await self._connection.request(subject, request.pack())).data

        return await retry_while_retryable(attempt, self._retry_seconds)

    @asynccontextmanager
    async def pull(self, address: str, selector: Selector, version: int | None = None) -> AsyncIterator[Incoming]:
        """As the port; `version` is one of the feed that the grant is for."""
        grant = grant_of(address)
        async with self._arrivals.pull() as (number, arriving):
            request = PullRequest(number, selector, who=self._who, version=version)
            pull = SubjectPull(self._connection, grant, self._asker, request, arriving)
            answer = await retry_while_retryable(pull.begin, self._retry_seconds)
            incoming = pull.incoming(answer)
            try:
                yield incoming
            except BaseException:
                await incoming.pieces.aclose()
                await pull.confirm(answer.lease, success=False)
                raise
            await incoming.pieces.aclose()
            await pull.confirm(answer.lease, success=pull.complete)

    async def look(self, address: str, sample: int) -> Preview:
        request = PullRequest(self.new_number(), WHOLE, look=sample)
        return parse_preview(bounded(await self.request(address, request), _MAX_PREVIEW_BYTES))
