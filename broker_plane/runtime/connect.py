"""Plane: publish and pull in one object. `Plane.connect` finds the broker, or starts one of this user's own."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from time import time
from typing import Any, Literal, TypeVar

import anyio.to_thread

from broker_plane.client.addresses import parse_networks
from broker_plane.client.http import HttpPuller
from broker_plane.client.trust import Trust, parse_hosts
from broker_plane.client.upload import Uploaded, Uploader
from broker_plane.config import Settings, load_settings
from broker_plane.embedded.broker import attach
from broker_plane.errors import NotPermittedError, SelectorError, WireError
from broker_plane.plane import pull as pulling
from broker_plane.plane.audit import audit_of
from broker_plane.plane.feeds.subscribe import Arrival, Subscriber, Tries
from broker_plane.plane.feeds.versions import Edition, Kind, Retention
from broker_plane.plane.owning import Revocation
from broker_plane.plane.ports import Incoming, Puller, Readiness
from broker_plane.plane.publish import Order, Progress
from broker_plane.plane.publish import Published as StoredBody
from broker_plane.runtime.feeding import Feeding, feeding, guest_subscriber, key_names, retention_of
from broker_plane.runtime.guests import why_no_guests
from broker_plane.runtime.hooks import Hooking, hooking
from broker_plane.runtime.narrowing import Less, Narrowed, RowsAsked, narrowed
from broker_plane.runtime.roles import NatsWay, check_role, embedded_puller, guest_puller, wiring_puller
from broker_plane.runtime.uploading import UploadGrant, UploadTerms, mint_upload
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.storage.asker import grant_of
from broker_plane.storage.broker import FSYNC, UNKNOWN
from broker_plane.storage.granted_versions import GrantedVersions
from broker_plane.storage.urls import bare
from broker_plane.transfer.fetch import Transfers
from broker_plane.transfer.reach import Reach
from broker_plane.wire.audit import Entry
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.caveats import MOST_USES
from broker_plane.wire.feeds import Notice, Since, parse_feed
from broker_plane.wire.grant import grant_id_of, transfer_id_of
from broker_plane.wire.look import Look
from broker_plane.wire.names import BodyId, parse_asker, pull_subject
from broker_plane.wire.selector import WHOLE, Selector, parse_selector

log = logging.getLogger(__name__)
BRIDGE_COMMAND = (sys.executable, "-m", "broker_plane.cli.bridge", "--supervised")
T = TypeVar("T")
Via = Literal["nats", "http"]


@dataclass(frozen=True, slots=True)
class Published:
    """A published body, and the two spellings of its grant: a URL for HTTP, a subject for NATS."""

    body: BodyInfo
    grant: str
    resource_url: str
    abstract: list[dict[str, Any]]
    abstract_truncated: bool
    summary: dict[str, Any]
    offers_subject: bool = True
    """Whether the subject may be handed on: not where NATS has no accounts, because there its user reads everything."""
    notice: Notice | None = None
    """Of a feed's version: what its subscribers are told."""

    @property
    def version(self) -> int:
        """Of a feed; 0 where the body is of none."""
        return self.notice.version if self.notice else 0

    @property
    def subject(self) -> str:
        """The presigned subject, to which an asker appends its name."""
        return pull_subject(self.grant)

    @property
    def transfer_id(self) -> str:
        """The grant's id as a UUID (SEP-2433)."""
        return transfer_id_of(self.grant)


