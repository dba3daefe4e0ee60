"""The plane's side of the presigned subject: opens the grant, claims it, and lets JetStream send the bytes.

The reply of our own JetStream request is always `bp.dlv.<asker>.<n>`, made here from a checked asker and a checked
number: a subject that an asker chose is never used (architecture.md, "Why the accounts").
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any

import nats.errors
import orjson
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import chunk_request
from broker_plane.broker.leader import numbered
from broker_plane.errors import BodyLostError, BrokerPlaneError, WireError
from broker_plane.plane.bodies.deliveries import CutFrame, Deliveries, check_format, shown_of, stored_types
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.fairness.admission import Share
from broker_plane.plane.fairness.shares import Shares
from broker_plane.plane.fairness.turns import Turns
from broker_plane.plane.fairness.windows import LARGEST_BYTES, Window, Windows
from broker_plane.plane.grants.grants import Lease, Opened
from broker_plane.plane.redacted_logs import quiet_logger
from broker_plane.plane.streams.access import GrantedStreams
from broker_plane.plane.tasks import abandoned
from broker_plane.subjects.feed_requests import FeedRequests
from broker_plane.subjects.requests import MODEST_BYTES, MOST_OF_A_GRANT, Asked, Claim, claim_of
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.grant import Kind
from broker_plane.wire.names import delivery_subject, object_stream, parse_asker
from broker_plane.wire.presigned import (
    AFTER,
    AT,
    IN_ANSWER_BYTES,
    Confirmation,
    PullAnswer,
    PullRequest,
    pack_error,
    pack_look,
    parse_confirmation,
    parse_request,
)
from broker_plane.wire.selector import Selector
from broker_plane.wire.streams import pack_items

log = quiet_logger(__name__)
_QUEUE = "bp"
_AT_ONCE = 256
_FOLLOWS_OF_A_GRANT = 4


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
        self._feeds = feeds
        self._live = live
        self._windows = Windows(window)
        self._turns = Turns()
        self._subscriptions: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest: dict[tuple[str, bytes], Msg] = {}
        """The last message of each request that is being answered, by its subject and what it asks for."""
        self._asked = Asked()
        self._pulls = Shares(_AT_ONCE, owner=_AT_ONCE * 3 // 4, grant=_AT_ONCE // 4, waiting=MOST_OF_A_GRANT)
        # Who waits for live items holds no place that pulls need; a stream has one reader.
        self._follows = Shares(_AT_ONCE, owner=_AT_ONCE * 3 // 4, grant=_FOLLOWS_OF_A_GRANT, waiting=0)

    async def start(self) -> None:
        client = self._connection.client
        for subject, answer in (("bp.pull.*.*", self._pull), ("bp.confirm.*.*", self._confirm)):
            self._subscriptions.append(await client.subscribe(subject, queue=_QUEUE, cb=self._begin(answer)))

    async def close(self) -> None:
        """It has left the queue group, so that the server sends what comes now to another member."""
        await self._connection.leave(self._subscriptions)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, answer: Callable[[Msg], Awaitable[bytes]]) -> Callable[[Msg], Awaitable[None]]:
        """A subscription's callback that answers beside the others: one slow pull holds up no other."""

        async def begin(message: Msg) -> None:
            asked = (message.subject, message.data)
            if asked in self._latest:
                # Asked again because the answer is late: it is claimed, paid and sent once, in answer to the last.
                self._latest[asked] = message
                return
            claim = claim_of(message.subject.split(".")[2], len(message.data))
            try:
                self._asked.take(claim)
            except BrokerPlaneError as error:
                await self._respond(message, pack_error(error))
                return
            self._latest[asked] = message
            task = asyncio.create_task(self._answer(message, answer))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, claim, asked))

        return begin

    def _ended(self, claim: Claim, asked: tuple[str, bytes], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._latest.pop(asked, None)
        self._asked.free(claim)

    async def _answer(self, message: Msg, answer: Callable[[Msg], Awaitable[bytes]]) -> None:
        try:
            reply = await answer(message)
        except BrokerPlaneError as error:
            log.info("refused: %s (%s)", error.code, error.reason)
            reply = pack_error(error)
        except Exception:
            # The asker must not wait for its time-out because of a fault of ours.
            log.exception("a pull failed")
            reply = pack_error(BrokerPlaneError("The plane failed; see its log"))
        await self._respond(self._latest.pop((message.subject, message.data), message), reply)

    async def _respond(self, message: Msg, reply: bytes) -> None:
        if message.reply:
            with suppress(nats.errors.Error):
                await message.respond(reply)

    async def _pull(self, message: Msg) -> bytes:
        opened, asker = await self._open(message)
        size = len(message.data)
        if opened.grant.kind is Kind.STREAM and self._live is not None and size <= MODEST_BYTES:
            request = parse_request(message.data)
            if request.after >= 0:
                return await self._follow(self._live, opened, request.after)
        async with self._pulls.place(opened.payer):
            parse = partial(parse_request, message.data)
            request = await self._deliveries.work.of(opened.payer).do(size // 8, parse)
            return await self._admitted(opened, asker, request)

    async def _follow(self, lives: GrantedStreams, opened: Opened, after: int) -> bytes:
        async with self._follows.place(opened.payer):
            live = await lives.of(opened)
            return pack_items(live, await lives.window(live, after))

    async def _admitted(self, opened: Opened, asker: str, request: PullRequest) -> bytes:
        if opened.grant.kind is Kind.FEED and self._feeds is not None:
            answered = await self._feeds.answer(opened, asker, request)
            if isinstance(answered, bytes):
                return answered
            body = answered
        else:
            body = await self._found(opened, request)
        request = replace(request, selector=body.of(request.selector))
        if request.look is not None:
            return pack_look(await self._deliveries.look(opened, request.look))
        check_format(opened, *stored_types(body.info))
        await self._deliveries.check(opened, body, request.selector)
        whole = request.selector.whole and body.whole
        subject = delivery_subject(asker, request.number)
        try:
            if whole and body.stored.size <= IN_ANSWER_BYTES:
                return await self._in_answer(opened, asker, request, body, subject)
            window = await self._turn(opened, subject, request, body.stored)
            serve = self._whole if whole else self._cut
            return await serve(opened, asker, request, body, window)
        except BaseException:
            self._turns.has(subject)
            raise

    async def _in_answer(
        self, opened: Opened, asker: str, request: PullRequest, body: ScopedBody, subject: str
    ) -> bytes:
        # The store is read while the claim is written; nothing of it leaves before the claim is there.
        ahead = asyncio.create_task(self._at_once(body))
        try:
            await self._turn(opened, subject, request, body.stored, size=body.stored.size)
            async with self._leased(opened, asker, request, 1.0) as lease:
                data = await ahead
                self._turns.sent(subject, body.stored.size, last=True)
                self._pulled(body.stored, lease, request, body.stored.size)
                return PullAnswer(lease.id, body.stored, data).pack()
        finally:
            await abandoned(ahead)

    async def _found(self, opened: Opened, request: PullRequest) -> ScopedBody:
        """The body. Of one whose chunks go out as they are stored, these say themselves whether it is still there."""
        if request.after >= 0 and request.selector.whole and opened.grant.scope.shows_all:
            body = await self._deliveries.found(opened)
            if body.stored.size > IN_ANSWER_BYTES:
                return body
        return await self._deliveries.find(opened)

    async def _open(self, message: Msg) -> tuple[Opened, str]:
        tokens = message.subject.split(".")
        asker = parse_asker(tokens[3])
        return await self._deliveries.open(tokens[2], asker), asker

    @asynccontextmanager
    async def _leased(
        self, opened: Opened, asker: str, request: PullRequest, pay: float, reserve: float = 1.0
    ) -> AsyncIterator[Lease]:
        """The lease that a window goes out under, with `pay` of the delivery paid.

        Where the first window breaks in the block its use comes back: the asker has not heard of the lease, so it can
        neither resume nor confirm.
        """
        claimant = request.claimant(asker)
        if request.lease:
            lease = Lease(opened.grant, request.lease if opened.grant.counters else "", claimant, asker)
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

    async def _turn(self, opened: Opened, pull: str, request: PullRequest, body: BodyInfo, *, size: int = 0) -> Window:
        """The next window of a pull, once there is room at the broker for it or for `size` bytes.

        A pull that waits for that holds no place.
        """
        window = self._windows.of(request.number, monotonic())
        size = size or max(window.bytes, body.chunk_bytes)
        share = Share(opened.owner, opened.grant.id)
        self._turns.has(pull, but=int(window.ahead))
        if self._turns.fits(size):
            await self._turns.take(pull, size, share)
        else:
            async with self._pulls.left(opened.payer):
                await self._turns.take(pull, size, share)
        return window

    async def _at_once(self, scoped: ScopedBody) -> bytes:
        return b"".join([piece async for piece in self._deliveries.read(scoped)])

    async def _whole(
        self, opened: Opened, asker: str, request: PullRequest, scoped: ScopedBody, window: Window
    ) -> bytes:
        """A window of the stored chunks, which JetStream sends to the asker by itself."""
        body, subject = scoped.stored, delivery_subject(asker, request.number)
        sequence, count = _window(body, request.after, max(1, window.bytes // body.chunk_bytes))
        first = _place(body, sequence) * body.chunk_bytes if count else body.size
        size = min(count * body.chunk_bytes, body.size - first)
        async with self._leased(opened, asker, request, size / body.size, 1.0 - first / body.size) as lease:
            if count:
                last = first + size == body.size
                if last:
                    self._windows.last(request.number, size, monotonic())
                self._turns.sent(subject, size, last=last)
                self._pulled(body, lease, request, size)
                again = self._windows.again(request.number, request.after)
                send = self._send_again if again else self._send_stored
                await send(body, sequence, count, subject)
            else:
                self._turns.has(subject)
        return PullAnswer(lease.id, body, until=sequence + count - 1 if window.ahead else -1).pack()

    async def _send_stored(self, body: BodyInfo, sequence: int, count: int, subject: str) -> None:
        """Let JetStream send the window."""
        fields = chunk_request(body, sequence, count)
        asked = f"{self._connection.js_api}.DIRECT.GET.{object_stream(body.owner)}"
        await self._connection.publish(asked, orjson.dumps(fields), reply=subject)

    async def _send_again(self, body: BodyInfo, sequence: int, count: int, subject: str) -> None:
        """Send a window that did not arrive. Its first chunk comes from a replica that has it, so the reader advances.

        Raises:
            BodyLostError: no replica has it.
        """
        chunk = await numbered(self._connection, object_stream(body.owner), sequence)
        if chunk is None:
            raise BodyLostError("A part of the stored body is gone; publish it again", reason=f"sequence {sequence}")
        await self._connection.publish(subject, chunk.data, headers={"Nats-Sequence": str(sequence)})
        if count > 1:
            await self._send_stored(body, sequence + 1, count - 1, subject)
        else:
            await self._connection.publish(subject, b"", headers={"Status": "204"})

    async def _cut(self, opened: Opened, asker: str, request: PullRequest, body: ScopedBody, allowed: Window) -> bytes:
        """A window of what is made here: frames with only what the grant shows and the request selects."""
        first = request.after + 1
        most = allowed.bytes
        # What fits into one window is paid for with the claim; else it is known only when the window is made.
        paid = 1.0 if first == 0 and body.stored.size <= most else 0.0
        async with self._leased(opened, asker, request, paid) as lease:
            window, more = await self._frames(body, request.selector, first, most)
            size = sum(len(frame.raw) for frame in window)
            share = _share(body, request.selector, window, size)
            if share > paid:
                await self._deliveries.pay(lease, share - paid)
            self._pulled(body.info, lease, request, size)
        if not more:
            self._windows.last(request.number, size, monotonic())
        subject = delivery_subject(asker, request.number)
        self._turns.sent(subject, size, last=not more)
        if first == 0 and not more and size <= IN_ANSWER_BYTES:
            return PullAnswer(lease.id, body.info, b"".join(frame.raw for frame in window)).pack()
        self._spawn(self._deliver(subject, window, more))
        return PullAnswer(lease.id, body.info).pack()

    async def _frames(self, body: ScopedBody, selector: Selector, first: int, most: int) -> tuple[list[CutFrame], bool]:
        """Cut frames from the frame `first` on, until they have `most` bytes; and whether there are more."""
        window: list[CutFrame] = []
        size = 0
        async with aclosing(self._deliveries.cut(body, selector, first)) as frames:
            async for frame in frames:
                window.append(frame)
                size += len(frame.raw)
                if size >= most:
                    return window, True
        return window, False

    def _pulled(self, body: BodyInfo, lease: Lease, request: PullRequest, size: int) -> None:
        self._deliveries.pulled(lease, size, shown_of(body, request.selector), request.number)

    async def _deliver(self, subject: str, window: list[CutFrame], more: bool) -> None:
        """Publish a window; its end says which frame was the last, or nothing where there are no more."""
        end = {"Status": "204"}
        if more:
            end[AFTER] = str(window[-1].number)
        with suppress(BrokerPlaneError):  # the asker misses the end and asks for the window again
            for frame in window:
                for part, start in enumerate(range(0, len(frame.raw), IN_ANSWER_BYTES)):
                    headers = {AT: str((frame.number << 20) + part)}
                    piece = frame.raw[start : start + IN_ANSWER_BYTES]
                    await self._connection.publish(subject, piece, headers=headers)
            await self._connection.publish(subject, b"", headers=end)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _confirm(self, message: Msg) -> bytes:
        """The asker's word on how its delivery ended. What it cost is what was sent, whatever the asker says."""
        opened, asker = await self._open(message)
        confirmation = parse_confirmation(message.data)
        lease = Lease(opened.grant, confirmation.lease if opened.grant.counters else "", asker, asker)
        problem = await self._problem(opened, confirmation)
        if problem:
            self._deliveries.failed(opened, problem, lease if lease.id else None)
            await self._deliveries.release(lease, final=True)
        else:
            await self._deliveries.finish(lease)
        return b"\x80"  # an empty msgpack map

    async def _problem(self, opened: Opened, confirmation: Confirmation) -> str:
        """What the reader found wrong, in the words of a confirmation over HTTP; nothing where all is well."""
        if confirmation.success and not confirmation.checksum:
            return ""
        if opened.grant.kind is Kind.BODY and opened.grant.scope.shows_all:
            with suppress(BrokerPlaneError):  # gone or lost: what its reader says is all that is known
                body = (await self._deliveries.find(opened)).info
                if not confirmation.success and confirmation.bytes_received < body.size:
                    return "short"
                if confirmation.checksum and confirmation.checksum != body.digest:
                    return "checksum"
        return "" if confirmation.success else "failure"


def _share(body: ScopedBody, selector: Selector, window: list[CutFrame], size: int) -> float:
    """The part of a cut delivery that `window` is: by rows, or by bytes of the stored body where that is more."""
    rows = shown_of(body.info, selector).rows or 0
    return min(1.0, max(sum(frame.rows for frame in window) / max(1, rows), size / max(1, body.stored.size)))


def _place(body: BodyInfo, sequence: int) -> int:
    """The number of the chunk that has this stream sequence."""
    number = 0
    for first, count in body.runs:
        if first <= sequence < first + count:
            return number + sequence - first
        number += count
    return number


def _window(body: BodyInfo, after: int, most: int) -> tuple[int, int]:
    """The sequence and the number of chunks that follow the sequence `after`, within one run and `most` chunks.

    Raises:
        WireError: `after` is no sequence of this body.
    """
    if after < 0:
        sequence, count = body.runs[0]
        return sequence, min(count, most)
    for place, (sequence, count) in enumerate(body.runs):
        if sequence <= after < sequence + count:
            left = sequence + count - after - 1
            if left:
                return after + 1, min(left, most)
            if place + 1 < len(body.runs):
                sequence, count = body.runs[place + 1]
                return sequence, min(count, most)
            return 0, 0
    raise WireError("after is no sequence of this body")
