"""An asker's side of the presigned subject: the Puller port over NATS. It needs no JetStream right at all."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from broker_plane.broker.connection import Connection
from broker_plane.broker.errors import NO_ANSWER
from broker_plane.broker.subscriptions import Listening
from broker_plane.errors import (
    BodyLostError,
    BrokerPlaneError,
    BrokerUnavailableError,
    DigestMismatchError,
    TooLargeError,
    TransferInterruptedError,
)
from broker_plane.plane.bodies.digest import RunningDigest
from broker_plane.plane.ports import Incoming
from broker_plane.plane.retry import patiently
from broker_plane.subjects.arrivals import Arrivals
from broker_plane.subjects.stored_windows import MOST_IGNORED, StoredWindows, number_in, weight_of
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.grant import grant_of
from broker_plane.wire.look import Look
from broker_plane.wire.names import confirm_subject, encode_id, pull_subject
from broker_plane.wire.presigned import (
    AFTER,
    AT,
    IN_ANSWER_BYTES,
    NUMBER_BYTES,
    Confirmation,
    PullAnswer,
    PullRequest,
    parse_answer,
    parse_look,
    raise_error_of,
)
from broker_plane.wire.selector import WHOLE, Selector

_TRIES = 5
_PATIENCE_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
_CLUSTER_SECONDS = 2.5
_ASKED_AGAIN = 3
"""For one answer of the plane: a thousand who ask at once are answered in turn. To ask again claims nothing more."""

_MOST_ANSWER_BYTES = IN_ANSWER_BYTES + (128 << 10)
_MOST_LOOK_BYTES = 512 << 10
_MOST_CONFIRMATION_BYTES = 64 << 10
_RESUME_SECONDS = 20.0
"""For the windows after the first: bytes are here already, and a lease lasts longer than this."""


class NatsPuller:
    """The Puller port; `asker` is this connection's name on the subjects, and its delivery subjects are its own.

    Where several processes share the name, each is a `who` of its own, so that none takes another's lease for its own.
    """

    def __init__(
        self,
        connection: Connection,
        asker: str,
        *,
        who: str = "",
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._connection = connection
        self._asker = asker
        self._who = who
        self._random = random_bytes
        self._arrivals = Arrivals(connection, asker, random_bytes)

    @property
    def connection(self) -> Connection:
        return self._connection

    @asynccontextmanager
    async def asking(self, address: str) -> AsyncIterator[NatsPuller]:
        """Who asks with the grant in `address`, for the time of the block."""
        yield self

    async def ask(self, address: str, **asked: Any) -> bytes:
        """The answer to a request that is no pull: `asked` are fields of PullRequest."""
        request = PullRequest(encode_id(self._random(NUMBER_BYTES)), WHOLE, **asked)
        subject = f"{pull_subject(grant_of(address))}.{self._asker}"

        async def attempt() -> bytes:
            return (await self._connection.request(subject, request.pack())).data

        return await patiently(attempt, _PATIENCE_SECONDS)

    @asynccontextmanager
    async def pull(self, address: str, selector: Selector, version: int | None = None) -> AsyncIterator[Incoming]:
        """As the port; with `version`, of the feed that the grant is for."""
        grant = grant_of(address)
        async with self._arrivals.pull() as (number, arriving):
            pulling = _Pulling(self._connection, grant, self._asker, number, arriving, selector, self._who, version)
            answer = await patiently(pulling.begin, _PATIENCE_SECONDS)
            body = answer.info
            stored = pulling.stored(body)
            incoming = Incoming(
                kind=body.kind,
                media_type=body.media_type,
                name=body.name,
                size=body.size if stored else None,
                digest=body.digest if stored else "",
                rows=body.rows,
                cut=not stored,
                pieces=pulling.pieces(answer),
            )
            try:
                yield incoming
            except BaseException:
                await incoming.pieces.aclose()
                await pulling.confirm(answer.lease, success=False)
                raise
            await incoming.pieces.aclose()
            await pulling.confirm(answer.lease, success=pulling.complete)

    async def look(self, address: str, sample: int) -> Look:
        return parse_look(bounded(await self.ask(address, look=sample), _MOST_LOOK_BYTES))


class _Pulling:
    """One pull: its windows, and what has arrived."""

    def __init__(
        self,
        connection: Connection,
        grant: str,
        asker: str,
        number: str,
        arriving: Listening,
        selector: Selector,
        who: str,
        version: int | None,
    ) -> None:
        self.complete = False
        self._connection = connection
        self._grant = grant
        self._asker = asker
        self._number = number
        self._arriving = arriving
        self._selector = selector
        self._who = who
        self._version = version
        self._received = 0
        self._digest = ""
        self._at = -1
        self._after = -1
        self._size = 1

    async def begin(self) -> PullAnswer:
        answer = await self._window("", -1)
        if answer.info.digest:  # the grant shows all of the body, and who asks for all of it gets the stored bytes
            self._selector = self._selector.of(answer.info.rows)
        return answer

    def stored(self, body: BodyInfo) -> bool:
        """Whether the stored bytes come: all were asked for, and the grant shows all, or there would be no digest."""
        return self._selector.whole and bool(body.digest)

    async def pieces(self, answer: PullAnswer) -> AsyncGenerator[bytes, None]:
        body = answer.info
        whole = self.stored(body)
        self._size = max(1, body.size)
        source = self._source(answer)
        digest = RunningDigest()
        held = b""
        async for piece in source:
            if held:
                yield held
            held = piece
            self._received += len(piece)
            if whole and self._received > body.size:
                raise DigestMismatchError("More arrived than was published; publish the body again")
            if whole:
                await digest.add(piece)
        if whole:
            self._digest = await digest.hexdigest()
        if whole and (self._received != body.size or self._digest != body.digest):
            raise DigestMismatchError("What arrived is not what was published; publish the body again")
        self.complete = True
        if held:
            yield held

    async def confirm(self, lease: str, *, success: bool) -> None:
        """Tell the plane how it ended; without it the lease returns by itself."""
        if not lease:
            return
        sent = min(1.0, self._received / self._size)
        confirmation = Confirmation(lease, success, self._received, sent, "" if success else self._digest)
        subject = f"{confirm_subject(self._grant)}.{self._asker}"
        request = self._connection.request(subject, confirmation.pack(), seconds=_ANSWER_SECONDS)
        if not success:
            with suppress(BrokerPlaneError):
                await asyncio.shield(request)
            return
        with suppress(BrokerUnavailableError):  # the bytes are here and verified; the lease ends by its time-out
            raise_error_of(bounded((await request).data, _MOST_CONFIRMATION_BYTES))

    def _source(self, answer: PullAnswer) -> AsyncGenerator[bytes, None]:
        if answer.data is not None:
            return self._at_once(answer.data)
        if not self.stored(answer.info):
            return self._cut(answer)

        async def ask(after: int) -> PullAnswer:
            return await self._resume(answer.lease, after)

        return StoredWindows(self._arriving, answer, ask, self._connection.attempt_seconds).chunks()

    async def _at_once(self, data: bytes) -> AsyncGenerator[bytes, None]:
        yield data

    async def _cut(self, answer: PullAnswer) -> AsyncGenerator[bytes, None]:
        """The pieces of a cut body. The plane makes each window when it is asked for, and says where it ends."""
        lease, silent, ignored = answer.lease, 0, 0
        while True:
            try:
                message = await self._connection.next_message(self._arriving)
            except BrokerUnavailableError:
                silent += 1
                if silent >= _TRIES:
                    raise TransferInterruptedError("The bytes stopped coming; pull again") from None
                await self._resume(lease, self._after)
                continue
            silent = 0
            headers = message.headers or {}
            if "Status" not in headers:
                at = number_in(headers, AT)
                # A window that was asked for twice comes twice.
                if at > self._at:
                    self._at, ignored = at, 0
                    yield message.data
                elif (ignored := ignored + weight_of(message.data)) > MOST_IGNORED:
                    raise TransferInterruptedError("The same bytes came again and again; pull again")
                continue
            if headers["Status"] != "204":
                raise BodyLostError("The stored body is gone; publish it again", reason=headers["Status"])
            after = number_in(headers, AFTER)
            if after < 0:
                return
            if (ignored := ignored + 1) > MOST_IGNORED:
                raise TransferInterruptedError("Windows came without bytes; pull again")
            if after > self._after:
                self._after = after
                await self._resume(lease, after)

    async def _resume(self, lease: str, after: int) -> PullAnswer:
        """Ask for the window after `after`; a bridge or the broker may be starting again meanwhile."""
        return await patiently(lambda: self._window(lease, after), _RESUME_SECONDS)

    async def _window(self, lease: str, after: int) -> PullAnswer:
        request = PullRequest(self._number, self._selector, lease, after, who=self._who, version=self._version)
        subject = f"{pull_subject(self._grant)}.{self._asker}"
        # In a cluster a question may go to a node that has just died, whatever it is that others have to answer.
        seconds = _CLUSTER_SECONDS if self._connection.clustered else _ANSWER_SECONDS
        tries = round((_ASKED_AGAIN + 1) * _ANSWER_SECONDS / seconds)
        for left in reversed(range(tries)):
            try:
                answer = await self._connection.request(subject, request.pack(), seconds=seconds)
            except BrokerUnavailableError as error:
                # The connection stands, so the bridge that had the question is gone, or has very many before it.
                if error.reason != NO_ANSWER or not left:
                    raise
            else:
                return parse_answer(bounded(answer.data, _MOST_ANSWER_BYTES))
        raise AssertionError("the last turn returns or raises")


def bounded(raw: bytes, most: int) -> bytes:
    """`raw`, which is not larger: a message of NATS may have 64 MB, and msgpack makes sixty times as much of them.

    Raises:
        TooLargeError: it is.
    """
    if len(raw) > most:
        raise TooLargeError(
            f"The answer has {len(raw)} bytes; the most is {most}. Ask for less, such as a smaller sample"
        )
    return raw
