"""Pulling: `PullRouter` chooses between NATS and HTTP, and `PulledBody` is what a `validate` function receives."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from anyio import to_thread

from broker_plane.client.http import HttpPuller
from broker_plane.config import Settings
from broker_plane.errors import BodyNotFoundError, BrokerPlaneError, GrantError, SelectorError, WireError
from broker_plane.files.targets import open_target
from broker_plane.formats.kinds import NAMED, FileKind, no_format
from broker_plane.plane.bodies import pull as pulling
from broker_plane.plane.bodies.publish import Progress
from broker_plane.plane.ports import Incoming, Puller
from broker_plane.reading.answers import BodyDescription, ReadAnswer
from broker_plane.reading.request import ReadRequest
from broker_plane.runtime import arguments
from broker_plane.runtime.own_bridges import trust_of
from broker_plane.runtime.roles import NatsWay
from broker_plane.runtime.text_rows import rows_in_text
from broker_plane.wire.exact_json import loads
from broker_plane.wire.grant import grant_of, peek
from broker_plane.wire.page import Page
from broker_plane.wire.presigned import PullRequest
from broker_plane.wire.preview import Preview
from broker_plane.wire.selector import WHOLE, Selector, parse_selector
from broker_plane.wire.streams import parse_items

if TYPE_CHECKING:
    from broker_plane.runtime.saving import Saved

Via = Literal["nats", "http"]
Validate = Callable[[Any], Any]


class PulledBody:
    """A body that was pulled and verified, but not confirmed yet."""

    def __init__(self, pulled: pulling.PulledRows | bytes, media_type: str) -> None:
        self._pulled = pulled
        self._of_text: pulling.PulledRows | None = None
        self.media_type = media_type

    @property
    def data(self) -> bytes | None:
        """The bytes of an opaque body; None for rows."""
        return self._pulled if isinstance(self._pulled, bytes) else None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, also those of a text that is a table, such as CSV. Raises SelectorError for other opaque bodies."""
        return self._numbered().rows

    @property
    def ids(self) -> list[int]:
        """The `_row_id` of each row. Raises as `rows`."""
        return self._numbered().ids

    def _numbered(self) -> pulling.PulledRows:
        if not isinstance(self._pulled, bytes):
            return self._pulled
        if self._of_text is None:
            self._of_text = rows_in_text(self._pulled, self.media_type)
        if self._of_text is None:
            raise SelectorError("This body is opaque and has no rows; hand it to a tool that takes bytes or a file")
        return self._of_text


@dataclass(frozen=True, slots=True)
class Pull:
    """What one pull asks for."""

    address: str
    selector: Selector = WHOLE
    via: Via | None = None
    progress: Progress | None = None


