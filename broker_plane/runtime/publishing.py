"""Publishing: bodies and versions of feeds, and what `Plane.publish` returns for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from broker_plane.config import Settings
from broker_plane.errors import NotPermittedError, SchemaError
from broker_plane.plane.bodies.publish import Progress, PublishOrder, StoredBody
from broker_plane.runtime import arguments
from broker_plane.runtime.offering import Published, terms_of
from broker_plane.runtime.wiring import Wiring
from broker_plane.wire.feeds import key_names
from broker_plane.wire.urls import data_url

if TYPE_CHECKING:
    from broker_plane.plane.feeds.retention import Retention
    from broker_plane.plane.feeds.version import Kind, Version
    from broker_plane.plane.feeds.version_publisher import VersionPublisher


class BodyPublisher:
    """Publishes bodies over a wiring, and makes the URLs of their grants. Needs the role `plane` or `source`."""

    def __init__(self, wiring: Wiring, settings: Settings, bridge_url: str) -> None:
        self._wiring = wiring
        self._bridge_url = bridge_url
        self._terms = terms_of(settings)

    async def publish(self, data: Any, order: PublishOrder) -> Published:
        return self._offer(await self._wiring.publisher.publish(data, order))

    async def publish_text(self, text: bytes, rows: Sequence[Any], order: PublishOrder) -> Published:
        return self._offer(await self._wiring.publisher.publish_text(text, rows, order))

    async def publish_pieces(self, pieces: AsyncIterator[bytes], order: PublishOrder) -> Published:
        return self._offer(await self._wiring.publisher.publish_pieces(pieces, order))

    async def publish_version(
        self, versions: VersionPublisher, data: Any, order: PublishOrder, version: Version
    ) -> Published:
        """Publish the next version of a feed; unchanged rows return the newest version with another grant."""
        issued = await versions.publish(data, order, version)
        stored = issued.published
        if stored is None:
            body = issued.notice.body
            stored = StoredBody(body, await self._wiring.grants.minting.mint(body, uses=order.uses, ttl=order.ttl))
        return replace(self._offer(stored), notice=issued.notice)

    def _offer(self, stored: StoredBody) -> Published:
        return Published(
            stored.body,
            stored.grant,
            data_url(self._bridge_url, stored.grant),
            stored.abstract,
            stored.truncated,
            stored.summary,
            offers_subject=self._wiring.guests,
            terms=self._terms,
        )


@dataclass(frozen=True, slots=True)
class BodyOptions:
    """What every publish may say of its body and its grant; None follows the settings."""

    ttl: arguments.Lifetime | None
    uses: arguments.Uses | None
    name: str
    media_type: str
    delete_when_used: bool | None
    progress: Progress | None


def order_of(
    settings: Settings,
    options: BodyOptions,
    abstract: arguments.AbstractColumns = (),
    abstract_limit: Any = None,
    *,
    columns: tuple[str, ...] = (),
) -> PublishOrder:
    """Return the checked order of one publish."""
    collect = settings.delete_when_used if options.delete_when_used is None else options.delete_when_used
    if collect and settings.role != "plane":
        raise NotPermittedError(
            f"With BROKER_PLANE_ROLE={settings.role} the grants of a body are not known, so it cannot be deleted "
            "when they are used up: publish it where the role is plane"
        )
    return PublishOrder(
        ttl=settings.ttl_seconds if options.ttl is None else arguments.whole_seconds(options.ttl),
        uses=arguments.uses_or(options.uses, settings.grant_uses),
        abstract=arguments.abstract_columns(abstract),
        abstract_limit=arguments.abstract_rows(abstract_limit, settings.max_abstract_rows),
        name=options.name,
        media_type=options.media_type,
        collect=collect,
        columns=columns,
        progress=options.progress,
    )


def version_of(
    settings: Settings,
    feed: str,
    key: str | Sequence[str] | None,
    kind: Kind,
    removed: Sequence[Any],
    columns: tuple[str, ...] | None,
    new_schema: bool,
    retention: Retention | None,
) -> Version:
    """Return what is said of one version of a feed; a retention of None follows the settings."""
    from broker_plane.plane.feeds.version import Version  # most bodies belong to no feed
    from broker_plane.runtime.feed_adapters import retention_of

    return Version(
        feed=feed,
        key=key_names(key),
        kind=kind,
        removed=removed,
        columns=columns,
        new_schema=new_schema,
        retention=retention or retention_of(settings),
    )


def check_publish(kind: Any, removed: Any) -> None:
    """Raise WireError or SchemaError if these arguments of a publish are not valid."""
    arguments.one_of(kind, "kind", "snapshot", "delta")
    if isinstance(removed, (str, bytes, Mapping)):
        raise SchemaError(f"removed is a list of keys, such as removed=[{removed!r:.60}]")
