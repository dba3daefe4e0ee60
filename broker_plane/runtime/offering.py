"""A published body, and how it may travel: its ways as ranked descriptors, and what may be offered at all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from broker_plane.broker.urls import is_encrypted
from broker_plane.config import Settings
from broker_plane.errors import ConfigError
from broker_plane.runtime.uploads import UploadGrant
from broker_plane.tabular.views import VIEWS
from broker_plane.wire.body import ROWS_TYPE, BodyInfo
from broker_plane.wire.capabilities import media_type_of
from broker_plane.wire.descriptor import V1, Descriptor, parse_descriptor
from broker_plane.wire.feeds import Notice
from broker_plane.wire.grant import peek, transfer_id_of, uses_of
from broker_plane.wire.hosts import Nearness, nearness
from broker_plane.wire.offers import FAN_OUT, Cargo, Offer, Plain, Way, rank
from broker_plane.wire.plane_names import DEFAULT_NAMES, Names

_DEFAULT_VIEW = "application/json"


@dataclass(frozen=True, slots=True)
class Terms:
    """What one plane may offer: how far plain text may travel, and where its NATS is."""

    plain: Plain = "loopback"
    nats_encrypted: bool = False
    nats_near: Nearness = "loopback"
    names: Names = DEFAULT_NAMES
    """The names of the plane, for presigned subjects."""


def terms_of(settings: Settings) -> Terms:
    """Return the terms of these settings; the embedded NATS listens on loopback."""
    asked = settings.nats_guest_url or settings.nats_url
    encrypted = is_encrypted(asked) or bool(settings.nats_ca or settings.nats_cert)
    url = asked.partition(",")[0]
    near = nearness(url if "://" in url else f"nats://{url}") if url else "loopback"
    return Terms(settings.plain_http, encrypted, near, Names(settings.prefix))


@dataclass(frozen=True, slots=True)
class Published:
    """A published body and a grant for it, in two spellings: a URL for HTTP, a subject for NATS."""

    body: BodyInfo
    grant: str
    resource_url: str
    abstract: list[dict[str, Any]]
    abstract_truncated: bool
    summary: dict[str, Any]
    offers_subject: bool = True
    """Whether the subject may be handed on. It may not if NATS has no accounts: a user there can read every body."""
    notice: Notice | None = None
    """What the subscribers of a feed receive, if the body is a feed's version."""
    terms: Terms = field(default_factory=Terms)
    """Which of its ways may be offered."""

    @property
    def version(self) -> int:
        """The version of the feed; 0 if the body does not belong to a feed."""
        return self.notice.version if self.notice else 0

    def offer(self, formats: Sequence[str] = (), consumers: int | None = None) -> Offer:
        """Return how the body may travel, as ranked descriptors (docs/transfers.md).

        `formats` are media types that the reader of rows accepts, besides JSON. `consumers` is the expected number of
        pulls; None means as many as the grant has uses.
        """
        return offer_of(self, formats, consumers)

    def descriptor(self) -> Descriptor:
        """Return the descriptor that every HTTP client can use.

        Raises:
            ConfigError: the bridge speaks plain text, and is farther away than plain text may travel.
        """
        return over_http(self.offer())

    @property
    def subject(self) -> str:
        """The presigned subject, to which a puller appends its name."""
        return self.terms.names.pull_subject(self.grant)

    @property
    def transfer_id(self) -> str:
        """The grant's id as a UUID (SEP-2433)."""
        return transfer_id_of(self.grant)

    @property
    def expires(self) -> int:
        """When the grant expires, in unix seconds."""
        return peek(self.grant).expires


def offer_of(published: Published, formats: Collection[str] = (), consumers: int | None = None) -> Offer:
    """Return the ranked ways of a body: see `Published.offer`.

    The presigned subject is offered only if NATS restricts pullers to it (decision 0029), and plain text only as far as
    the plane's terms allow.
    """
    uses = uses_of(published.grant)
    cargo = Cargo(
        kind=published.body.kind,
        size=published.body.size,
        consumers=(uses or FAN_OUT) if consumers is None else consumers,
    )
    return rank(list(_ways(published, formats)), cargo, published.terms.plain)


def over_http(offer: Offer) -> Descriptor:
    """Return the way over HTTP that needs no package of ours: for rows it is JSON; other bodies have only one.

    Raises:
        ConfigError: no such way may be offered.
    """
    ways = [each for each in offer.descriptors if each.protocol in ("https", "http")]
    if not ways:
        raise ConfigError(
            "The bridge is in plain text on a host that BROKER_PLANE_PLAIN_HTTP does not allow; give it https"
        )
    return ways[-1]


def push_offer_of(grant: UploadGrant, terms: Terms, *, media_type: str, size: int | None, sha256: str) -> Offer:
    """Return the way of one upload by PUT, if it may be offered. `size` is in bytes; None if it is not known."""
    fields: dict[str, Any] = {
        "$schema": V1,
        "transfer_id": grant.transfer_id,
        "mode": "push",
        "protocol": grant.upload_url.partition(":")[0],
        "endpoint": grant.upload_url,
        "method": "PUT",
        "format": media_type,
        "expires": datetime.fromtimestamp(grant.expires, UTC),
        **({} if size is None else {"size_hint": size}),
        **({"checksum": f"sha256:{sha256}"} if sha256 else {}),
    }
    return rank([Way(parse_descriptor(fields))], Cargo(size=size), terms.plain)


def _ways(published: Published, formats: Collection[str]) -> Iterator[Way]:
    body, terms = published.body, published.terms
    expires = datetime.fromtimestamp(peek(published.grant).expires, UTC)
    shared: dict[str, Any] = {
        "$schema": V1,
        "transfer_id": transfer_id_of(published.grant),
        "mode": "fetch",
        "expires": expires,
        "fallback": "error",  # until it is handed on by a server that answers `transfer/unable`
        **({} if body.rows is None else {"rows": body.rows}),
    }
    # A narrowed grant shows a part of the body, whose digest and size are not known before it is cut.
    known = {"size_hint": body.size, "checksum": f"sha256:{body.digest}"} if body.digest else {}
    stored = {"format": body.media_type, **known}
    http = {"protocol": published.resource_url.partition(":")[0], "method": "GET"}
    url = published.resource_url
    if published.offers_subject:
        nats = {"protocol": "nats", "endpoint": published.subject}
        yield Way(parse_descriptor(shared | stored | nats), terms.nats_encrypted, terms.nats_near)
    if body.kind == "bytes":
        yield Way(parse_descriptor(shared | stored | http | {"endpoint": url}))
        return
    asked = f"{url}?{urlencode({'format': body.media_type})}"
    yield Way(parse_descriptor(shared | stored | http | {"endpoint": asked}))
    yield Way(parse_descriptor(shared | http | {"endpoint": url, "format": _DEFAULT_VIEW}))
    wanted = {media_type_of(name) for name in formats} & set(VIEWS) - {_DEFAULT_VIEW, ROWS_TYPE}
    for view in sorted(wanted):
        asked = f"{url}?{urlencode({'format': view})}"
        yield Way(parse_descriptor(shared | http | {"endpoint": asked, "format": view}))
