"""Plane's publishing: bodies, and versions of feeds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from broker_plane.errors import NotPermittedError, SchemaError
from broker_plane.plane.bodies.publish import Progress, PublishOrder
from broker_plane.plane.bodies.publish import StoredBody as StoredBody
from broker_plane.plane.feeds.retention import Retention
from broker_plane.plane.feeds.version import Kind, Version
from broker_plane.runtime import arguments
from broker_plane.runtime.feeding import retention_of
from broker_plane.runtime.live import LiveStream, publishing
from broker_plane.runtime.offering import Terms, offer_of, over_http, terms_of
from broker_plane.runtime.parts import Parts
from broker_plane.runtime.uploading import uploaded_grant
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.feeds import Notice, column_names, key_names
from broker_plane.wire.grant import Kind as GrantKind
from broker_plane.wire.grant import peek, transfer_id_of
from broker_plane.wire.offers import Offer
from broker_plane.wire.streams import END_SIGNAL


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
    terms: Terms = field(default_factory=Terms)
    """What of its ways may be offered."""

    @property
    def version(self) -> int:
        """Of a feed; 0 where the body is of none."""
        return self.notice.version if self.notice else 0

    def offer(self, formats: Sequence[str] = (), consumers: int | None = None) -> Offer:
        """How it may travel, as ranked descriptors (docs/transfers.md); `formats` are those that rows are wanted in."""
        return offer_of(self, formats, consumers)

    def descriptor(self) -> Descriptor:
        """The one of its ways that every HTTP client can go.

        Raises:
            ConfigError: the bridge is in plain text, and too far off for that.
        """
        return over_http(self.offer())

    @property
    def subject(self) -> str:
        """The presigned subject, to which an asker appends its name."""
        return self.terms.names.pull_subject(self.grant)

    @property
    def transfer_id(self) -> str:
        """The grant's id as a UUID (SEP-2433)."""
        return transfer_id_of(self.grant)

    @property
    def expires(self) -> int:
        """When the grant ends, in unix seconds."""
        return peek(self.grant).expires


