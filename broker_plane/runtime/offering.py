"""How a published body may travel: its ways as descriptors, ranked. What may be offered at all is settled here."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from broker_plane.broker.urls import is_encrypted
from broker_plane.config import Settings
from broker_plane.errors import ConfigError
from broker_plane.tabular.views import VIEWS
from broker_plane.wire.body import ROWS_TYPE
from broker_plane.wire.capabilities import media_type_of
from broker_plane.wire.descriptor import V1, Descriptor, parse_descriptor
from broker_plane.wire.grant import peek, transfer_id_of, uses_of
from broker_plane.wire.hosts import Nearness, nearness
from broker_plane.wire.offers import FAN_OUT, Cargo, Offer, Plain, Way, rank
from broker_plane.wire.plane_names import DEFAULT_NAMES, Names

if TYPE_CHECKING:
    from broker_plane.runtime.connect import Published
    from broker_plane.runtime.uploading import UploadGrant

_DEFAULT_VIEW = "application/json"


@dataclass(frozen=True, slots=True)
class Terms:
    """What one plane may offer: plain text up to which hosts, and where its NATS is."""

    plain: Plain = "loopback"
    nats_encrypted: bool = False
    nats_near: Nearness = "loopback"
    names: Names = DEFAULT_NAMES
    """The names of the plane, for presigned subjects."""


def terms_of(settings: Settings) -> Terms:
    """The terms of these settings; the embedded NATS listens on loopback."""
    asked = settings.nats_guest_url or settings.nats_url
    encrypted = is_encrypted(asked) or bool(settings.nats_ca or settings.nats_cert)
    url = asked.partition(",")[0]
    near = nearness(url if "://" in url else f"nats://{url}") if url else "loopback"
    return Terms(settings.plain_http, encrypted, near, Names(settings.prefix))


def offer_of(published: Published, formats: Collection[str] = (), consumers: int | None = None) -> Offer:
    """The ranked ways of a body. `formats` are media types that its reader wants rows in, besides JSON.

    `consumers` is how many are expected; None is what the grant has uses for. The presigned subject is offered only
    where NATS holds its askers to it (rulings.md 9), and plain text only as far as the plane's terms go.
    """
    uses = uses_of(published.grant)
    cargo = Cargo(
        kind=published.body.kind,
        size=published.body.size,
        consumers=(uses or FAN_OUT) if consumers is None else consumers,
    )
    return rank(list(_ways(published, formats)), cargo, published.terms.plain)


def over_http(offer: Offer) -> Descriptor:
    """The way over HTTP that needs no package of ours: of rows JSON, of an opaque body and of an upload the only one.

    Raises:
        ConfigError: there is none that may be offered.
    """
    ways = [each for each in offer.descriptors if each.protocol in ("https", "http")]
    if not ways:
        raise ConfigError(
            "The bridge is in plain text on a host that BROKER_PLANE_PLAIN_HTTP does not allow; give it https"
        )
    return ways[-1]


def push_offer_of(grant: UploadGrant, terms: Terms, *, media_type: str, size: int | None, sha256: str) -> Offer:
    """The way of one upload by PUT, where it may be offered; of `size` bytes, None where that is not known."""
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
        "fallback": "error",  # until somebody hands it on who serves `transfer/unable`
        **({} if body.rows is None else {"rows": body.rows}),
    }
    # A narrowed grant shows a part of the body, which has no digest and no size before it is cut.
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
