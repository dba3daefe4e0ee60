"""One pull over the presigned subject: its windows, and what has arrived of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace

from broker_plane.broker.connection import Connection
from broker_plane.broker.errors import NO_ANSWER
from broker_plane.broker.subscriptions import Subscription
from broker_plane.errors import (
    BodyLostError,
    BrokerPlaneError,
    BrokerUnavailableError,
    TooLargeError,
    TransferInterruptedError,
)
from broker_plane.plane.bodies.digest import RunningDigest, held_back, verified
from broker_plane.plane.ports import Incoming
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.subjects.stored_windows import MAX_IGNORED, StoredWindows, number_in, weight_of
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.presigned import (
    AFTER,
    AT,
    PullAnswer,
    PullConfirmation,
    PullRequest,
    parse_answer,
    raise_error_of,
)
from broker_plane.wire.presigned_sizes import IN_ANSWER_BYTES

_ATTEMPTS = 5
_ANSWER_SECONDS = 10.0
_CLUSTER_ANSWER_SECONDS = 2.5
_REPEATS = 3
"""Of a request without an answer: a thousand simultaneous pulls are answered in turn. A repeat claims nothing more."""

_MAX_ANSWER_BYTES = IN_ANSWER_BYTES + (128 << 10)
_MAX_CONFIRMATION_BYTES = 64 << 10
_RESUME_SECONDS = 20.0
"""To retry the windows after the first: some bytes are here already, and a lease lasts longer than this."""


class SubjectPull:
    """One pull of `grant` as `asker`; `request` is the one for its first window."""

    def __init__(
        self, connection: Connection, grant: str, asker: str, request: PullRequest, arriving: Subscription
    ) -> None:
        self.complete = False
        """Whether everything has arrived and is verified."""
        self._connection = connection
        self._pull_subject = f"{connection.names.pull_subject(grant)}.{asker}"
        self._confirm_subject = f"{connection.names.confirm_subject(grant)}.{asker}"
        self._request = request
        self._arriving = arriving
        self._received = 0
        self._running = RunningDigest()
        self._ended = False
        self._at = -1
        self._after = -1
        self._size = 1

    async def begin(self) -> PullAnswer:
        """The answer to the request for the first window."""
        answer = await self._window("", -1)
        if answer.info.digest:  # the grant shows all of the body: a request for all of it gets the stored bytes
            selector = self._request.selector.of(answer.info.rows)
            if selector is not self._request.selector:
                self._request = replace(self._request, selector=selector)
        return answer

    def incoming(self, answer: PullAnswer) -> Incoming:
        body = answer.info
        stored = self._is_stored(body)
        return Incoming(
            kind=body.kind,
            media_type=body.media_type,
            name=body.name,
            size=body.size if stored else None,
            digest=body.digest if stored else "",
            rows=body.rows,
            cut=not stored,
            pieces=self._pieces(answer),
        )

    async def confirm(self, lease: str, *, success: bool) -> None:
        """Tell the plane how the pull ended; without it the lease expires."""
        if not lease:
            return
        sent = min(1.0, self._received / self._size)
        digest = await self._running.hexdigest() if self._ended and not success else ""
        confirmation = PullConfirmation(lease, success, self._received, sent, digest)
        request = self._connection.request(self._confirm_subject, confirmation.pack(), seconds=_ANSWER_SECONDS)
        if not success:
            with suppress(BrokerPlaneError):
                await asyncio.shield(request)
            return
        with suppress(BrokerUnavailableError):  # the bytes are here and verified, and the lease expires
            raise_error_of(bounded((await request).data, _MAX_CONFIRMATION_BYTES))

    def _is_stored(self, body: BodyInfo) -> bool:
        """Whether the stored bytes arrive: everything was requested, and the grant shows everything (a digest)."""
        return self._request.selector.whole and bool(body.digest)

    def _pieces(self, answer: PullAnswer) -> AsyncGenerator[bytes, None]:
        """The pieces that arrive. The last one is held back until the digest is verified."""
        body = answer.info
        self._size = max(1, body.size)
        arriving = self._counted(self._source(answer)) if answer.data is None else self._in_answer(answer.data)
        if self._is_stored(body):
            return verified(arriving, body.digest, body.size, running=self._running, complete=self._completed)
        return held_back(arriving, self._check_nothing)

    async def _counted(self, source: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async with aclosing(source):
            async for piece in source:
                self._received += len(piece)
                yield piece
        self._ended = True

    async def _check_nothing(self) -> None:
        """Cut frames verify themselves when they are decoded."""
        self._completed()

    def _completed(self) -> None:
        self.complete = True

    def _source(self, answer: PullAnswer) -> AsyncGenerator[bytes, None]:
        if not self._is_stored(answer.info):
            return self._cut(answer)

        async def request_window(after: int) -> PullAnswer:
            return await self._resume(answer.lease, after)

        return StoredWindows(self._arriving, answer, request_window, self._connection.attempt_seconds).chunks()

    async def _in_answer(self, data: bytes) -> AsyncGenerator[bytes, None]:
        """The whole body, which came with the answer."""
        self._received = len(data)
        yield data
        self._ended = True

    async def _cut(self, answer: PullAnswer) -> AsyncGenerator[bytes, None]:
        """The pieces of a cut body. The plane makes each window on request, and says where it ends."""
        lease, silent, ignored = answer.lease, 0, 0
        while True:
            try:
                message = await self._arriving.next(self._connection.timeout)
            except BrokerUnavailableError:
                silent += 1
                if silent >= _ATTEMPTS:
                    raise TransferInterruptedError("The bytes stopped coming; pull again") from None
                await self._resume(lease, self._after)
                continue
            silent = 0
            headers = message.headers or {}
            if "Status" not in headers:
                at = number_in(headers, AT)
                # A window that was requested twice arrives twice.
                if at > self._at:
                    self._at, ignored = at, 0
                    yield message.data
                elif (ignored := ignored + weight_of(message.data)) > MAX_IGNORED:
                    raise TransferInterruptedError("The same bytes arrived again and again; pull again")
                continue
            if headers["Status"] != "204":
                raise BodyLostError("The stored body is lost; publish it again", reason=headers["Status"])
            after = number_in(headers, AFTER)
            if after < 0:
                return
            if (ignored := ignored + 1) > MAX_IGNORED:
                raise TransferInterruptedError("Windows arrived without bytes; pull again")
            if after > self._after:
                self._after = after
                await self._resume(lease, after)

    async def _resume(self, lease: str, after: int) -> PullAnswer:
        """Request the window after `after`; a bridge or the broker may be restarting meanwhile."""
        return await retry_while_retryable(lambda: self._window(lease, after), _RESUME_SECONDS)

    async def _window(self, lease: str, after: int) -> PullAnswer:
        first = not lease and after < 0
        request = (self._request if first else replace(self._request, lease=lease, after=after)).pack()
        # In a cluster a request may go to a node that has just died, whichever bridge would have answered it.
        seconds = _CLUSTER_ANSWER_SECONDS if self._connection.clustered else _ANSWER_SECONDS
        attempts = round((_REPEATS + 1) * _ANSWER_SECONDS / seconds)
        for left in reversed(range(attempts)):
            try:
                answer = await self._connection.request(self._pull_subject, request, seconds=seconds)
            except BrokerUnavailableError as error:
                # The connection is fine, so the bridge that had the request has ended, or has very many before it.
                if error.reason != NO_ANSWER or not left:
                    raise
            else:
                return parse_answer(bounded(answer.data, _MAX_ANSWER_BYTES))
        raise AssertionError("the last attempt returns or raises")


def bounded(raw: bytes, max_bytes: int) -> bytes:
    """`raw`, if it is small enough: a message of NATS may have 64 MB, and msgpack makes sixty times as much of them.

    Raises:
        TooLargeError: it is larger.
    """
    if len(raw) > max_bytes:
        raise TooLargeError(
            f"The answer has {len(raw)} bytes; the most is {max_bytes}. Request less, such as a smaller sample"
        )
    return raw