class Publishing(Parts):
    """What publishes."""

    async def publish(
        self,
        data: Any,
        *,
        abstract: Sequence[str] | None = (),
        ttl: float | timedelta | str | None = None,
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
        columns: Sequence[str] | None = None,
        new_schema: bool = False,
        retention: Retention | None = None,
    ) -> Published:
        """Publish rows (a list, an iterator, an async iterator), bytes or a Path; the body is acknowledged on return.

        `abstract` names the columns whose values come back with it, for at most `abstract_limit` rows (0: all); None is
        every column. `ttl` is in seconds, or a timedelta, or a text such as "10m", and at most 30 days. `uses` counts
        completed deliveries (0: unlimited). With `collect` the body is freed once every grant that was minted for it
        is used up or revoked; one of unlimited use keeps it to its end.

        With `feed` it is the next version of that feed, and its subscribers are told; the same rows as before are the
        version that there is. `key` names the columns that tell rows apart. With `kind="delta"` the rows are those that
        are new or changed (their key, and the columns that change), and `removed` are keys that are gone. A feed keeps
        its columns, also in a version without rows; `new_schema` lets columns go and types change. `retention` says
        what the feed keeps (docs/feeds.md).

        `columns` are all columns that rows may have, in order; a body without rows has them too. Without it they are
        those of the rows, and of a feed also those that it had.

        Raises:
            TabularError, SelectorError, SchemaError, StoreFullError, TooLargeError: nothing was kept.
            BrokerUnavailableError: as `Publisher.publish` says; publish again.
        """
        arguments.one_of(kind, "kind", "snapshot", "delta")
        if isinstance(removed, (str, bytes, Mapping)):
            raise SchemaError(f"removed is a list of keys, such as removed=[{removed!r:.60}]")
        order = self._order(abstract, ttl, uses, name, media_type, abstract_limit, progress, collect)
        declared = None if columns is None else column_names(columns)
        if feed:
            edition = Version(
                feed=feed,
                key=key_names(key),
                kind=kind,
                removed=removed,
                columns=declared,
                new_schema=new_schema,
                retention=retention or retention_of(self.settings),
            )
            return await self._issue(data, order, edition)
        return self._offer(await self._wiring.publisher.publish(data, replace(order, columns=declared or ())))

    async def publish_pieces(
        self,
        pieces: AsyncIterator[bytes],
        *,
        ttl: float | timedelta | str | None = None,
        uses: int | None = None,
        **named: Any,
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

    def _order(
        self,
        abstract: Sequence[str] | None,
        ttl: float | timedelta | str | None,
        uses: int | None,
        name: str,
        media_type: str,
        abstract_limit: int | None,
        progress: Progress | None,
        collect: bool | None,
    ) -> PublishOrder:
        collect = self.settings.delete_when_used if collect is None else collect
        if collect and self.settings.role != "plane":
            raise NotPermittedError("Only where the plane runs is it known which grants a body has; publish it there")
        limit = self.settings.max_abstract_rows if abstract_limit is None else abstract_limit
        return PublishOrder(
            ttl=self.settings.ttl_seconds if ttl is None else arguments.whole_seconds(ttl),
            uses=arguments.uses(self.settings.grant_uses if uses is None else uses),
            abstract=arguments.names(abstract, "abstract"),
            abstract_limit=limit or None,
            name=name,
            media_type=media_type,
            collect=collect,
            progress=progress,
        )

    def stream(
        self,
        kind: Literal["rows", "bytes"] = "rows",
        *,
        media_type: str = "",
        buffer_size: int = 64,
        end_signal: str = END_SIGNAL,
        ttl: float | timedelta | str | None = None,
    ) -> AbstractAsyncContextManager[LiveStream]:
        """`async with plane.stream() as stream: await stream.send(row)`: rows or chunks that one reader takes live.

        `send` waits while the reader is `buffer_size` items behind; what nobody takes for `ttl` seconds is lost, and
        its reader is told so. The block's end is the stream's (docs/transfers.md).

        Raises:
            WireError: buffer or signal are none. NotPermittedError: this is not the user plane.
        """
        arguments.one_of(kind, "kind", "rows", "bytes")
        return publishing(
            self._reading,
            self.settings.owner,
            self.bridge_url,
            terms_of(self.settings),
            kind=kind,
            media_type=media_type,
            buffer_size=buffer_size,
            end_signal=end_signal,
            ttl=self.settings.ttl_seconds if ttl is None else arguments.whole_seconds(ttl),
        )

    async def found(self, grant: str) -> Published:
        """What a grant is for, as if it had just been published; uses nothing up. Needs the rights of a bridge.

        Of an upload's grant it is what was uploaded. Raises UploadNotFoundError where that is not all there.
        """
        grant = arguments.address(grant)
        if peek(grant).kind is GrantKind.UPLOAD:
            grant = await uploaded_grant(self._reading, self.settings, grant)
        deliveries = self._reading.deliveries
        body = (await deliveries.find(await deliveries.open(grant, self.name))).info
        url, terms = self.url_of(grant), terms_of(self.settings)
        return Published(body, grant, url, [], False, {}, offers_subject=self._wiring.guests, terms=terms)

    async def _issue(self, data: Any, order: PublishOrder, edition: Version) -> Published:
        issued = await self.feeds.versions.publish(data, order, edition)
        if issued.published is not None:
            return replace(self._offer(issued.published), notice=issued.notice)
        # The version that there is, and another grant for it.
        body = issued.notice.body
        grant = await self._reading.grants.minting.mint(body, uses=order.uses, ttl=order.ttl)
        return replace(self._offer(StoredBody(body, grant)), notice=issued.notice)

    def _offer(self, stored: StoredBody) -> Published:
        url = self.url_of(stored.grant)
        return Published(
            stored.body,
            stored.grant,
            url,
            stored.abstract,
            stored.truncated,
            stored.summary,
            offers_subject=self._wiring.guests,
            terms=terms_of(self.settings),
        )
