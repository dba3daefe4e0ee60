"""The table of settling: each end of a delivery, with and without a confirmation, and what it does to the use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import pytest

from broker_plane.bridge.answers import Answer
from broker_plane.bridge.confirmation import Confirmation
from broker_plane.bridge.settling import LEASE_HEADER, Settling
from broker_plane.errors import ConflictError, GrantUsedError, LeaseLostError
from broker_plane.plane.grants.grants import Opened
from broker_plane.web.delivery import Delivery, Outcome
from tests.unit.memory import Memory

pytestmark = pytest.mark.anyio
CONTENT = b"0123456789"
DIGEST = "ab" * 32
SUCCESS, FAILURE = Confirmation(success=True), Confirmation(success=False)


class Reader:
    """One connection to a `Settling`: it gets an answer, may confirm it, and ends in a given way."""

    def __init__(self, settling: Settling, opened: Opened, name: str = "c1") -> None:
        self.settling = settling
        self.opened = opened
        self.delivery = Delivery(name)
        self.whole = asyncio.Event()
        self.lease = ""
        self.task: asyncio.Task[None] | None = None

    async def reads(self, *, ends_body: bool = True, share: float = 1.0) -> Reader:
        """Receive the whole answer; the connection's end is not known yet."""
        answer = Answer(status=200, headers=[], pieces=_pieces(), size=len(CONTENT), share=share, ends_body=ends_body)
        self.task = asyncio.create_task(
            self.settling.deliver(self._send, self.opened, self.delivery, answer, digest=DIGEST)
        )
        waiting = asyncio.create_task(self.whole.wait())
        await asyncio.wait([waiting, self.task], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.task.done():
            await self.task
        return self

    async def ends(self, outcome: Outcome, unacknowledged: int = 0) -> None:
        """The connection ends, and the delivery is settled."""
        assert self.task is not None
        self.delivery.decide(outcome, unacknowledged)
        await self.task

    async def confirms(self, confirmation: Confirmation) -> str:
        return await self.settling.confirm(self.opened, confirmation, self.delivery.connection)

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            names = {name.decode(): value.decode() for name, value in message["headers"]}
            self.lease = names.get(LEASE_HEADER, "")
        elif not message.get("more_body", False):
            self.whole.set()


async def _pieces() -> AsyncGenerator[bytes, None]:
    yield CONTENT[:4]
    yield CONTENT[4:]


class Bridge:
    """A `Settling` over a plane in memory, and readers of one grant."""

    def __init__(self, *, uses: int = 1, confirmation_required: bool = False) -> None:
        self.memory = Memory([{"n": 1}])
        self.settling = Settling(self.memory.deliveries.via("http"), confirmation_required=confirmation_required)
        self.uses = uses
        self.grant = ""

    async def reader(self, name: str = "c1") -> Reader:
        self.grant = self.grant or await self.memory.mint(uses=self.uses)
        return Reader(self.settling, await self.memory.deliveries.open(self.grant), name)

    def counted(self, what: str) -> int:
        """The deliveries over HTTP that ended so."""
        count: int = getattr(self.memory.deliveries.audit.counters, what)["http"]
        return count

    async def spent(self) -> bool:
        """Whether the next claim is refused."""
        try:
            await (await self.reader("next")).reads()
        except GrantUsedError:
            return True
        return False


@pytest.mark.parametrize("required", [False, True], ids=["confirmation optional", "confirmation required"])
@pytest.mark.parametrize(
    ("confirmation", "outcome", "word", "spent"),
    [
        (None, Outcome.COMPLETE, "", True),
        (None, Outcome.BROKEN, "", False),
        (SUCCESS, Outcome.COMPLETE, "confirmed", True),
        (SUCCESS, Outcome.BROKEN, "confirmed", True),
        (FAILURE, Outcome.COMPLETE, "released", False),
        (FAILURE, Outcome.BROKEN, "released", False),
        (Confirmation(success=True, checksum=DIGEST), Outcome.COMPLETE, "confirmed", True),
        (Confirmation(success=True, checksum="cd" * 32), Outcome.COMPLETE, "released", False),
        (Confirmation(success=True, bytes_received=len(CONTENT)), Outcome.COMPLETE, "confirmed", True),
        (Confirmation(success=True, bytes_received=len(CONTENT) - 1), Outcome.COMPLETE, "released", False),
    ],
)
async def test_each_end_of_a_delivery(
    required: bool, confirmation: Confirmation | None, outcome: Outcome, word: str, spent: bool
) -> None:
    bridge = Bridge(confirmation_required=required)
    reader = await (await bridge.reader()).reads()
    if confirmation is None:
        if required and outcome is Outcome.COMPLETE:
            bridge.settling._closing.set()  # a bridge that ends awaits no confirmation
            spent = False
        await reader.ends(outcome)
    else:
        assert await reader.confirms(confirmation) == word
        await reader.ends(outcome)
    assert await bridge.spent() == spent


async def test_a_delivery_is_counted_once_however_often_it_is_confirmed() -> None:
    bridge = Bridge(uses=2)
    reader = await (await bridge.reader()).reads()
    assert [await reader.confirms(SUCCESS) for _ in range(3)] == ["confirmed"] * 3
    await reader.ends(Outcome.COMPLETE)
    assert bridge.counted("complete") == 1
    assert not await bridge.spent()


async def test_a_failure_after_a_success_changes_nothing() -> None:
    bridge = Bridge()
    reader = await (await bridge.reader()).reads()
    assert await reader.confirms(SUCCESS) == "confirmed"
    assert await reader.confirms(FAILURE) == "settled"
    assert await bridge.spent()


async def test_a_success_before_the_last_byte_is_refused() -> None:
    bridge = Bridge()
    reader = await bridge.reader()
    blocked = asyncio.Event()
    begun = asyncio.Event()

    async def send(message: MutableMapping[str, Any]) -> None:
        begun.set()
        await blocked.wait()

    answer = Answer(status=200, headers=[], pieces=_pieces(), size=len(CONTENT))
    task = asyncio.create_task(bridge.settling.deliver(send, reader.opened, reader.delivery, answer))
    await begun.wait()
    lease = next(iter(bridge.settling._pending[reader.opened.grant.id])).lease.id
    with pytest.raises(ConflictError):
        await reader.confirms(Confirmation(success=True, lease=lease))
    blocked.set()
    reader.delivery.decide(Outcome.BROKEN)
    await task
    assert not await bridge.spent()


@pytest.mark.parametrize("lease", ["", "invented"])
async def test_a_confirmation_of_no_delivery_is_refused(lease: str) -> None:
    reader = await Bridge().reader()
    with pytest.raises(LeaseLostError):
        await reader.confirms(Confirmation(success=True, lease=lease))


async def test_a_reader_settles_only_the_delivery_of_its_own_lease() -> None:
    bridge = Bridge(uses=2)
    one = await (await bridge.reader("c1")).reads()
    two = await (await bridge.reader("c2")).reads()
    assert one.lease != two.lease
    assert await one.confirms(Confirmation(success=False, lease=one.lease)) == "released"
    assert await two.confirms(Confirmation(success=True, lease=two.lease)) == "confirmed"
    for reader in (one, two):
        await reader.ends(Outcome.COMPLETE)
    assert (bridge.counted("complete"), bridge.counted("broken")) == (1, 1)


async def test_without_a_lease_two_open_deliveries_are_told_apart_by_connection() -> None:
    bridge = Bridge(uses=2)
    one, two = [await (await bridge.reader(name)).reads() for name in ("c1", "c2")]
    with pytest.raises(LeaseLostError):
        await bridge.settling.confirm(one.opened, SUCCESS, "a connection without a delivery")
    assert await two.confirms(SUCCESS) == "confirmed"
    await one.ends(Outcome.BROKEN)
    await two.ends(Outcome.COMPLETE)


async def test_a_range_spends_no_use_unless_it_has_the_last_byte() -> None:
    bridge = Bridge()
    first = await (await bridge.reader()).reads(ends_body=False, share=0.5)
    await first.ends(Outcome.COMPLETE)
    second = await (await bridge.reader()).reads(ends_body=True, share=0.5)
    await second.ends(Outcome.COMPLETE)
    assert await bridge.spent()


async def test_a_grant_of_unlimited_use_has_no_lease_and_every_confirmation_holds() -> None:
    bridge = Bridge(uses=0)
    reader = await bridge.reader()
    reading = asyncio.create_task(reader.reads())
    await reading
    assert reader.lease == ""
    assert await reader.confirms(SUCCESS) == "confirmed"
    assert await reader.confirms(FAILURE) == "released"


class SlowReader(Reader):
    """It reads no more once it has the first bytes, until `goes_on` is set."""

    def __init__(self, settling: Settling, opened: Opened) -> None:
        super().__init__(settling, opened)
        self.waits, self.goes_on, self.received = asyncio.Event(), asyncio.Event(), 0

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if self.received:  # as a server waits while its buffer is full
            self.waits.set()
            await self.goes_on.wait()
        self.received += len(message.get("body", b""))
        await super()._send(message)


async def test_bytes_that_arrive_after_their_reader_reported_a_failure_are_paid_for() -> None:
    bridge = Bridge()
    for _ in range(3):
        reader = SlowReader(bridge.settling, (await bridge.reader()).opened)
        reading = asyncio.create_task(reader.reads())
        await reader.waits.wait()
        confirming = asyncio.create_task(reader.confirms(Confirmation(success=False, lease=reader.lease)))
        assert await asyncio.wait_for(reader.delivery.outcome(), 10) is Outcome.BROKEN
        reader.goes_on.set()
        assert await confirming == "released"
        await reading
        assert reader.received == len(CONTENT)
    assert await bridge.spent()


@pytest.mark.parametrize(("success", "word"), [(False, "settled"), (True, "confirmed")])
async def test_a_report_that_comes_while_a_broken_delivery_is_settled_is_answered_as_one_after_it(
    monkeypatch: pytest.MonkeyPatch, success: bool, word: str
) -> None:
    bridge = Bridge()
    reader = await (await bridge.reader()).reads()
    release = bridge.settling._deliveries.release
    released, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(*lease: Any, **how: Any) -> bool:
        freed = await release(*lease, **how)
        released.set()
        await goes_on.wait()
        return freed

    monkeypatch.setattr(bridge.settling._deliveries, "release", slow)
    ending = asyncio.create_task(reader.ends(Outcome.BROKEN))
    await released.wait()
    confirmation = Confirmation(success=success, lease=reader.lease)
    confirming = asyncio.create_task(reader.confirms(confirmation))
    await asyncio.sleep(0)
    goes_on.set()
    assert await confirming == word
    await ending
    assert await bridge.spent() == success
