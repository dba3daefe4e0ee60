"""The ways to a session: out of a descriptor, a URL, a presigned subject or a grant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any, Literal

from broker_plane.errors import DescriptorExpiredError, WireError
from broker_plane.wire.descriptor import Descriptor, parse_descriptor
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.grant import Kind, is_grant, peek
from broker_plane.wire.urls import session_url

SessionVia = Literal["auto", "http", "nats"]

_SOCKETS = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


@dataclass(frozen=True, slots=True)
class SessionAddress:
    """A grant for a session, and the URL at which a bridge serves it; empty if no bridge is known."""

    grant: str = field(repr=False)
    url: str = field(default="", repr=False)
    """`http(s)://…/v1/sessions/<grant>`"""

    @property
    def session_id(self) -> str:
        return peek(self.grant).body

    @property
    def websocket(self) -> str:
        """The URL with the scheme ws or wss."""
        return "ws" + self.url.removeprefix("http")

    def way(self, via: SessionVia, *, nats_only: bool = False) -> Literal["http", "nats"]:
        """The way to take: HTTP if there is a URL, unless `via` says otherwise.

        Raises:
            WireError: the address does not have that way.
        """
        if via not in ("auto", "http", "nats"):
            raise WireError(f"via must be auto, http or nats, not {via!r:.20}")
        if via == "nats" or (via == "auto" and (nats_only or not self.url)):
            return "nats"
        if not self.url:
            raise WireError("No bridge is known for this grant: pass the session's URL, or set BROKER_PLANE_BRIDGE_URL")
        return "http"


def session_address(given: Any, bridge_url: str) -> SessionAddress:
    """The address in a descriptor (also as JSON), a URL, a presigned subject or a grant, or in a created session.

    Raises:
        WireError: it is something else, or for something else than a session.
        DescriptorExpiredError: the descriptor has expired.
    """
    found = getattr(given, "descriptor", given)
    if isinstance(found, str):
        found = _parsed(found.strip())
    if isinstance(found, Mapping):
        found = parse_descriptor(dict(found))
    address = _of_descriptor(found) if isinstance(found, Descriptor) else _of_text(found)
    if peek(address.grant).kind is not Kind.SESSION:
        raise WireError("This grant is not for a session; pass one that `broker-plane session create` printed")
    if not address.url and bridge_url:
        return SessionAddress(address.grant, session_url(bridge_url, address.grant))
    return address


def _parsed(text: str) -> Any:
    if not text.startswith("{"):
        return text
    try:
        return loads(text)
    except MALFORMED as error:
        raise WireError("This is neither a grant nor the JSON of a descriptor") from error


def _of_text(text: Any) -> SessionAddress:
    if not isinstance(text, str):
        raise WireError(f"This takes a session's descriptor, URL or grant, not {type(text).__name__}")
    return SessionAddress(_grant_in(text), _http(text) if "://" in text else "")


def _of_descriptor(descriptor: Descriptor) -> SessionAddress:
    if descriptor.mode != "collaborate":
        raise WireError(f"This descriptor is for the mode {descriptor.mode}; a session's has the mode collaborate")
    if not descriptor.live(time()):
        raise DescriptorExpiredError("The descriptor of this session has expired; ask for a new one")
    ways = list(_ways(descriptor))
    url = next((_http(each.endpoint) for each in ways if each.protocol in _SOCKETS), "")
    return SessionAddress(_grant_in(ways[0].endpoint), url)


def _ways(descriptor: Descriptor) -> Iterator[Descriptor]:
    yield descriptor
    others = (descriptor.model_extra or {}).get("alternatives")
    for fields in others if isinstance(others, list) else ():
        other = parse_descriptor(fields)
        if other.mode == "collaborate" and _grant_in(other.endpoint) == _grant_in(descriptor.endpoint):
            yield other


def _http(url: str) -> str:
    scheme, _, rest = url.strip().rstrip("/").partition("://")
    if scheme.lower() not in _SOCKETS:
        raise WireError("The URL of a session begins with http, https, ws or wss")
    return f"{_SOCKETS[scheme.lower()]}://{rest}"


def _grant_in(text: str) -> str:
    """The last segment of a URL, or the last token of a presigned subject."""
    found = text.strip().rstrip("/").rpartition("/")[2].rpartition(".")[2]
    if not is_grant(found):
        raise WireError("This contains no grant; pass on the descriptor, the URL or the grant as it was given")
    return found