class Plane:
    """Publishes bodies and pulls them with grants, over one connection. Made by `Plane.connect`."""

    def __init__(self, wiring: Wiring | None, settings: Settings, bridge_url: str, *, nats: NatsWay, name: str) -> None:
        self.settings = settings
        self.bridge_url = bridge_url
        self._wired = wiring
        self._feeding: Feeding | None = None
        trust = Trust(parse_hosts(settings.trusted_hosts), frozenset({bridge_url} if bridge_url else ()))
        self.name = name
        self._nats = nats
        token = settings.token.get_secret_value()
        self._http = HttpPuller(trust, timeout=settings.pull_timeout_seconds, token=token)
        self._uploader = Uploader(trust, timeout=settings.pull_timeout_seconds, token=token)

    @staticmethod
    @asynccontextmanager
    async def connect(settings: Settings | None = None) -> AsyncIterator[Plane]:
        """A plane for the time of the block: on `BROKER_PLANE_NATS_URL`, else on this user's embedded broker.

        Raises:
            BrokerAwayError, ConfigError, EmbeddedError: there is none to be had, and why.
        """
        settings = settings or load_settings()
        async with AsyncExitStack() as stack:
            plane = await _open(settings, stack)
            stack.push_async_callback(plane._http.close)
            yield plane

    @staticmethod
    def guest(nats_url: str) -> AbstractAsyncContextManager[Plane]:
        """A plane that only pulls, and whose credential at NATS is each pull's own grant: `nats_url` names no user."""
        return Plane.connect(load_settings(nats_url=bare(nats_url), role="guest"))

    @property
    def offers_subjects(self) -> bool:
        """Whether a presigned subject may be handed on; see `Published.offers_subject`."""
        return self._wired is None or self._wired.guests

    @property
    def durability(self) -> str:
        """What an acknowledged publish survives, e.g. "fsync before ack"."""
        return self._wired.durability if self._wired else UNKNOWN

    async def publish(
        self,
        data: Any,
        *,
        abstract: Sequence[str] | None = (),
        ttl: int | None = None,
        uses: int | None = None,
        name: str = "",
        media_type: str = "",
        abstract_limit: int | None = None,
        collect: bool | None = None,
        progress: Progress | None = None,
        feed: str = "",
        key: str | Sequence[str] | None = None,
        kind: Kind = "snapshot",
        removed: Sequence[Any] = (),
        new_schema: bool = False,
        retention: Retention | None = None,
    ) -> Published:
        """Publish rows (a list, an iterator, an async iterator), bytes or a Path; the body is acknowledged on return.

        `abstract` names the columns whose values come back with it, for at most `abstract_limit` rows (0: all); None is
        every column. `ttl` is in seconds, `uses` counts completed deliveries (0: unlimited). With `collect` the body is
        freed once every grant that was minted for it is used up or revoked; one of unlimited use keeps it to its end.

        With `feed` it is the next version of that feed, and its subscribers are told; the same rows as before are the
        version that there is. `key` names the columns that tell rows apart. With `kind="delta"` the rows are those that
        are new or changed (their key, and the columns that change), and `removed` are keys that are gone. `new_schema`
        lets columns go and types change, `retention` says what the feed keeps (docs/feeds.md).

        Raises:
            TabularError, SelectorError, SchemaError, StoreFullError, TooLargeError: nothing was kept.
            BrokerAwayError: as `Publisher.publish` says; publish again.
        """
        order = self._order(abstract, ttl, uses, name, media_type, abstract_limit, progress, collect)
        if feed:
            edition = Edition(
                feed=feed,
                key=key_names(key),
                kind=kind,
                removed=removed,
                new_schema=new_schema,
                retention=retention or retention_of(self.settings),
            )
            return await self._issue(data, order, edition)
        return self._offer(await self._wiring.publisher.publish(data, order))

    async def subscribe(
        self,
        feed: str,
        *,
        durable: str,
        since: Since = "last",
        tries: Tries | None = None,
        ack_seconds: float = 30.0,
        grant: str = "",
    ) -> AsyncGenerator[Arrival, None]:
        """The notices of `feed`, in order and for ever, from where `durable` is.

        A notice is taken when the next one is asked for. Where the loop is left, it comes again, to whoever subscribes
        with the same durable, after a while of `tries.schedule`; after the last of these it is a dead letter. Several
        processes may share a durable: one notice is under way at a time, and one that is silent about it for
        `ack_seconds` because it died has it taken away.

        A new durable begins at `since`: "last" (the newest version there is), "first", "new", a version, or a time in
        unix seconds (a float).

        With `grant`, of `grant_feed`, versions and changes are pulled with it: what it hides never comes here. A guest
        needs one; its durable is its own (`<asker>_<durable>`), made by the plane, and keeps its place only.

        Raises:
            DurableError: the durable is of another feed, or was removed.
            GrantError: the grant opens nothing, or not this.
        """
        async with (
            self._subscriber(feed, durable, since, tries, ack_seconds, grant) as subscriber,
            aclosing(subscriber.arrivals()) as arrivals,
        ):
            async for arrival in arrivals:
                yield arrival

    async def on_notice(
        self,
        feed: str,
        handle: Callable[[Arrival], Awaitable[object]],
        *,
        durable: str,
        since: Since = "last",
        tries: Tries | None = None,
        ack_seconds: float = 30.0,
        grant: str = "",
    ) -> None:
        """Call `handle` with every notice of `feed`, for ever: as `subscribe`, for who goes on after an error.

        The error of the last try stands in the dead letter.
        """
        async with self._subscriber(feed, durable, since, tries, ack_seconds, grant) as subscriber:
            await subscriber.each(handle)

    async def grant_feed(self, feed: str, *, ttl: int = 86_400, **less: Any) -> Narrowed:
        """A grant for `feed`, its coming versions included, for `ttl` seconds; `less` narrows it as `narrow` does.

        Its `resource_url` streams the notices (docs/feeds.md). Who has it narrows it further as any grant; a version
        is shown within its columns and `where`.
        """
        grant = await self._reading.grants.mint_feed(parse_feed(feed), ttl=ttl)
        return self.narrow(f"{self.bridge_url.rstrip('/')}/v1/feeds/{grant}", **less)

    async def notices(self, feed: str, since: Since = "last") -> AsyncGenerator[Notice, None]:
        """Notices of `feed` for who looks on and keeps no place: from `since`, in order and for ever."""
        feeds = self.feeds
        start = await feeds.start(parse_feed(feed), since)
        async with aclosing(feeds.tail.follow(feed, start)) as notices:
            async for notice in notices:
                yield notice

    def webhooks(self) -> AbstractAsyncContextManager[Hooking]:
        """`async with plane.webhooks() as hooks:` the receivers that are told of feeds by HTTP; bridges send."""
        return hooking(self.feeds, self.settings)

    @property
    def feeds(self) -> Feeding:
        """Versions, durables and dead letters of feeds. Needs the rights of the user plane."""
        if self._feeding is None:
            self._feeding = feeding(self._reading, self.settings)
        return self._feeding

    async def publish_pieces(
        self, pieces: AsyncIterator[bytes], *, ttl: int | None = None, uses: int | None = None, **named: Any
    ) -> Published:
        """Publish an opaque body that comes in pieces; `named` are `name`, `media_type`, `collect`, `progress`."""
        order = self._order(
            (),
            ttl,
            uses,
            named.get("name", ""),
            named.get("media_type", ""),
            None,
            named.get("progress"),
            named.get("collect"),
        )
        return self._offer(await self._wiring.publisher.publish_pieces(pieces, order))

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
            GrantError, SelectorError, UntrustedHostError, TransferBrokenError, BodyLostError, BrokerAwayError.
        """
        return await self._pull(address, _selector(columns, row_ids), _without_ids, via, progress)

    async def pull_and(
        self,
        accept: Callable[[pulling.Rows], T],
        address: str,
        *,
        row_ids: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> T:
        """What `accept` makes of the numbered rows. Where it raises, the delivery counts as failed: nothing is used up.

        This is how an abstract is merged: one that was altered must not cost the grant.
        """
        return await self._pull(address, _selector(None, row_ids), lambda got: accept(_rows(got)), None, progress)

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
        """The stored bytes in a file, which is there only when they are whole and verified."""
        return await pulling.pull_to(self._puller(address, via), address, path, progress)

    def open(
        self, address: str, selector: Selector = WHOLE, via: Via | None = None
    ) -> AbstractAsyncContextManager[Incoming]:
        """A pull under way, for those who take what comes: see `Incoming`, and `frames_of` in plane/pull.py."""
        return self._puller(address, via).pull(address, selector)

    def narrow(
        self,
        address: str,
        *,
        columns: Sequence[str] | None = None,
        rows: RowsAsked | None = None,
        first: int | None = None,
        where: str | None = None,
        ttl: float | None = None,
        uses: int | None = None,
        audience: str | None = None,
        bytes: int | None = None,
        formats: Sequence[str] | None = None,
    ) -> Narrowed:
        """A grant that shows less than the one in `address` (a URL, a presigned subject, or the grant); asks nobody.

        `rows` are ids and ranges ("0-99,200"), `where` is a comparison over columns that the grant shows, `first`
        leaves so many of the rows after both; `ttl` is in seconds, `uses` counts completed deliveries, `audience` is
        the one name that may pull, `bytes` the most of one delivery, `formats` are media types (docs/grants.md).

        Raises:
            SelectorError, WireError, TooLargeError: it cannot be narrowed so.
        """
        less = Less(
            columns=columns,
            rows=rows,
            first=first,
            where=where,
            ttl=ttl,
            uses=uses,
            audience=audience,
            bytes=bytes,
            formats=formats,
        )
        return self.narrowed(address, less)

    def narrowed(self, address: str, less: Less) -> Narrowed:
        """As `narrow`."""
        return narrowed(address, less, bridge_url=self.bridge_url, now=time())

    async def mint(self, body_id: BodyId, less: Less) -> Narrowed:
        """A new grant for a body of this owner, narrowed. Its uses and its time to live are the root's own.

        Raises:
            BodyNotFoundError: this owner has none of that id.
        """
        body = await self._reading.store.info(self.settings.owner, body_id)
        uses = self.settings.uses if less.uses is None else less.uses
        ttl = None if less.ttl is None else ceil(less.ttl)
        grant = await self._wiring.grants.mint(body, uses=uses, ttl=ttl)
        return self.narrowed(grant, replace(less, uses=None, ttl=None))

    async def upload_grant(
        self,
        *,
        ttl: int | None = None,
        uses: int | None = None,
        within: float | None = None,
        bytes: int | None = None,
        formats: Sequence[str] | None = None,
        digest: str = "",
        audience: str = "",
    ) -> UploadGrant:
        """A URL to which somebody may upload one body of this owner (docs/uploads.md).

        The body lives until `ttl` seconds from now, and whoever completes the upload gets a grant of so many `uses`
        for it. It must be complete `within` so many seconds; it may have so many `bytes` at most, one of the media
        types `formats`, this SHA-256 (`digest`), and be uploaded by the one named `audience`.

        Raises:
            SelectorError: the terms cannot be sealed.
        """
        terms = UploadTerms(
            ttl=self.settings.ttl if ttl is None else ttl,
            uses=self.settings.uses if uses is None else uses,
            within=within,
            bytes=bytes,
            formats=formats,
            digest=digest,
            audience=audience,
        )
        return await mint_upload(self._reading, terms, self.bridge_url)

    async def upload(
        self,
        url: str,
        source: Path | bytes,
        *,
        name: str = "",
        media_type: str = "",
        progress: Progress | None = None,
    ) -> Uploaded:
        """Upload a file or bytes to `url` (`UploadGrant.upload_url`); it is a body on return.

        What breaks off goes on where the bridge has it, also by a later call.

        Raises:
            UntrustedHostError, GrantError, UploadError, TooLargeError, TransferBrokenError.
        """
        name = name or (source.name if isinstance(source, Path) else "")
        return await self._uploader.upload(url, source, name=name, media_type=media_type, progress=progress)

    @property
    def transfers(self) -> Transfers:
        """Fetching and pushing by descriptor (SEP-2433), within what the settings allow (docs/transfers.md)."""
        reach = Reach(
            trust=self._http.trust,
            networks=parse_networks(self.settings.transfer_networks, "BROKER_PLANE_TRANSFER_NETWORKS"),
            directories=[Path(text) for text in self.settings.transfer_directories.split(os.pathsep) if text],
        )
        return Transfers(reach, max_bytes=self.settings.max_body_bytes, nats=self._nats)

    async def preview(self, address: str, *, where: str | None = None, sample: int = 5, via: Via | None = None) -> Look:
        """How many rows `where` leaves of what `address` shows, its columns, and the first `sample` rows.

        No use is claimed. A counted grant pays for it all the same: at least a hundredth of a delivery, and the share
        of the body that the sample is; three deliveries' worth is what each of its uses has.

        Raises:
            SelectorError, GrantError, UntrustedHostError, BrokerAwayError.
        """
        asked = address if where is None else self.narrow(address, where=where).resource_url
        return await self._puller(asked, via).look(asked, sample)

    async def watch(self) -> AsyncGenerator[BodyInfo, None]:
        """This owner's new bodies, as they are committed."""
        async with aclosing(self._reading.store.watch(self.settings.owner)) as bodies:
            async for body in bodies:
                yield body

    async def look(self, grant: str) -> BodyInfo:
        """What is known of the body that `grant` is for; uses nothing up. Needs the rights of a bridge."""
        deliveries = self._reading.deliveries
        return (await deliveries.find(await deliveries.open(grant, self.name))).info

    async def why_no_guests(self) -> str:
        """Why a presigned subject is of no use to guests of this NATS; empty where a grant connects and may pull."""
        return await why_no_guests(self._reading, self.settings)

    async def ready(self) -> Readiness:
        return await self._reading.broker.ready()

    async def bodies(self) -> list[BodyInfo]:
        """This owner's bodies, oldest first."""
        return [body async for body in self._reading.store.list(self.settings.owner)]

    async def delete(self, body_id: BodyId) -> None:
        """Remove a body; every grant for it opens nothing from now on.

        Raises:
            FeedError: it is of a feed's version, which would have a notice and no body.
        """
        await self._reading.owning.delete(body_id)

    async def grants(
        self, body_id: BodyId, names: int | Sequence[str], *, uses: int = 1, ttl: int | None = None
    ) -> list[tuple[str, str]]:
        """`(name, resource_url)` of a separate grant for each of `names`, or for so many: one body, many consumers.

        Each has `uses` deliveries (0: unlimited) and lives for `ttl` seconds, at most as long as the body. The names
        stand in the audit.

        Raises:
            BodyNotFoundError, SelectorError: there is no such body of this owner; a name is none, or stands twice.
        """
        return await self._reading.owning.grants(body_id, names, uses=uses, ttl=ttl, offer=self._url)

    async def revoke(self, grant: str) -> Revocation:
        """A grant (a `resource_url`, a presigned subject, the grant or its id) opens nothing any more.

        Every bridge refuses it within a second and cuts the pulls that run on it. What was narrowed from it has the
        same id and is revoked with it.

        Raises:
            GrantRefusedError, WireError: it is no genuine grant.
            BrokerAwayError: whether it is revoked is not known; do it again.
        """
        grant_id = grant_id_of(grant)
        if grant_id is not None:
            return await self._reading.owning.revoke_id(grant_id)
        return await self._reading.owning.revoke_grant(grant_of(grant))

    async def audit(self, body_id: BodyId) -> list[Entry]:
        """Who was given grants for a body, pulled what of it, and how that ended, in order of time.

        Entries are written within a second of what they say.
        """
        return await audit_of(self._reading.audit, body_id)

    async def rotate_keys(self) -> None:
        """Seal with a new key; grants of the one before it still open, older ones no more."""
        await self._wiring.keys.rotate()

    def trusts(self, url: str) -> str:
        """The grant in `url`; raises UntrustedHostError where the settings do not let it be followed."""
        return self._http.trust.check(url)

    async def _pull(
        self,
        address: str,
        selector: Selector,
        accept: Callable[[pulling.Rows | bytes], T],
        via: Via | None,
        progress: Progress | None,
    ) -> T:
        most = self.settings.max_rows_inline
        puller = self._puller(address, via)
        return await pulling.pull(puller, address, selector, max_rows=most, accept=accept, progress=progress)

    async def _pull_table(
        self,
        address: str,
        selector: Selector,
        accept: Callable[[Any], T],
        via: Via | None,
        progress: Progress | None,
    ) -> T:
        most = self.settings.max_rows_inline
        puller = self._puller(address, via)
        return await pulling.pull_table(puller, address, selector, max_rows=most, accept=accept, progress=progress)

    def _puller(self, address: str, via: Via | None) -> Puller:
        """NATS for a subject and for our own bridge's URLs, which is the shorter way there; else HTTP."""
        if "://" not in address or (self._wired is None and not self.bridge_url):
            return self._nats
        if via == "http":
            return self._http
        self.trusts(address)
        ours = address.strip().startswith(self.bridge_url.rstrip("/") + "/")
        return self._nats if via == "nats" or ours else self._http

    def _order(
        self,
        abstract: Sequence[str] | None,
        ttl: int | None,
        uses: int | None,
        name: str,
        media_type: str,
        abstract_limit: int | None,
        progress: Progress | None,
        collect: bool | None,
    ) -> Order:
        collect = self.settings.collect if collect is None else collect
        if collect and self.settings.role != "plane":
            raise NotPermittedError("Only where the plane runs is it known which grants a body has; publish it there")
        uses = self.settings.uses if uses is None else uses
        if not 0 <= uses <= MOST_USES:
            raise WireError(f"uses is 0 (unlimited) or the number of completed deliveries, at most {MOST_USES}")
        limit = self.settings.abstract_limit if abstract_limit is None else abstract_limit
        return Order(
            ttl=self.settings.ttl if ttl is None else ttl,
            uses=uses,
            abstract=abstract,
            abstract_limit=limit or None,
            name=name,
            media_type=media_type,
            collect=collect,
            progress=progress,
        )

    @asynccontextmanager
    async def _subscriber(
        self, feed: str, durable: str, since: Since, tries: Tries | None, ack_seconds: float, grant: str
    ) -> AsyncIterator[Subscriber]:
        granted = GrantedVersions(self._nats, grant) if grant else None
        if self.settings.role == "plane":
            place = await self.feeds.ready(feed, durable, since, ack_seconds)
            yield self.feeds.subscriber(place, tries or Tries(), granted)
            return
        if granted is None:
            raise NotPermittedError("Without the rights of the user plane a subscription needs grant=, of grant_feed")
        async with self._nats.asking(grant) as asking:
            yield await guest_subscriber(asking, grant, feed, durable, since, tries or Tries(), granted)

    async def _issue(self, data: Any, order: Order, edition: Edition) -> Published:
        issued = await self.feeds.versions.publish(data, order, edition)
        if issued.published is not None:
            return replace(self._offer(issued.published), notice=issued.notice)
        # The version that there is, and another grant for it.
        body = issued.notice.body
        grant = await self._reading.grants.mint(body, uses=order.uses, ttl=order.ttl)
        return replace(self._offer(StoredBody(body, grant)), notice=issued.notice)

    def _offer(self, stored: StoredBody) -> Published:
        url = self._url(stored.grant)
        return Published(
            stored.body, stored.grant, url, stored.abstract, stored.truncated, stored.summary, self._wiring.guests
        )

    def _url(self, grant: str) -> str:
        return f"{self.bridge_url.rstrip('/')}/s2sp/data/{grant}"

    @property
    def wiring(self) -> Wiring:
        """The parts of this plane, for a bridge of this process.

        Raises:
            NotPermittedError: it only pulls.
        """
        return self._wiring

    @property
    def _reading(self) -> Wiring:
        """For what only the user plane may do, so that another learns it here and not by NATS's refusal."""
        if self.settings.role != "plane":
            raise NotPermittedError(
                f"With BROKER_PLANE_ROLE={self.settings.role} nothing stored can be looked at: ask where the plane runs"
            )
        return self._wiring

    @property
    def _wiring(self) -> Wiring:
        if self._wired is None:
            raise NotPermittedError(
                "This process only pulls (BROKER_PLANE_ROLE=guest); publishing needs a resource server's user"
            )
        return self._wired


