"""Answers pulls of bodies. JetStream sends stored chunks to the puller by itself; cut bodies are published from here.

The reply subject of a JetStream request is always `bp.dlv.<puller>.<number>`, built here from a checked name and a
checked number: a subject that a puller chose is never used, because with the plane's rights it could be any subject.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from time import monotonic

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import chunk_request
from broker_plane.broker.leader import numbered
from broker_plane.errors import BodyLostError, BrokerPlaneError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.bodies.scoped_frames import CutFrame
from broker_plane.plane.bodies.shown import check_format, shown_of, stored_types
from broker_plane.plane.fairness.admission import BudgetShare
from broker_plane.plane.fairness.shares import Shares
from broker_plane.plane.fairness.turns import Turns
from broker_plane.plane.fairness.windows import LARGEST_BYTES, Window, Windows
from broker_plane.plane.fairness.work import SMALL
from broker_plane.plane.grants.grants import Opened
from broker_plane.plane.grants.leases import Lease
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.subjects.chunk_windows import place_of, window_after
from broker_plane.subjects.requests import MOST_OF_A_GRANT, Reply
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.presigned import AFTER, AT, PullAnswer, PullRequest, pack_preview, parse_request
from broker_plane.wire.presigned_sizes import IN_ANSWER_BYTES
from broker_plane.wire.selector import Selector

CONCURRENT = 256
"""Pulls that one bridge answers at the same time."""


class BodyRequests:
    """Answers for one bridge."""

    def __init__(self, connection: Connection, deliveries: Deliveries, *, window: int = LARGEST_BYTES) -> None:
        """`window` is the most bytes that are sent before the puller has requested more."""
        self._connection = connection
        self._names = connection.names
        self._deliveries = deliveries
        self._windows = Windows(window)
        self._turns = Turns()
        self._places = Shares(CONCURRENT, owner=CONCURRENT * 3 // 4, grant=CONCURRENT // 4, waiting=MOST_OF_A_GRANT)
        self._sending: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def answer(self, opened: Opened, puller: str, payload: bytes) -> Reply:
        """The answer to a request of `puller` for the body of the grant.

        Raises:
            BrokerPlaneError: the request is refused.
        """
        async with self._places.place(opened.payer):
            request = await self._parsed(opened, payload)
            return await self.deliver(opened, puller, request, await self._body(opened, request))

    @asynccontextmanager
    async def admitted(self, opened: Opened, payload: bytes) -> AsyncIterator[PullRequest]:
        """The parsed request, with one of the places that limit how many pulls are answered at the same time."""
        async with self._places.place(opened.payer):
            yield await self._parsed(opened, payload)

    async def _parsed(self, opened: Opened, payload: bytes) -> PullRequest:
        cost = len(payload) // 8
        if cost <= SMALL:
            return parse_request(payload)
        return await self._deliveries.work.of(opened.payer).do(cost, partial(parse_request, payload))

    async def deliver(self, opened: Opened, puller: str, request: PullRequest, body: ScopedBody) -> Reply:
        """The answer to a request for `body`: a preview, its bytes, or its first window. Raises as `answer`."""
        selector = body.of(request.selector)
        if selector is not request.selector:
            request = replace(request, selector=selector)
        if request.look is not None:
            return Reply(pack_preview(await self._deliveries.preview(opened, request.look)))
        check_format(opened, *stored_types(body.info))
        await self._deliveries.bodies.check(opened, body, request.selector)
        whole = request.selector.whole and body.whole
        subject = self._names.delivery_subject(puller, request.number)
        try:
            if whole and body.stored.size <= IN_ANSWER_BYTES:
                return await self._in_answer(opened, puller, request, body, subject)
            window = await self._turn(opened, subject, request, body.stored)
            serve = self._whole if whole else self._cut
            return await serve(opened, puller, request, body, window)
        except BaseException:
            self._turns.has(subject)
            raise

    async def _body(self, opened: Opened, request: PullRequest) -> ScopedBody:
        """The body. Its meta may be a cached one if stored chunks are sent: their absence shows that it was deleted."""
        if request.after >= 0 and request.selector.whole and opened.grant.scope.shows_all:
            body = await self._deliveries.find_cached(opened)
            if body.stored.size > IN_ANSWER_BYTES:
                return body
        if request.look is not None:
            return await self._deliveries.find_table(opened)
        return await self._deliveries.find_selected(opened, request.selector)

    async def _in_answer(
        self, opened: Opened, puller: str, request: PullRequest, body: ScopedBody, subject: str
    ) -> Reply:
        self._turns.has(subject)
        await self._room(opened, subject, body.stored.size)
        held = self._deliveries.bodies.held(body)
        if held is not None or not opened.grant.counters:  # it is in memory, or no claim is written
            async with self._leased(opened, puller, request, 1.0) as lease:
                data = await self._read(body) if held is None else held
                return self._sent(subject, request, body.stored, lease, data)
        # The store is read while the claim is written; nothing leaves before the claim is acknowledged.
        ahead = asyncio.create_task(self._read(body))
        try:
            async with self._leased(opened, puller, request, 1.0) as lease:
                return self._sent(subject, request, body.stored, lease, await ahead)
        finally:
            await cancel_and_forget(ahead)

    def _sent(self, subject: str, request: PullRequest, body: BodyInfo, lease: Lease, data: bytes) -> Reply:
        """The answer with all of a small body in it."""
        self._turns.sent(subject, body.size, last=True)
        self._pulled(body, lease, request, body.size)
        return Reply(PullAnswer(lease.id, body, data).pack(), body.size)

    async def _read(self, scoped: ScopedBody) -> bytes:
        return b"".join([piece async for piece in self._deliveries.bodies.read(scoped)])

    @asynccontextmanager
    async def _leased(
        self, opened: Opened, puller: str, request: PullRequest, pay: float, reserve: float = 1.0
    ) -> AsyncIterator[Lease]:
        """The lease that a window is sent under, with `pay` of the delivery paid.

        If the first window fails in the block, its use is returned: the puller has not heard of the lease, so it can
        neither resume nor confirm.
        """
        claimant = request.claimant(puller)
        if request.lease:
            lease = Lease(opened.grant, request.lease if opened.grant.counters else "", claimant, puller)
            await self._deliveries.pay(lease, pay)
            yield lease
            return
        lease = await self._deliveries.claim(opened, claimant, request.number, reserve=reserve, pay=pay)
        try:
            yield lease
        except BrokerPlaneError:
            with suppress(BrokerPlaneError):
                await self._deliveries.release(lease, unsent=pay)
            raise

    async def _turn(self, opened: Opened, pull: str, request: PullRequest, body: BodyInfo) -> Window:
        """The next window of a pull, once the broker has room for it."""
        window = self._windows.of(request.number, monotonic())
        self._turns.has(pull, but=int(window.ahead))
        await self._room(opened, pull, max(window.bytes, body.chunk_bytes))
        return window

    async def _room(self, opened: Opened, pull: str, size: int) -> None:
        """Wait until the broker has room for `size` bytes. A pull that waits gives up its place meanwhile."""
        share = BudgetShare(opened.owner, opened.grant.id)
        if self._turns.fits(size):
            await self._turns.take(pull, size, share)
        else:
            async with self._places.left(opened.payer):
                await self._turns.take(pull, size, share)

    async def _whole(
        self, opened: Opened, puller: str, request: PullRequest, scoped: ScopedBody, window: Window
    ) -> Reply:
        """A window of the stored chunks, which JetStream sends to the puller by itself."""
        body, subject = scoped.stored, self._names.delivery_subject(puller, request.number)
        sequence, count = window_after(body, request.after, max(1, window.bytes // body.chunk_bytes))
        first = place_of(body, sequence) * body.chunk_bytes if count else body.size
        size = min(count * body.chunk_bytes, body.size - first)
        async with self._leased(opened, puller, request, size / body.size, 1.0 - first / body.size) as lease:
            if count:
                last = first + size == body.size
                if last:
                    self._windows.last(request.number, size, monotonic())
                self._turns.sent(subject, size, last=last)
                self._pulled(body, lease, request, size)
                repeated = self._windows.again(request.number, request.after)
                send = self._send_again if repeated else self._send_stored
                await send(body, sequence, count, subject)
            else:
                self._turns.has(subject)
        until = sequence + count - 1 if window.ahead else -1
        return Reply(PullAnswer(lease.id, body, until=until).pack(), size)

    async def _send_stored(self, body: BodyInfo, sequence: int, count: int, subject: str) -> None:
        """Let JetStream send the window."""
        fields = chunk_request(self._names, body, sequence, count)
        api = f"{self._connection.js_api}.DIRECT.GET.{self._names.object_stream(body.owner)}"
        await self._connection.publish(api, orjson.dumps(fields), reply=subject)

    async def _send_again(self, body: BodyInfo, sequence: int, count: int, subject: str) -> None:
        """Send a window that did not arrive. Its first chunk comes from a replica that has it, so the puller advances.

        Raises:
            BodyLostError: no replica has it.
        """
        chunk = await numbered(self._connection, self._names.object_stream(body.owner), sequence)
        if chunk is None:
            raise BodyLostError("A part of the stored body is lost; publish it again", reason=f"sequence {sequence}")
        await self._connection.publish(subject, chunk.data, headers={"Nats-Sequence": str(sequence)})
        if count > 1:
            await self._send_stored(body, sequence + 1, count - 1, subject)
        else:
            await self._connection.publish(subject, b"", headers={"Status": "204"})

    async def _cut(self, opened: Opened, puller: str, request: PullRequest, body: ScopedBody, allowed: Window) -> Reply:
        """A window of frames that are made here, with only what the grant shows and the request selects."""
        first = request.after + 1
        # A body that fits into one window is paid for with the claim; otherwise the window is made to know its share.
        paid = 1.0 if first == 0 and body.stored.size <= allowed.bytes else 0.0
        async with self._leased(opened, puller, request, paid) as lease:
            window, more = await self._frames(body, request.selector, first, allowed.bytes)
            size = sum(len(frame.raw) for frame in window)
            share = _share(body, request.selector, window, size)
            if share > paid:
                await self._deliveries.pay(lease, share - paid)
            self._pulled(body.info, lease, request, size)
        if not more:
            self._windows.last(request.number, size, monotonic())
        subject = self._names.delivery_subject(puller, request.number)
        self._turns.sent(subject, size, last=not more)
        if first == 0 and not more and size <= IN_ANSWER_BYTES:
            return Reply(PullAnswer(lease.id, body.info, b"".join(frame.raw for frame in window)).pack(), size)
        sending = asyncio.create_task(self._send_frames(subject, window, more))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        return Reply(PullAnswer(lease.id, body.info).pack(), size)

    async def _frames(self, body: ScopedBody, selector: Selector, first: int, most: int) -> tuple[list[CutFrame], bool]:
        """Cut frames from number `first` on, until they have `most` bytes; and whether there are more."""
        window: list[CutFrame] = []
        size = 0
        async with aclosing(self._deliveries.frames.cut(body, selector, first)) as frames:
            async for frame in frames:
                window.append(frame)
                size += len(frame.raw)
                if size >= most:
                    return window, True
        return window, False

    async def _send_frames(self, subject: str, window: list[CutFrame], more: bool) -> None:
        """Publish a window; its end says which frame was the last, or nothing if there are no more."""
        end = {"Status": "204"}
        if more:
            end[AFTER] = str(window[-1].number)
        with suppress(BrokerPlaneError):  # the puller misses the end and requests the window again
            for frame in window:
                for part, start in enumerate(range(0, len(frame.raw), IN_ANSWER_BYTES)):
                    headers = {AT: str((frame.number << 20) + part)}
                    piece = frame.raw[start : start + IN_ANSWER_BYTES]
                    await self._connection.publish(subject, piece, headers=headers)
            await self._connection.publish(subject, b"", headers=end)

    def _pulled(self, body: BodyInfo, lease: Lease, request: PullRequest, size: int) -> None:
        self._deliveries.audit.pulled(lease, size, shown_of(body, request.selector), request.number)


def _share(body: ScopedBody, selector: Selector, window: list[CutFrame], size: int) -> float:
    """The share of a cut delivery that `window` is: of its rows, or of the stored bytes if that is more."""
    rows = shown_of(body.info, selector).rows or 0
    return min(1.0, max(sum(frame.rows for frame in window) / max(1, rows), size / max(1, body.stored.size)))
