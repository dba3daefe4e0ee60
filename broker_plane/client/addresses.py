"""Which addresses a webhook may be sent to: nothing inside, whatever its name or spelling says.

The name is resolved once; every address that comes out must be allowed, and the connection goes to one of them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from broker_plane.errors import BrokerAwayError, ConfigError, UntrustedHostError

_PORTS = frozenset({443, 8443})
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_REFUSED = (
    "A webhook goes to https://<a public host>; for another one, list its network in BROKER_PLANE_WEBHOOK_NETWORKS"
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and as what: `url` names the checked address, `host` stands in Host and in SNI."""

    url: str
    host: str
    name: str


@dataclass(frozen=True, slots=True)
class Addresses:
    """`networks` are allowed besides all that is public; there http and every port are, too."""

    networks: tuple[str, ...] = ()

    async def check(self, url: str) -> Target:
        """The target of `url`.

        Raises:
            UntrustedHostError: it may not be sent to.
            BrokerAwayError: its name does not resolve now.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise UntrustedHostError(_REFUSED) from error
        if parts.scheme not in ("http", "https") or not host or parts.username is not None or parts.fragment:
            raise UntrustedHostError(_REFUSED)
        found = await resolve(host, port)
        if not all(self._allows(address, parts.scheme, port) for address in found):
            raise UntrustedHostError(_REFUSED)
        address = f"[{found[0]}]" if found[0].version == 6 else str(found[0])
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(f"{parts.scheme}://{address}:{port}{path}", parts.netloc, host)

    def _allows(self, address: IPv4Address | IPv6Address, scheme: str, port: int) -> bool:
        end = meant(address)
        for network in map(ip_network, self.networks):
            if end.version == network.version and end in network:
                return True
        return end.is_global and not end.is_multicast and scheme == "https" and port in _PORTS


def parse_networks(text: str, setting: str = "BROKER_PLANE_WEBHOOK_NETWORKS") -> tuple[str, ...]:
    """The networks of a comma list such as `10.1.0.0/16,127.0.0.1/32`.

    Raises:
        ConfigError: one is none.
    """
    try:
        return tuple(str(ip_network(part.strip())) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}") from error


def meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The address that a packet to `address` may end at: mapped, 6to4, Teredo and NAT64 carry one of IPv4."""
    if isinstance(address, IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if inner is None and any(address in network for network in _NAT64):
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


async def resolve(host: str, port: int) -> Sequence[IPv4Address | IPv6Address]:
    """The addresses of a name, or of a spelling of one.

    Raises:
        BrokerAwayError: it has none now.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [ip_address(str(each[4][0]).partition("%")[0]) for each in found]
    except (OSError, UnicodeError) as error:
        raise BrokerAwayError("The host does not resolve; check its name", reason=repr(error)) from error
