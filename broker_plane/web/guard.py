"""Guards a server against foreign pages: requests for unknown hosts, and writes from other origins. Pure.

A page in a browser can be made to reach a port of this machine or of its network (DNS rebinding, cross-site requests).
The browser then sends the page's host in Host and the page's origin in Origin, and a page can change neither. Only the
names are compared; a port is compared if an entry has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

from broker_plane.errors import ConfigError, ForeignOriginError, UnknownHostError, WireError
from broker_plane.wire.host_names import ascii_name

TARGET = "broker_plane.target"
"""The key in `scope["extensions"]` of the authority in an absolute request target, as bytes."""

_AUTHORITY = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9_.-]{1,255}))(?::(?P<port>\d{0,5}))?")
_ORIGIN = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#@\s]+)")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104  # they do not name a host


@dataclass(frozen=True, slots=True)
class Authority:
    """A host in one spelling (lower case, no final dot, addresses as the standard library writes them) and its port."""

    host: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a page (RFC 6454); `port` defaults to the scheme's."""

    scheme: str
    host: str
    port: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The rules of one server. Loopback and the local address of a connection are known without an entry."""

    hosts: frozenset[Authority] | None = frozenset()
    """Further hosts that the server is known by; None turns the check of Host off."""
    origins: frozenset[Origin] = frozenset()
    """Origins whose pages may write, besides the server's own."""
    any_origin: bool = False
    """Whether pages of every origin may write, `null` included."""
    loopback_origins: bool = False
    """Whether pages from any port of this machine may write."""
    guard_reads: bool = False
    """Whether foreign pages may not even read."""

    def check(self, scope: Mapping[str, Any]) -> None:
        """Raise unless the request of an ASGI `scope` may be answered.

        Raises:
            WireError: Host is missing, repeated or malformed (400).
            UnknownHostError: the server is not known by the host of the request (421).
            ForeignOriginError: a page of another origin sent it (403).
        """
        host = self._checked_host(scope)
        if scope["type"] == "websocket" or scope["method"] not in _READS or self.guard_reads:
            self._check_origin(scope, host)

    def _checked_host(self, scope: Mapping[str, Any]) -> Authority | None:
        named = _values(scope, b"host")
        target = scope.get("extensions", {}).get(TARGET)
        if target is not None:
            self._check_known(_authority_of(target), scope)
        if not named and scope.get("http_version") == "1.0" and (self.hosts is None or _is_local(scope.get("client"))):
            return None  # old health checks use HTTP/1.0, and no browser does
        if len(named) != 1:
            raise WireError("A request must have exactly one Host header")
        host = _authority_of(named[0])
        self._check_known(host, scope)
        return host

    def _check_known(self, host: Authority, scope: Mapping[str, Any]) -> None:
        if self.hosts is None or host.host in _LOOPBACK or host.host == _own_address(scope):
            return
        if host in self.hosts or Authority(host.host) in self.hosts:
            return
        raise UnknownHostError(
            "This server is not known by the host in the request. If the name is right, add it to "
            "BROKER_PLANE_BRIDGE_HOSTS of the bridge, or set BROKER_PLANE_BRIDGE_URL"
        )

    def _check_origin(self, scope: Mapping[str, Any], host: Authority | None) -> None:
        named = _values(scope, b"origin")
        if named and not self.any_origin and not (len(named) == 1 and self._admits(named[0], scope, host)):
            raise ForeignOriginError("Pages of other origins may not do this")

    def _admits(self, raw: bytes, scope: Mapping[str, Any], host: Authority | None) -> bool:
        origin = parse_origin(raw.decode("latin-1"))
        if origin is None:
            return False
        if origin in self.origins or (self.loopback_origins and origin.host in _LOOPBACK):
            return True
        return host is not None and origin in _own_origins(scope, host)


ANY_HOST = Guard(hosts=None)


