"""Plane's pulling: whole bodies, some of them, tables, streams, files and looks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from broker_plane.errors import SelectorError
from broker_plane.files.targets import open_target
from broker_plane.plane.bodies import pull as pulling
from broker_plane.plane.bodies.publish import Progress
from broker_plane.plane.ports import Incoming, Puller
from broker_plane.runtime import arguments
from broker_plane.runtime.live import followed
from broker_plane.runtime.parts import Parts, Via
from broker_plane.wire.page import Page
from broker_plane.wire.preview import Preview
from broker_plane.wire.selector import WHOLE, Selector, parse_selector

T = TypeVar("T")


class Pulling(Parts):
    """What pulls."""

    async def pull(
        self,
        address: str,
        *,
        columns: Sequence[str] | None = None,
        row_ids: Sequence[int] | None = None,
        via: Via | None = None,
        progress: Progress | None = None,
    ) -> Any:
        """The rows of a rows body, in the order of `row_ids` where there are any; the bytes of an opaque one.

        `address` is a `resource_url` or a presigned subject. A return is a verified read.

        Raises:
            GrantError, SelectorError, UntrustedHostError, TransferInterruptedError, BodyLostError,
            BrokerUnavailableError.
        """
        return await self._pull(address, _selector(columns, row_ids), _without_ids, via, progress)

    async def pull_and(
        self,
        accept: Callable[[pulling.PulledRows], T],
        address: str,
        *,
        row_ids: Sequence[int] | None = None,
        via: Via | None = None,
        progress: Progress | None = None,
    ) -> T:
        """What `accept` makes of the numbered rows. Where it raises, the delivery counts as failed: nothing is used up.

        This is how an abstract is merged: one that was altered must not cost the grant.
        """
        return await self._pull(address, _selector(None, row_ids), lambda got: accept(_rows(got)), via, progress)

    async def pull_told(
        self,
        accept: Callable[[pulling.PulledRows | bytes, str], T],
        address: str,
        *,
        row_ids: Sequence[int] | None = None,
    ) -> T:
        """As `pull_and`, of a body of either kind; `accept` is told its media type too."""
        told = _Told(self._puller(address, None))
        return await pulling.pull(
            told,
            address,
            _selector(None, row_ids),
            room=self._room(),
            accept=lambda got: accept(got, told.media_type),
        )

    def follow(self, address: str, after: int = 0) -> AsyncGenerator[tuple[int, Any], None]:
        """(number, row or chunk) of a live stream over NATS, from the item after `after` to the end.

        Asking for the next says that this one was taken. Who breaks off goes on with the number that it had last.

        Raises:
            GrantError, BodyNotFoundError, BrokerUnavailableError. LeaseLostError: what follows `after` is gone.
        """
        return followed(self._nats, arguments.address(address), after)

    async def confirm(self, resource_url: str, report: dict[str, Any]) -> str:
        """Tell the bridge how the delivery of `resource_url` ended (docs/transfers.md), and say what came of it.

        `report` has `status` (success, failure) and may have `lease`, `bytes_received`, `checksum`, `error`. The
        answer is *confirmed*: the delivery counts; *released*: its use is free again; or *settled*: it was over
        before, and nothing changed.

        Raises:
            LeaseLostError: that delivery is settled already. GrantError, UntrustedHostError, BrokerUnavailableError.
        """
        return await self._http.tell(arguments.address(resource_url), report)

    async def page(self, resource_url: str, cursor: str = "", *, limit: int = 512 * 1024, most: int = 0) -> Page:
        """One part of a body, of at most `limit` bytes: rows as a JSON array, an opaque body as it is.

        `cursor` is the `next` of the part before; after the last there is none, and that was one delivery. The parts
        are verified by nobody: who has all of an opaque body compares their digest. A body of more than `most` bytes
        (0: any) is refused.

        Raises:
            TooLargeError: or one row has more than `limit` bytes. GrantError, UntrustedHostError,
            BrokerUnavailableError.
        """
        return await self._http.page(arguments.address(resource_url), cursor, limit, most)

    async def pull_table(
        self,
        address: str,
        *,
        columns: Sequence[str] | None = None,
        row_ids: Sequence[int] | None = None,
        via: Via | None = None,
        progress: Progress | None = None,
    ) -> Any:
        """The rows as a pyarrow.Table (`polars.from_arrow(…)`, `….to_pandas()`); what was published as one stays one.

        Raises:
            ConfigError: pyarrow is not there. TabularError: the rows are no table. Else as `pull`.
        """
        return await self._pull_table(address, _selector(columns, row_ids), lambda table: table, via, progress)

    async def pull_table_and(
        self,
        accept: Callable[[Any], T],
        address: str,
        *,
        row_ids: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> T:
        """As `pull_and`, of a table."""
        return await self._pull_table(address, _selector(None, row_ids), accept, None, progress)

    async def iterate(
        self,
        address: str,
        *,
        columns: Sequence[str] | None = None,
        row_ids: Sequence[int] | None = None,
        via: Via | None = None,
        progress: Progress | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The rows one by one, in the body's order and in bounded memory. Only a completed iteration is verified."""
        selector = _selector(columns, row_ids)
        puller = self._puller(address, via)
        async with aclosing(pulling.pull_frames(puller, address, selector, progress)) as frames:
            async for frame in frames:
                for row in frame.rows():
                    yield row

    async def pull_to(
        self, address: str, path: Path, *, via: Via | None = None, progress: Progress | None = None
    ) -> Incoming:
        """Write the stored bytes to what is at `path`.

        A file, also behind a symbolic link, is replaced once they are verified, and keeps its mode and owner; until
        then it is what it was. A FIFO or a device gets them as they come, the last of them once they are verified.

        Raises:
            OSError: nothing can be written there. Else as `pull`.
        """
        return await pulling.pull_to(self._puller(address, via), address, open_target(path), progress)

    def open(
        self, address: str, selector: Selector = WHOLE, via: Via | None = None
    ) -> AbstractAsyncContextManager[Incoming]:
        """A pull under way, for those who take what comes: see `Incoming`, and `frames_of` in plane/bodies/pull.py."""
        return self._puller(address, via).pull(address, selector)

    async def preview(
        self, address: str, *, where: str | None = None, sample: int = 5, via: Via | None = None
    ) -> Preview:
        """How many rows `where` leaves of what `address` shows, its columns, and the first `sample` rows.

        No use is claimed. A counted grant pays for it all the same: at least a hundredth of a delivery, and the share
        of the body that the sample is; three deliveries' worth is what each of its uses has.

        Raises:
            SelectorError, GrantError, UntrustedHostError, BrokerUnavailableError.
        """
        asked = address if where is None else self.narrow(address, where=where).resource_url
        return await self._puller(asked, via).look(asked, sample)

    async def _pull(
        self,
        address: str,
        selector: Selector,
        accept: Callable[[pulling.PulledRows | bytes], T],
        via: Via | None,
        progress: Progress | None,
    ) -> T:
        puller = self._puller(address, via)
        return await pulling.pull(puller, address, selector, room=self._room(), accept=accept, progress=progress)

    async def _pull_table(
        self,
        address: str,
        selector: Selector,
        accept: Callable[[Any], T],
        via: Via | None,
        progress: Progress | None,
    ) -> T:
        puller = self._puller(address, via)
        return await pulling.pull_table(puller, address, selector, room=self._room(), accept=accept, progress=progress)

    def _room(self) -> pulling.PullLimits:
        return pulling.PullLimits(
            self.settings.max_consumer_rows,
            self.settings.max_consumer_memory_bytes,
            self.settings.max_pull_memory_bytes,
        )