async def _open(settings: Settings, stack: AsyncExitStack) -> Plane:
    url = settings.nats_url
    name = parse_asker(settings.name or "a" + secrets.token_hex(8))
    if settings.role != "plane":
        check_role(settings)
    if settings.role == "guest":
        return Plane(None, settings, settings.bridge_url, nats=guest_puller(url, settings, stack), name=name)
    if url:
        wiring = await _wired(url, settings, stack)
        puller = wiring_puller(wiring, settings, name, stack)
        bridge_url = settings.bridge_url or await _own_bridge(wiring, settings, stack)
        return Plane(wiring, settings, bridge_url, nats=puller, name=name)
    attachment = await anyio.to_thread.run_sync(lambda: attach(settings, bridge_command=BRIDGE_COMMAND))
    stack.callback(attachment.close)
    running = attachment.running
    wiring = await _wired(running.nats_url, settings, stack, durability=FSYNC)
    puller = embedded_puller(wiring, running.asker_url, settings, name, stack)
    return Plane(wiring, settings, settings.bridge_url or running.bridge_url, nats=puller, name=name)


async def _wired(url: str, settings: Settings, stack: AsyncExitStack, *, durability: str = "") -> Wiring:
    wiring = await wire(url, settings, durability=durability)
    stack.push_async_callback(wiring.close)
    return wiring


async def _own_bridge(wiring: Wiring, settings: Settings, stack: AsyncExitStack) -> str:
    """A bridge in this process, for a NATS whose bridge nobody named (rulings.md 18)."""
    from broker_plane.runtime.bridging import bridging  # a server that has a bridge elsewhere needs no web framework

    log.warning("BROKER_PLANE_BRIDGE_URL is not set: serving bodies from this process, on loopback, while it lives")
    return await stack.enter_async_context(bridging(wiring, settings, host="127.0.0.1", port=0))


def _without_ids(pulled: pulling.Rows | bytes) -> Any:
    return pulled if isinstance(pulled, bytes) else pulled.rows


def _rows(pulled: pulling.Rows | bytes) -> pulling.Rows:
    if isinstance(pulled, bytes):
        raise SelectorError("This body is opaque and has no rows; hand it to a tool that takes bytes or a file")
    return pulled


def _selector(columns: Sequence[str] | None, row_ids: Sequence[int] | None) -> Selector:
    fields: dict[str, Any] = {}
    if columns is not None:
        fields["columns"] = list(columns)
    if row_ids is not None:
        fields["row_ids"] = list(row_ids)
    return parse_selector(fields)
