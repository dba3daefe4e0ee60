"""Delivering a body to whoever holds a grant: what the bridge and the presigned subject both serve from.

Every read goes through a `ScopedBody`, so that nothing outside the grant's scope leaves on either way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from broker_plane.errors import (
    BodyLostError,
    BodyNotFoundError,
    ForbiddenError,
    GrantRefusedError,
    NotAcceptableError,
    SelectorError,
    TooLargeError,
)
from broker_plane.plane.bodies.frames import StoredFrames
from broker_plane.plane.bodies.scope import ScopedBody, scoped
from broker_plane.plane.bodies.visible_rows import Remembered, VisibleRows, pass_shares
from broker_plane.plane.fairness.admission import HOLDER
from broker_plane.plane.fairness.work import Account, Pass, Work, cost_of
from broker_plane.plane.grants.grants import Grants, Lease, Opened
from broker_plane.plane.grants.revocations import Revoked
from broker_plane.plane.ports import BodyStore, Broker, Readiness
from broker_plane.plane.redacted_logs import quiet_logger
from broker_plane.tabular.codec import Choice, FrameWriter, RawFrame
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.json_values import json_value
from broker_plane.tabular.pieces import json_pieces
from broker_plane.wire.audit import What, delivery_name
from broker_plane.wire.body import BYTES_TYPE, BodyInfo
from broker_plane.wire.grant import Kind
from broker_plane.wire.look import Look
from broker_plane.wire.rows import RowSet
from broker_plane.wire.scope import EVERYTHING
from broker_plane.wire.selector import WHOLE, Selector

log = quiet_logger(__name__)
_MOST_SIZES = 4096
T = TypeVar("T")
_MOST_LOOK_BYTES = 4 << 20
"""Of a look, as JSON: an answer over NATS is one message."""

_MOST_INFOS_WEIGHT = 1 << 16
"""Of body infos that are remembered: one each, and one for each of their columns and runs of chunks."""


@dataclass(frozen=True, slots=True)
class CutFrame:
    """One frame of a cut body: its number in the stored body, its rows, and its bytes in the same encoding."""

    number: int
    rows: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a body a delivery shows. `columns` None is all of them, `rows` None is those of no rows body."""

    columns: tuple[str, ...] | None = None
    rows: int | None = None


ALL_SHOWN = Shown()


