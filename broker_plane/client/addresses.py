"""Public and private IP addresses, whatever their spelling, and the resolution of names.

Public means globally reachable unicast by the IANA Special-Purpose Address Registries for IPv4 and IPv6 as of October
2025. For IPv6 the rule is positive: an address is public only if it is in 2000::/3 and outside the special blocks
below. The tables are ours because `ipaddress` differs between patch releases of Python, and reports as reachable what
the registry does not list: fec0::/10, 5f00::/16, IPv4-compatible and translated addresses.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from broker_plane.errors import BrokerUnavailableError, ConfigError, UntrustedHostError

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_SPECIAL_IPV6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID, ORCHIDv2, DRIP, anycast services
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "3ffe::/16",  # 6bone, returned (RFC 3701)
            "3fff::/20",  # documentation
        ),
    )
)
_SPECIAL_IPV4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared by carriers
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
        ),
    )
)
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
"""Bits 64 to 95 of an address that tunnels to an IPv4 address inside its own site (RFC 5214, section 6.1)."""


def parse_networks(text: str, setting: str = "BROKER_PLANE_WEBHOOK_NETWORKS") -> tuple[str, ...]:
    """The networks of a comma list such as `10.1.0.0/16,127.0.0.1/32`.

    Raises:
        ConfigError: an entry is not a network.
    """
    return tuple(_network(part.strip(), setting) for part in text.split(",") if part.strip())


def _network(text: str, setting: str) -> str:
    address, slash, prefix = text.partition("/")
    address = address.removeprefix("[").removesuffix("]")
    if "%" in address:
        raise ConfigError(f"{setting}: {text!r} names a network zone of this machine (%); leave it out")
    try:
        return str(ip_network(f"{address}{slash}{prefix}"))
    except ValueError as error:
        reason = "is not a network; write addresses such as 10.1.0.0/16, fd00::/8 or 127.0.0.1, not names or ports"
        if "host bits" in str(error):
            network = ip_network(f"{address}/{prefix}", strict=False)
            reason = f"is an address inside {network}; write that network"
        raise ConfigError(f"{setting}: {text!r} {reason}") from error


def meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The address that the kernel or a NAT64 gateway connects to: mapped and translated addresses carry an IPv4 one.

    Other forms that contain an IPv4 address (6to4, Teredo, ISATAP, compatible) are returned unchanged: none is public.
    """
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether packets to `address` leave for the public internet, whatever its spelling."""
    end = meant(address)
    if isinstance(end, IPv4Address):
        return not any(end in network for network in _SPECIAL_IPV4)
    special = end not in _GLOBAL_UNICAST or any(end in network for network in _SPECIAL_IPV6)
    return not special and end.scope_id is None and (int(end) >> 32) & 0xFFFFFFFF not in _ISATAP


async def resolve(host: str, port: int) -> Sequence[IPv4Address | IPv6Address]:
    """The addresses of a name, or the address itself in any spelling.

    Raises:
        BrokerUnavailableError: the name does not resolve now.
        UntrustedHostError: the address names a zone of this machine.
    """
    if "%" in host:
        raise UntrustedHostError("An address with a zone (%) leads into a network of this machine; name it without one")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [ip_address(str(each[4][0]).partition("%")[0]) for each in found]
    except (OSError, UnicodeError) as error:
        raise BrokerUnavailableError("The host does not resolve; check its name", reason=repr(error)) from error