def guard_of(hosts: str, *urls: str, bound: str = "", pages: Iterable[Origin] = (), any_origin: bool = False) -> Guard:
    """The guard of a server at the address `bound`, known by a comma-separated list of `hosts` and the hosts of `urls`.

    `pages` are origins that may write besides those of `urls`.

    Raises:
        ConfigError: an entry of `hosts` is not a host; `*` means any.
    """
    entries = [entry.strip() for entry in hosts.split(",") if entry.strip()]
    reached = [parts for parts in map(urlsplit, urls) if parts.hostname]
    own = filter(None, (parse_origin(_ascii_origin(parts)) for parts in reached))
    origins = frozenset([*own, *pages])
    if "*" in entries:
        return Guard(hosts=None, origins=origins, any_origin=any_origin)
    names = [ascii_host(_bracketed(parts.hostname or "")) for parts in reached]
    names += [] if bound in _WILDCARDS else [_bracketed(bound)]
    known = frozenset([*_parsed(names), *map(_entry, entries)])
    return Guard(hosts=known, origins=origins, any_origin=any_origin)


def parse_origin(text: str) -> Origin | None:
    """The origin in `text`; None for `null` and anything else that is not an origin."""
    match = _ORIGIN.fullmatch(text)
    authority = parse_authority(match["authority"]) if match else None
    if match is None or authority is None:
        return None
    scheme = match["scheme"].lower()
    return Origin(scheme, authority.host, authority.port or _DEFAULT_PORTS.get(scheme))


@lru_cache(1024)
def parse_authority(text: str) -> Authority | None:
    """`host`, `host:port`, `[address]` or `[address]:port` in one spelling; None if malformed."""
    match = _AUTHORITY.fullmatch(text)
    host = _spelled(match["ipv6"], match["name"]) if match else ""
    if match is None or not host or int(match["port"] or 0) > 65_535:
        return None
    return Authority(host, int(match["port"]) if match["port"] else None)


@lru_cache(1024)
def _spelled(ipv6: str | None, name: str | None) -> str:
    text = (ipv6 or (name or "").removesuffix(".")).lower()
    try:
        address = ip_address(text)
    except ValueError:
        return "" if ipv6 or not all(text.split(".")) else text
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def _authority_of(raw: bytes) -> Authority:
    authority = parse_authority(raw.decode("latin-1"))
    if authority is None:
        raise WireError("Host must be a name or an address, with an optional port")
    return authority


def _values(scope: Mapping[str, Any], name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _own_address(scope: Mapping[str, Any]) -> str:
    """The local address of the connection. No page can be loaded from a name that equals it."""
    return _spelled(None, str((scope.get("server") or ("",))[0]))


def _is_local(client: Any) -> bool:
    try:
        return ip_address(client[0]).is_loopback
    except (TypeError, IndexError, ValueError):
        return False


def _own_origins(scope: Mapping[str, Any], host: Authority) -> Iterable[Origin]:
    """The origins that a browser may send for pages of `host`. Behind a proxy that ends TLS the scheme is unknown."""
    secure = scope.get("scheme") in ("https", "wss")
    schemes = ("https",) if secure else ("http", "https")
    return [Origin(scheme, host.host, host.port or _DEFAULT_PORTS[scheme]) for scheme in schemes]


def _entry(text: str) -> Authority:
    found = parse_authority(ascii_host(_bracketed(text)))
    if found is None:
        raise ConfigError(
            f"BROKER_PLANE_BRIDGE_HOSTS: {text!r} is not a host. Write name, name:port, an address, [IPv6]:port, "
            "or * for any"
        )
    return found


def _parsed(names: Iterable[str]) -> Iterable[Authority]:
    return filter(None, map(parse_authority, names))


def _bracketed(host: str) -> str:
    """Add the brackets of an IPv6 address; `host:port` has a single colon."""
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


def ascii_host(text: str) -> str:
    """Internationalized names as sent on the wire (RFC 5890: A-labels)."""
    host, colon, port = text.partition(":")
    return text if text.isascii() else ascii_name(host) + colon + port


def _ascii_origin(parts: Any) -> str:
    host = ascii_host(_bracketed(parts.hostname or ""))
    return f"{parts.scheme}://{host}:{parts.port}" if parts.port else f"{parts.scheme}://{host}"
