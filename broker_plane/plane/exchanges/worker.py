"""Carries out the durable requests to one server by one carrier, as many at once as there is room.

Any number of processes do this for the same server. A request that waits costs a stored message, and nothing here.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from math import inf
from typing import Any

import anyio

from broker_plane.errors import BrokerUnavailableError, ConflictError, StorageError
from broker_plane.exchange.lines import error_answer, outline
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.exchange.retries import BackOff
from broker_plane.plane.exchanges.isolation import Isolation
from broker_plane.plane.exchanges.limits import ALIVE_SECONDS, MAX_SECONDS
from broker_plane.plane.exchanges.places import Places
from broker_plane.plane.exchanges.ports import Asked, Claim, ExchangeStore, HandOver, Relay, Run, TurnAway
from broker_plane.plane.exchanges.run import CANCELLED, SERVER_WAITS, STOPPED, ExchangeRun, seconds_kept
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.wire.json_rpc import INTERNAL_ERROR

log = redacted_logger(__name__)

AT_ONCE = 2_048
AT_ONCE_BYTES = 64 << 20
"""Of the requests that a process carries out at once."""

_ROOM_PART = 2
"""Requests under way stay stored, and use at most this part of their room: the rest is left for further ones."""

_STORED_BYTES = 512
"""What a stored request needs beside its line, about."""

_STALLED_SECONDS = 4.0
"""How long a request above the share of its client waits for another one to end; what follows it waits, too."""

_IMPATIENT_STALLS = 10
"""For so many times as long, no further request of that client waits."""

_PUT_OFF_SECONDS = 5.0
_REFUSALS = 64

_LOOKED_UP = 64
"""Cancelled requests that are looked for at once; others are only remembered, until they are claimed."""

_LEASE_SECONDS = 10.0
_RETRY_SECONDS = 0.25
_STOP_SECONDS = 10.0
_SKEW_SECONDS = 5.0
"""Between the clocks of two nodes of a cluster."""

_REMEMBERED = 10_000
"""Requests whose cancellation is remembered until they are claimed, and such whose answer was handed over."""


def session_of(asked: Asked) -> str:
    """The client of a request, if each session is one."""
    return asked.key.session


def _size_of(asked: Asked) -> int:
    return len(asked.line) + _STORED_BYTES


class ExchangeWorker:
    """Claims requests, runs them under leases, and stores what is said about them."""

    def __init__(
        self,
        store: ExchangeStore,
        server: str,
        carrier: str,
        run: Run,
        relay: Relay,
        *,
        now: Callable[[], float],
        at_once: int = AT_ONCE,
        at_once_bytes: int = AT_ONCE_BYTES,
        client_of: Callable[[Asked], str] = session_of,
        turn_away: TurnAway | None = None,
        stalled_seconds: float = _STALLED_SECONDS,
        lease_seconds: float = _LEASE_SECONDS,
        drain_seconds: float = 0.0,
        server_waits: BackOff = SERVER_WAITS,
        hand_over: HandOver | None = None,
        interrupted: Callable[[], None] = lambda: None,
    ) -> None:
        """`lease_seconds` is that of the store. A stop waits `drain_seconds` for what runs, calls `interrupted`, and
        gives the rest back.

        `server_waits` are those before a server that has ended is tried again. `now` is in unix seconds of the broker.
        A client, which `client_of` names, gets at most half of the places. A request above its share
        waits for `stalled_seconds` for a place, and is turned away then; without `turn_away` it is given back.
        """
        self._store = store
        self._server = server
        self._carrier = carrier
        self._run = run
        self._relay = relay
        self._now = now
        self._places = Places(at_once, at_once_bytes)
        self._client_of = client_of
        self._turn_away = turn_away
        self._stalled_seconds = stalled_seconds
        self._given = asyncio.Event()
        """Set when a place was given back."""
        self._stalled: dict[str, float] = {}
        """Clients that had their share, and of whose requests none has ended for a while; and until when others of
        them do not wait for that, in seconds of the event loop."""
        self._refusals = asyncio.Semaphore(_REFUSALS)
        self._looked_up = 0
        self._lease_seconds = lease_seconds
        self._drain_seconds = drain_seconds
        self._server_waits = server_waits
        self._hand_over = hand_over
        self._interrupted = interrupted
        self._isolation = Isolation()
        self._runs: dict[ExchangeKey, ExchangeRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._handed_over: OrderedDict[ExchangeKey, None] = OrderedDict()
        """Requests that the broker might deliver again, because nothing about their answers is stored."""
        self._cancelled: set[ExchangeKey] = set()
        self._since = inf
        """From when on all cancellations are in `_cancelled`; set when a claim has made the broker's time known."""
        self._stopping = False

    def __contains__(self, key: object) -> bool:
        """Whether this process carries out the request of that key at present."""
        return key in self._runs

    def __len__(self) -> int:
        """The number of requests that this process carries out at present."""
        return len(self._runs)

    async def run(self) -> None:
        """Carry out requests until this is cancelled; what runs then is given back.

        Raises:
            NotPermittedError, StorageError: requests cannot be claimed.
        """
        claiming = asyncio.create_task(self._claim())
        minding = asyncio.create_task(self._mind())
        try:
            ended, _ = await asyncio.wait({claiming, minding}, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                await task
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop(claiming)
                await cancel_and_forget(minding)

    async def cancel(self, key: ExchangeKey) -> None:
        """Cancel a request, whether it runs here, waits, or runs elsewhere: every process calls this.

        It is answered with an error, unless it is answered already.

        Raises:
            BrokerUnavailableError: only a request that runs here was cancelled.
        """
        running = self._runs.get(key)
        if running is not None:
            running.interrupt(CANCELLED)
            return
        if len(self._cancelled) >= _REMEMBERED:
            self._cancelled.clear()
            self._since = self._now()
        self._cancelled.add(key)
        if self._looked_up >= _LOOKED_UP:
            return
        self._looked_up += 1
        try:
            await self._cancel_waiting(key)
        finally:
            self._looked_up -= 1

    async def _cancel_waiting(self, key: ExchangeKey) -> None:
        """Answer a request with an error if nobody has said anything about it."""
        asked = await self._store.find(key)
        if asked is not None:
            text = "The request was cancelled"
            line = error_answer(outline(asked.line).id, INTERNAL_ERROR, text, {"code": "exchange_cancelled"})
            with suppress(ConflictError):  # it has said something, and the process where it runs cancels it
                await self._store.append(key, Said(1, line, last=True), seconds_kept(asked, self._now()))

    def _room(self) -> int:
        return 0 if self._stopping else self._places.free

    async def _claim(self) -> None:
        with suppress(BrokerUnavailableError):
            if room := await self._store.room():
                self._places.narrow(room // _ROOM_PART)
        async with aclosing(self._store.asked(self._server, self._carrier, self._room)) as requests:
            async for asked, claim in requests:
                await self._take(asked, claim)

    async def _take(self, asked: Asked, claim: Claim) -> None:
        if asked.key in self._handed_over:
            with suppress(StorageError):
                await claim.done()
            return
        running = self._runs.get(asked.key)
        if asked.cancelled:
            await self._take_cancelled(asked, claim, running)
            return
        if running is not None:  # the broker was away for longer than the lease
            running.claim = claim
            with suppress(StorageError):
                await self._store.excuse(asked.key, MAX_SECONDS)
            return
        self._since = min(self._since, self._now())
        try:
            admitted = await self._is_admitted(asked)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True), suppress(StorageError):
                await claim.again()
            raise
        if admitted:
            self._begin(asked, claim)
        else:
            await self._refusals.acquire()
            self._in_task(self._refuse(asked, claim)).add_done_callback(lambda _: self._refusals.release())

    async def _take_cancelled(self, asked: Asked, claim: Claim, running: ExchangeRun | None) -> None:
        """Answer a request whose cancellation is stored in its place, unless it is answered; that takes no place."""
        self._cancelled.discard(asked.key)
        if running is not None:
            running.claim = claim
            running.interrupt(CANCELLED)
            return
        await self._refusals.acquire()
        ending = self._run_of(asked, claim)
        ending.interrupt(CANCELLED)
        self._in_task(ending.work(fresh=False)).add_done_callback(lambda _: self._refusals.release())

    async def _is_admitted(self, asked: Asked) -> bool:
        """Take a place for a request, if need be after a while. False: its client has its share, and none ends."""
        client, size, clock = self._client_of(asked), _size_of(asked), asyncio.get_running_loop().time
        waits = self._stalled_seconds if clock() > self._stalled.get(client, 0.0) else 0.0
        with suppress(TimeoutError):
            async with asyncio.timeout(waits):
                while not self._places.take(client, size):
                    self._given.clear()
                    await self._given.wait()
                return True
        if waits:
            self._stalled = {each: until for each, until in self._stalled.items() if until > clock()}
            self._stalled[client] = clock() + _IMPATIENT_STALLS * waits
        return False

    async def _refuse(self, asked: Asked, claim: Claim) -> None:
        """Tell the caller that it has too many requests under way. Nothing is stored of the request then, so that it
        can be made again under the same key. Where the carrier cannot tell it, the request waits instead."""
        with suppress(StorageError):
            if self._turn_away is None:
                await self._store.excuse(asked.key, seconds_kept(asked, self._now()))
                await claim.again(_PUT_OFF_SECONDS)
            else:
                await self._store.drop(asked.key)
                await claim.done()
                await self._turn_away(asked)

    def _run_of(self, asked: Asked, claim: Claim) -> ExchangeRun:
        return ExchangeRun(
            asked,
            claim,
            self._store,
            self._run,
            self._relay,
            now=self._now,
            server_waits=self._server_waits,
            hand_over=None if asked.cancelled else self._hand_over,
            isolation=self._isolation,
        )

    def _begin(self, asked: Asked, claim: Claim) -> None:
        running = self._run_of(asked, claim)
        if asked.key in self._cancelled:
            self._cancelled.discard(asked.key)
            running.interrupt(CANCELLED)
        fresh = asked.attempt == 1 and asked.at > max(self._since, claim.known_since + _SKEW_SECONDS)
        self._runs[asked.key] = running
        self._in_task(running.work(fresh=fresh)).add_done_callback(lambda ended: self._ended(asked, ended))

    def _in_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _ended(self, asked: Asked, task: asyncio.Task[None]) -> None:
        key = asked.key
        self._places.give(self._client_of(asked), _size_of(asked))
        self._given.set()
        run = self._runs.pop(key, None)
        if run is not None and run.handed_over:
            self._handed_over[key] = None
            if len(self._handed_over) > _REMEMBERED:
                self._handed_over.popitem(last=False)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("An exchange of %s was dropped", self._server, exc_info=error)

    async def _mind(self) -> None:
        """Extend the leases of everything that runs, and tell the callers that it does."""
        clock = asyncio.get_running_loop().time
        told = clock()
        wait = self._lease_seconds / 4
        while True:
            await asyncio.sleep(wait)
            wait = self._lease_seconds / 4 if await self._extend() else _RETRY_SECONDS
            if clock() - told >= ALIVE_SECONDS:
                told = clock()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._lease_seconds / 4):
                        for running in list(self._runs.values()):
                            await running.alive()

    async def _extend(self) -> bool:
        try:
            for running in list(self._runs.values()):
                await running.claim.extend()
        except BrokerUnavailableError:
            return False
        return True

    async def _stop(self, claiming: asyncio.Task[None]) -> None:
        """Claim nothing more, let requests end for a while, and give back those that still run."""
        self._stopping = True
        await cancel_and_forget(claiming)
        if self._tasks and self._drain_seconds:
            await asyncio.wait(set(self._tasks), timeout=self._drain_seconds)
        self._interrupted()
        for running in self._runs.values():
            running.interrupt(STOPPED)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_STOP_SECONDS)
        for task in set(self._tasks):
            await cancel_and_forget(task)