class _Told:
    """A puller that remembers the media type of what came."""

    def __init__(self, inner: Puller) -> None:
        self._inner = inner
        self.media_type = ""

    async def look(self, address: str, sample: int) -> Preview:
        return await self._inner.look(address, sample)

    @asynccontextmanager
    async def pull(self, address: str, selector: Selector) -> AsyncGenerator[Incoming, None]:
        async with self._inner.pull(address, selector) as incoming:
            self.media_type = incoming.media_type
            yield incoming


def _without_ids(pulled: pulling.PulledRows | bytes) -> Any:
    return pulled if isinstance(pulled, bytes) else pulled.rows


def _rows(pulled: pulling.PulledRows | bytes) -> pulling.PulledRows:
    if isinstance(pulled, bytes):
        raise SelectorError("This body is opaque and has no rows; hand it to a tool that takes bytes or a file")
    return pulled


def _selector(columns: Sequence[str] | None, row_ids: Sequence[int] | None) -> Selector:
    fields: dict[str, Any] = {}
    if columns is not None:
        fields["columns"] = arguments.names(columns, "columns")
    if row_ids is not None:
        if isinstance(row_ids, (str, bytes, int)):
            raise SelectorError(f"row_ids is a list of whole numbers, such as row_ids=[{row_ids!s:.60}]")
        fields["row_ids"] = list(row_ids)
    return parse_selector(fields)