class Deliveries:
    """Open, find, check, claim, read, then finish or release: in this order: a refused asker uses nothing up."""

    def __init__(self, store: BodyStore, grants: Grants, broker: Broker, work: Work | None = None) -> None:
        self.work = work or Work()
        """Where everything is done that may take long."""
        self._store = store
        self._grants = grants
        self._broker = broker
        self._frames = StoredFrames(store)
        self._visible = VisibleRows(self._made_of_stored, self.work)
        self._sizes: Remembered[int] = Remembered(lambda size: 1, _MOST_SIZES, pass_shares())
        self._infos: Remembered[BodyInfo] = Remembered(_weight_of, _MOST_INFOS_WEIGHT)
        self._audit = grants.audit
        self.forged: Counter[str] = Counter()
        """Texts that opened nothing, by way: counted and not noted, for anybody can send them."""
        self.lost: Counter[str] = Counter()
        """Pulls, by way, of a body that was acknowledged and is gone: an alert."""
        self.failures: Counter[str] = Counter()
        """Transfers that their readers said had failed, by what was wrong."""

    def on(self, way: str) -> Deliveries:
        """The same deliveries, for those who come over `way`; it stands in the audit."""
        deliveries = copy(self)
        deliveries._audit = self._audit.on(way)
        return deliveries

    @property
    def revoked(self) -> Revoked:
        """What this process knows of revocations."""
        return self._grants.revoked

    @property
    def bodies_freed(self) -> int:
        """Bodies that this process freed after their last use."""
        return self._grants.collecting.freed

    @property
    def audit_dropped(self) -> int:
        """Audit entries that this process lost."""
        return self._audit.log.dropped

    async def open(self, text: str, who: str = "", asker: str = "") -> Opened:
        """Seal, expiry, revocation and audience of a grant; `who` is the puller's name, empty where it did not say.

        `asker` is what the audit calls a puller who did not.

        Raises:
            GrantRefusedError (404), GrantExpiredError, GrantRevokedError (410), AuthenticationRequiredError (401),
            ForbiddenError (403).
        """
        try:
            opened = await self._grants.unsealed(text)
        except GrantRefusedError:
            self.forged[self._audit.way] += 1
            raise
        HOLDER.set(opened.grant.id)
        with self._audit.denying(opened.grant, who or asker):
            await self._grants.check(opened, who)
        return replace(opened, who=who)

    async def recheck(self, opened: Opened) -> None:
        """Raise where the grant has ended or was revoked since it was opened."""
        await self._grants.check(opened, opened.who)

    async def find(self, opened: Opened) -> ScopedBody:
        """The body that the grant is for, as it shows it. A pass for `where` costs a counted grant a look.

        Raises:
            BodyNotFoundError: it was deleted; the holder was genuine.
            BodyLostError: it was not, and is not there.
            ForbiddenError: the grant is for no body.
            SelectorError: the scope does not fit the body.
            GrantUsedError: a pass is needed, and the grant has nothing left to pay it with.
        """
        if opened.grant.kind is not Kind.BODY:
            raise ForbiddenError(
                "This grant is for no body: a feed is at /v1/feeds/<grant>, a stream at /v1/streams/<grant>, "
                "an upload at /s2sp/upload/<grant>"
            )
        return await self.shown(opened, await self._info(opened))

    async def found(self, opened: Opened) -> ScopedBody:
        """As `find`, for who goes on reading: what a body is never changes; whether it is still there is not asked."""
        key = (opened.owner, opened.grant.body)
        return await self.shown(opened, await self._infos.get(key, partial(self._info, opened), opened.payer))

    async def shown(self, opened: Opened, body: BodyInfo) -> ScopedBody:
        """`body`, which the grant is for, as it shows it. Raises as `find`."""
        grant = opened.grant
        if grant.scope.digest is not None and body.digest != grant.scope.digest:
            raise ForbiddenError("This grant is for bytes of another SHA-256 than this body has")
        visible = await self._visible.of(body, grant.scope, grant.id, lambda: self._grants.look(grant))
        return scoped(body, grant, visible)

    async def check(self, opened: Opened, body: ScopedBody, selector: Selector) -> None:
        """Raise unless `selector` names what is shown, and the delivery is within the grant's bytes.

        Raises:
            SelectorError, ForbiddenError, GrantUsedError.
        """
        await self._check(body, selector)
        most = opened.grant.scope.bytes
        if most is None:
            return
        stored = body.whole and selector.whole
        size = body.stored.size if stored else await self._cut_size(opened, body, selector)
        if size > most:
            raise ForbiddenError(f"This would be a delivery of {size} bytes, and the grant is for {most} at most")

    async def look(self, opened: Opened, sample: int) -> Look:
        """The count and the columns of what is shown, and its first `sample` rows; no use is claimed for it.

        Raises:
            SelectorError, GrantUsedError, ForbiddenError, NotAcceptableError, TooLargeError.
        """
        body = await self.find(opened)
        check_format(opened, "application/json")
        first = _first(body, sample)
        once = self.work.begin_pass(opened.payer)
        await self.charge(opened, len(first) / max(1, body.info.rows or 0))
        shown = _Sample(opened.grant.scope.bytes)
        async with aclosing(self.made(body, Selector(row_ids=tuple(first)), shown.take, account=once)) as frames:
            async for _ in frames:
                pass
        self._audit.note("looked", opened.grant, opened.who, rows=len(shown.rows))
        return Look(body.info.rows or 0, list(body.info.columns), shown.rows)

    async def charge(self, opened: Opened, share: float) -> None:
        """Pay for what is shown without a delivery: `share` of what the grant shows. Raises as `Grants.look`."""
        with self._audit.denying(opened.grant, opened.who):
            await self._grants.look(opened.grant, share)

    async def claim(
        self,
        opened: Opened,
        asker: str,
        number: str = "",
        *,
        way: str = "",
        reserve: float = 1.0,
        pay: float = 0.0,
    ) -> Lease:
        """A lease on one use, for the pull of this `number`; see `Grants.claim`.

        Raises:
            GrantUsedError (410), GrantInUseError (409), LeaseLostError (410).
        """
        with self._audit.denying(opened.grant, opened.who or asker):
            lease = await self._grants.claim(opened.grant, asker, number, way=way, reserve=reserve, pay=pay)
            lease = replace(lease, who=opened.who)
        if lease.id:
            self._note("claimed", lease)
        return lease

    def kept(self, lease: Lease) -> AbstractAsyncContextManager[None]:
        """Renews the lease while the block runs; every delivery that may take longer than its lease runs in one."""
        return self._grants.kept(lease)

    def guarding(self, lease: Lease) -> AbstractContextManager[None]:
        """Runs the block until the grant is revoked, and raises GrantRevokedError then."""
        return self._grants.revoked.guarding(lease.grant.id)

    async def renew(self, lease: Lease) -> None:
        """Raises LeaseLostError: it is not a lease that this asker was given, or it is over."""
        await self._grants.renew(lease)

    async def pay(self, lease: Lease, share: float) -> None:
        """Pay for the fraction `share` of a delivery before it leaves; see `Grants.pay`."""
        with self._audit.denying(lease.grant, lease.who or lease.asker):
            await self._grants.pay(lease, share)

    async def release(
        self, lease: Lease, sent: float | None = None, *, unsent: float = 0.0, final: bool = False
    ) -> bool:
        """The delivery broke; see `Grants.release`. Says whether its use came back.

        A lease that the plane did not give to this asker, or that is over, changes nothing.
        """
        freed = await self._grants.release(lease, sent, unsent=unsent, final=final)
        if freed:
            self._note("released", lease)
        return freed

    def failed(self, opened: Opened, why: str, lease: Lease | None = None) -> None:
        """Count and note that a reader said that its transfer failed; the body and the use stay."""
        self.failures[why] += 1
        delivery = delivery_name(lease.id) if lease else ""
        who = opened.who or (lease.asker if lease else "")
        self._audit.note("failed", opened.grant, who, delivery=delivery, code=why)

    async def finish(self, lease: Lease) -> None:
        """One completed delivery. Raises LeaseLostError as `Grants.finish`."""
        if await self._grants.finish(lease):
            self._note("confirmed", lease)

    def pulled(self, lease: Lease, size: int, shown: Shown, delivery: str = "") -> None:
        """Note that `size` bytes of what is `shown` went out; `delivery` names one that has no lease's id."""
        self._note("pulled", lease, delivery, bytes=size, columns=shown.columns, rows=shown.rows)

    def read(self, body: ScopedBody, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """The stored bytes; see `BodyStore.read`.

        Raises:
            ForbiddenError: the grant shows a part of the body, and the bytes hold all of it.
        """
        if not body.whole:
            raise ForbiddenError("This grant shows a part of the body; its stored bytes are not for it")
        return self._store.read(body.stored, start, stop)

    async def frames(self, body: ScopedBody, selector: Selector = WHOLE) -> AsyncGenerator[Frame, None]:
        """Decoded frames of what `selector` names within the scope; no other column is decoded.

        Raises:
            SelectorError: before the first frame.
            BodyLostError: what it decodes is not what was stored.
        """
        async with aclosing(self.numbered(body, selector)) as frames:
            async for _, frame in frames:
                yield frame

    def numbered(
        self, body: ScopedBody, selector: Selector = WHOLE, first: int = 0
    ) -> AsyncGenerator[tuple[int, Frame], None]:
        """As `frames`, from frame `first` of the stored body on, each with its number there."""
        return self.made(body, selector, _itself, first)

    async def made(
        self,
        body: ScopedBody,
        selector: Selector,
        make: Callable[[Frame], T],
        first: int = 0,
        account: Account | None = None,
    ) -> AsyncGenerator[tuple[int, T], None]:
        """What `make` makes of each decoded frame, with the frame's number; in a thread, where the frame is not small.

        Raises as `frames`.
        """
        choice, account = body.choice(selector), account or self.work.of(body.payer)
        async with aclosing(self._raw_frames(body, selector, first, account)) as frames:
            async for number, frame in frames:
                yield number, await account.do(cost_of(frame), partial(_made, frame, choice, make))

    async def cut(
        self,
        body: ScopedBody,
        selector: Selector,
        first: int = 0,
        *,
        writer: FrameWriter | None = None,
        account: Account | None = None,
    ) -> AsyncGenerator[CutFrame, None]:
        """The same rows in the stored encoding, a frame at a time from frame `first` on.

        Magic and table are `writer`'s, for who wants them.
        """
        writer = writer or FrameWriter()
        choice, account = body.choice(selector), account or self.work.of(body.payer)
        async with aclosing(self._raw_frames(body, selector, first, account)) as frames:
            async for number, frame in frames:
                before = writer.table.rows
                raw = await account.do(cost_of(frame), partial(frame.cut, choice, writer))
                yield CutFrame(number, writer.table.rows - before, raw)

    async def ready(self) -> Readiness:
        return await self._broker.ready()

    async def _info(self, opened: Opened) -> BodyInfo:
        grant = opened.grant
        try:
            return await self._store.info(opened.owner, grant.body)
        except BodyNotFoundError:
            if not await self._grants.ledger.lost(grant.body, grant.expires):
                raise
        self.lost[self._audit.way] += 1
        log.error("lost: the body %s was acknowledged, and is gone without having been deleted", grant.body)
        raise BodyLostError("This body was stored and acknowledged, and the store has lost it; publish it again")

    async def _made_of_stored(
        self, body: BodyInfo, selector: Selector, make: Callable[[Frame], None], once: Pass
    ) -> AsyncGenerator[None, None]:
        """Hands on frames of the whole body, for a pass that shows nobody what it reads."""
        stored = ScopedBody(body, body, EVERYTHING)
        async with aclosing(self.made(stored, selector, make, account=once)) as frames:
            async for _ in frames:
                yield

    async def _check(self, body: ScopedBody, selector: Selector) -> None:
        cost = len(selector.row_ids or ()) if selector.large else 0
        await self.work.of(body.payer).do(cost, partial(body.check, selector))

    async def _cut_size(self, opened: Opened, body: ScopedBody, selector: Selector) -> int:
        """Bytes of the cut that `selector` makes; a delivery is measured before it begins, and by the same pass."""

        async def passed() -> int:
            once = self.work.begin_pass(opened.payer)
            await self._grants.look(opened.grant)
            async with aclosing(self.cut(body, selector, account=once)) as frames:
                return sum([len(frame.raw) async for frame in frames])

        return await self._sizes.get((opened.grant.id, body.tag, selector.digest), passed, opened.payer)

    def _note(self, what: What, lease: Lease, delivery: str = "", **more: Any) -> None:
        self._audit.note(
            what, lease.grant, lease.who or lease.asker, delivery=delivery_name(lease.id or delivery), **more
        )

    async def _raw_frames(
        self, body: ScopedBody, selector: Selector, first: int, account: Account
    ) -> AsyncGenerator[tuple[int, RawFrame], None]:
        await self._check(body, selector)
        async with aclosing(self._frames.raw(body, selector, first, account)) as frames:
            async for number, frame in frames:
                yield number, frame


class _Sample:
    """The rows of a look, as JSON has them, and no more than a look may have."""

    def __init__(self, most: int | None) -> None:
        self.rows: list[dict[str, Any]] = []
        self._most = most
        self._size = 1

    def take(self, frame: Frame) -> None:
        """Raises ForbiddenError, TooLargeError: the sample is larger than the grant, or a look, allows."""
        for row in frame.rows(with_ids=True):
            self._size += 1
            for piece in json_pieces(row):
                self._size += len(piece)
                _check_look(self._size, self._most)
            self.rows.append(json_value(row))


def _check_look(size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise ForbiddenError(f"This sample has more than the {most} bytes that the grant is for; take fewer rows")
    if size > _MOST_LOOK_BYTES:
        raise TooLargeError(
            f"This sample has more than {_MOST_LOOK_BYTES >> 20} MiB; take fewer rows, or narrow it to fewer columns"
        )


def _weight_of(info: BodyInfo) -> int:
    return 1 + len(info.columns) + len(info.runs)


def _itself(frame: Frame) -> Frame:
    return frame


def _made(frame: RawFrame, choice: Choice, make: Callable[[Frame], T]) -> T:
    return make(frame.decode(choice))


def check_format(opened: Opened, *media_types: str) -> None:
    """Raise NotAcceptableError unless the grant lets the body travel as one of `media_types`."""
    formats = opened.grant.scope.formats
    if formats is not None and not set(media_types) & set(formats):
        raise NotAcceptableError(f"This grant is for {', '.join(formats) or 'no format'} only")


def stored_types(body: BodyInfo) -> tuple[str, ...]:
    """The media types that the stored encoding goes by."""
    return (body.media_type,) if body.kind == "rows" else (body.media_type, BYTES_TYPE)


def shown_of(body: BodyInfo, selector: Selector) -> Shown:
    """What `selector` shows of `body`, which is as its grant shows it."""
    if body.rows is None or selector.row_ids is None:
        return Shown(selector.columns, body.rows)
    return Shown(selector.columns, len(selector.row_ids))


def _first(body: ScopedBody, count: int) -> list[int]:
    if body.info.kind != "rows":
        raise SelectorError("This body is opaque: it has no rows to look at")
    rows = range(body.info.rows or 0) if body.visible is None else body.visible.first(count)
    return list(rows)[:count] if isinstance(rows, RowSet) else list(rows[:count])
