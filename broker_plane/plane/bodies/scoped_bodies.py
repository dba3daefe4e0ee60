"""Bodies within the scope of a grant: nothing outside the scope can be read through them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from broker_plane.errors import BodyNotFoundError, ForbiddenError
from broker_plane.plane.bodies.lru import LruCache
from broker_plane.plane.bodies.scope import ScopedBody, scoped
from broker_plane.plane.bodies.scoped_frames import ScopedFrames
from broker_plane.plane.bodies.visible_rows import VisibleRows, pass_shares
from broker_plane.plane.fairness.work import Pass, Work
from broker_plane.plane.grants.grants import Grants, Opened
from broker_plane.plane.ports import BodyStore
from broker_plane.tabular.frame import Frame
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import table_id
from broker_plane.wire.scope import EVERYTHING
from broker_plane.wire.selector import Selector

_MOST_SIZES = 4096
_MOST_INFOS_WEIGHT = 1 << 16
"""Of cached body infos: one each, and one for each of their columns and runs of chunks."""


class ScopedBodies:
    """The bodies of `store` as grants show them. It caches what is costly to find out; all transports share it."""

    def __init__(self, store: BodyStore, grants: Grants, work: Work) -> None:
        self.work = work
        self.frames = ScopedFrames(store, work)
        self._store = store
        self._grants = grants
        self._visible = VisibleRows(self._pass, work)
        self._sizes: LruCache[int] = LruCache(lambda size: 1, _MOST_SIZES, pass_shares())
        self._infos: LruCache[BodyInfo] = LruCache(_weight_of, _MOST_INFOS_WEIGHT)

    async def stored(self, opened: Opened) -> BodyInfo:
        """The stored body that the grant is for. Raises BodyNotFoundError."""
        return await self._store.info(opened.owner, opened.grant.body)

    async def cached(self, opened: Opened, find: Callable[[], Awaitable[BodyInfo]]) -> BodyInfo:
        """The cached info of the body, or the result of `find`. Bodies never change, but may be deleted since."""
        return await self._infos.get((opened.owner, opened.grant.body), find, opened.payer)

    async def table_beside(self, opened: Opened, body: BodyInfo) -> BodyInfo | None:
        """The table that was published beside a text; None for other bodies."""
        if body.kind != "bytes" or not _may_hold_table(body.media_type):
            return None
        try:
            return await self._store.info(opened.owner, table_id(body.id))
        except BodyNotFoundError:
            return None

    async def scope(self, opened: Opened, body: BodyInfo) -> ScopedBody:
        """`body`, which the grant is for, within the grant's scope. A `where` costs a counted grant a preview.

        Raises:
            ForbiddenError: the grant is for bytes with another digest.
            SelectorError: the scope does not fit the body.
            GrantUsedError, GrantInUseError: a pass over the body is needed, and the grant cannot pay for it.
            RateLimitedError, TooCostlyError: the pass would take more than the grant may have computed.
        """
        grant = opened.grant
        if grant.scope.digest is not None and body.digest != grant.scope.digest:
            raise ForbiddenError("This grant is for bytes of another SHA-256 than this body has")
        pay = self._grants.leases.pay_preview
        return scoped(body, grant, await self._visible.of(body, grant.scope, grant.id, lambda: pay(grant)))

    async def check(self, opened: Opened, body: ScopedBody, selector: Selector) -> None:
        """Raise unless the scope shows what `selector` names, and the delivery is within the grant's byte limit.

        Raises:
            SelectorError, ForbiddenError, GrantUsedError.
        """
        await self.frames.check(body, selector)
        max_bytes = opened.grant.scope.bytes
        if max_bytes is None:
            return
        stored = body.whole and selector.whole
        size = body.stored.size if stored else await self._cut_size(opened, body, selector)
        if size > max_bytes:
            raise ForbiddenError(f"This delivery would have {size} bytes, and the grant allows at most {max_bytes}")

    def read(self, body: ScopedBody, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """The stored bytes; see `BodyStore.read`.

        Raises:
            ForbiddenError: the grant shows only a part of the body, and the stored bytes contain all of it.
        """
        _check_whole(body)
        return self._store.read(body.stored, start, stop)

    def held(self, body: ScopedBody) -> bytes | None:
        """All of the stored bytes, if they are in memory. Raises as `read`."""
        _check_whole(body)
        return self._store.held(body.stored)

    async def _cut_size(self, opened: Opened, body: ScopedBody, selector: Selector) -> int:
        """The size of the cut that `selector` makes, in bytes, measured by a pass over the body before the delivery."""

        async def measure() -> int:
            once = self.work.begin_pass(opened.payer)
            await self._grants.leases.pay_preview(opened.grant)
            async with aclosing(self.frames.cut(body, selector, account=once)) as frames:
                return sum([len(frame.raw) async for frame in frames])

        return await self._sizes.get((opened.grant.id, body.tag, selector.digest), measure, opened.payer)

    async def _pass(
        self, body: BodyInfo, selector: Selector, make: Callable[[Frame], None], once: Pass
    ) -> AsyncGenerator[None, None]:
        """Hand each frame of the whole body to `make`, for passes whose rows nobody is shown."""
        stored = ScopedBody(body, body, EVERYTHING)
        async with aclosing(self.frames.mapped(stored, selector, make, account=once)) as frames:
            async for _ in frames:
                yield


def _check_whole(body: ScopedBody) -> None:
    if not body.whole:
        raise ForbiddenError("This grant shows a part of the body; its stored bytes are not for it")


def _may_hold_table(media_type: str) -> bool:
    kind = media_type.partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind.endswith("json")


def _weight_of(info: BodyInfo) -> int:
    return 1 + len(info.columns) + len(info.runs)