class PullRouter:
    """Pulls over NATS or HTTP, whichever leads to an address. `plane.pulls`; every role has it."""

    def __init__(self, settings: Settings, bridge_url: str, nats: NatsWay, *, guest: bool) -> None:
        self.nats = nats
        self.http = HttpPuller(
            trust_of(settings, bridge_url),
            timeout=settings.pull_timeout_seconds,
            token=settings.token.get_secret_value(),
            max_bytes=settings.max_body_bytes,
            unsized_bytes=settings.max_unsized_bytes,
        )
        self._settings = settings
        self._ours = bridge_url.rstrip("/") + "/"
        self.nats_only = guest and not bridge_url
        """Whether no bridge is known to this process."""

    def puller(self, address: str, via: Via | None = None) -> Puller:
        """Return NATS for a subject and for our own bridge's URLs, to which it is the shorter way, otherwise HTTP.

        Raises:
            UntrustedHostError: the settings do not allow following this URL.
        """
        address = arguments.address(address)
        if "://" not in address or self.nats_only:
            return self.nats
        if via == "http":
            return self.http
        self.check_trusted(address)
        return self.nats if via == "nats" or address.strip().startswith(self._ours) else self.http

    def check_trusted(self, url: str) -> str:
        """Return the grant in `url`.

        Raises:
            UntrustedHostError: the settings do not allow following this URL.
        """
        return self.http.trust.check(url)

    def open(
        self, address: str, selector: Selector = WHOLE, via: Via | None = None
    ) -> AbstractAsyncContextManager[Incoming]:
        """Open a pull and read it in pieces: see `Incoming`."""
        return self.puller(address, via).pull(address, selector)

    async def page(self, resource_url: str, cursor: str = "", *, limit: int = 512 * 1024, most: int = 0) -> Page:
        """Return one part of a body, of up to `limit` bytes: rows as a JSON array, an opaque body as it is.

        `cursor` is the `next` of the previous part. The last part has none, and all parts together are one delivery.
        Parts are not verified; a client that has every part of an opaque body can compare their digest. A body of more
        than `most` bytes is refused, unless `most` is 0.

        Raises:
            TooLargeError: also if a single row has more than `limit` bytes.
            GrantError, UntrustedHostError, BrokerUnavailableError.
        """
        return await self.http.page(arguments.address(resource_url), cursor, limit, most)

    async def read(self, resource_url: str, request: ReadRequest) -> ReadAnswer:
        """Return a part of a body as `Plane.read` says."""
        return await self.http.read(resource_url, request)

    async def describe(self, resource_url: str) -> BodyDescription:
        """Describe a body as `Plane.describe` says."""
        return await self.http.describe(resource_url)

    async def confirm(self, resource_url: str, report: dict[str, Any]) -> str:
        """Report to the bridge how the delivery of `resource_url` ended (docs/transfers.md), and return the outcome.

        `report` has a `status` (success or failure) and may have `lease`, `bytes_received`, `checksum` and `error`.
        The outcome is *confirmed*: the delivery counts; *released*: its use is free again; or *settled*: it was over
        before, and nothing changed.

        Raises:
            LeaseLostError: that delivery is settled already. GrantError, UntrustedHostError, BrokerUnavailableError.
        """
        return await self.http.tell(arguments.address(resource_url), report)

    async def follow(self, address: str, after: int = 0) -> AsyncGenerator[tuple[int, Any], None]:
        """Yield (number, row or chunk) of a live stream over NATS, from the item after number `after` to the end.

        Requesting the next item acknowledges this one. A reader that stops can resume with the last number it got.

        Raises:
            GrantError, BodyNotFoundError, BrokerUnavailableError. LeaseLostError: the items after `after` were deleted.
        """
        address = arguments.address(address)
        async with self.nats.puller_for(address) as puller:
            place = after
            while True:
                kind, items = parse_items(
                    await puller.request(address, PullRequest(puller.new_number(), WHOLE, after=place))
                )
                for item in items:
                    if item.end:
                        with suppress(BodyNotFoundError):  # the acknowledgement was repeated: an answer was lost
                            await puller.request(address, PullRequest(puller.new_number(), WHOLE, after=item.number))
                        return
                    yield item.number, loads(item.data) if kind == "rows" else item.data
                    place = item.number

    async def rows_or_bytes(self, pull: Pull, validate: Validate | None) -> Any:
        """Pull as `Plane.pull` says."""
        puller = self.puller(pull.address, pull.via)
        if validate is None:
            return await self._pull(puller, pull, _bare)
        typed = _Typed(puller)
        return await self._pull(typed, pull, lambda got: validate(PulledBody(got, typed.media_type)))

    async def table(self, pull: Pull, validate: Validate | None) -> Any:
        """Pull as `Plane.pull_table` says."""
        return await pulling.pull_table(
            self.puller(pull.address, pull.via),
            pull.address,
            pull.selector,
            room=self._room(),
            accept=validate or _unchanged,
            progress=pull.progress,
        )

    async def iterate(self, pull: Pull) -> AsyncGenerator[dict[str, Any], None]:
        """Yield rows as `Plane.iterate` says."""
        puller = self.puller(pull.address, pull.via)
        async with aclosing(pulling.pull_frames(puller, pull.address, pull.selector, pull.progress)) as frames:
            async for frame in frames:
                for row in frame.rows():
                    yield row

    async def to_file(self, pull: Pull, path: Path) -> Incoming:
        """Pull as `Plane.pull_to` says."""
        return await pulling.pull_to(
            self.puller(pull.address, pull.via), pull.address, open_target(path), pull.progress
        )

    async def to_rows_file(self, pull: Pull, path: Path, kind: FileKind | None, *, csv_safe: bool) -> Saved:
        """Pull as `Plane.pull_file` says."""
        from broker_plane.runtime.saving import SaveOrder, save_rows  # the writers of files

        async with open_target(path) as target:
            columns = await self.named_columns(pull, kind)
            async with self.open(pull.address, pull.selector, pull.via) as incoming:
                if incoming.kind == "bytes":
                    raise SelectorError("This body is opaque and has no rows; pull_to() writes its bytes")
                if kind is None:
                    raise no_format(path.name)
                order = SaveOrder(kind, pull.selector, columns, csv_safe, pull.progress)
                saved = await save_rows(incoming, order, target)
                await to_thread.run_sync(target.commit)  # before the delivery counts: if it fails, the use comes back
        return saved

    async def named_columns(self, pull: Pull, kind: FileKind | None) -> tuple[str, ...] | None:
        """The columns that a file names before its rows, if they are known without the rows.

        Some of the rows may not contain every column that the grant shows, so these need a preview.
        """
        columns = pull.selector.columns
        if columns is not None or kind is None or kind.form not in NAMED:
            return columns
        return await self.columns(pull) if pull.selector.row_ids is not None or _shows_some(pull.address) else None

    async def columns(self, pull: Pull) -> tuple[str, ...] | None:
        """The columns that the grant shows; None if it does not permit a preview."""
        try:
            return tuple((await self.preview(pull.address, 0, pull.via)).columns)
        except BrokerPlaneError:
            return None

    async def preview(self, address: str, sample: int, via: Via | None) -> Preview:
        """Preview as `Plane.preview` says."""
        return await self.puller(address, via).look(address, sample)

    async def _pull(self, puller: Puller, pull: Pull, accept: Validate) -> Any:
        room, progress = self._room(), pull.progress
        return await pulling.pull(puller, pull.address, pull.selector, room=room, accept=accept, progress=progress)

    def _room(self) -> pulling.PullLimits:
        settings = self._settings
        return pulling.PullLimits(
            settings.max_consumer_rows, settings.max_consumer_memory_bytes, settings.max_pull_memory_bytes
        )


class _Typed:
    """A puller that remembers the media type of the body it pulled."""

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


def selector_of(columns: Sequence[str] | None, row_ids: Sequence[int] | None) -> Selector:
    """Return the selector of these columns and rows; None stands for all of them.

    Raises:
        SelectorError: they are not lists of names and of whole numbers.
    """
    if columns is None and row_ids is None:
        return WHOLE
    fields: dict[str, Any] = {}
    if columns is not None:
        fields["columns"] = arguments.names(columns, "columns")
    if row_ids is not None:
        if isinstance(row_ids, (str, bytes, int)):
            raise SelectorError(f"row_ids is a list of whole numbers, such as row_ids=[{row_ids!s:.60}]")
        fields["row_ids"] = list(row_ids)
    return parse_selector(fields)


def _shows_some(address: str) -> bool:
    """Whether the grant shows only some of the rows."""
    try:
        return bool(peek(grant_of(address)).scope.rows)
    except (WireError, GrantError):  # the pull itself reports the error
        return False


def _bare(pulled: pulling.PulledRows | bytes) -> Any:
    return pulled if isinstance(pulled, bytes) else pulled.rows


def _unchanged(table: Any) -> Any:
    return table
