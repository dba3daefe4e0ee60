"""Which hosts and ports generated code may reach: the server's list, the client's and the operator's, all three. Pure.

A host is compared in one spelling (`wire/host_names.py`), and an entry names exactly one host: no list has wildcards.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from broker_plane.client.trust import parse_hosts
from broker_plane.errors import ConfigError
from broker_plane.sandbox.ports import DoorRefusedError
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.host_names import one_spelling
from broker_plane.wire.protocols import scheme_of

_HTTPS_PORT = 443

Hosts = frozenset[str]
"""Entries `host` and `host:port`; an IPv6 address with a port has brackets."""


@dataclass(frozen=True, slots=True)
class EndpointPlace:
    """Where an endpoint is; `scheme` is empty if it has none."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachList:
    """The three lists. `client` and `operator` are None if they allow every host; `ports` are for entries of `server`
    without a port.
    """

    server: Hosts
    ports: frozenset[int]
    client: Hosts | None = None
    operator: Hosts | None = None

    def check(self, host: str, port: int) -> None:
        """Check a host, in one spelling, and its port.

        Raises:
            DoorRefusedError: a list does not have it; the message says whose.
        """
        here = _place(host, port)
        if not self.offers(host, port):
            raise DoorRefusedError(f"{here} is not on the list of hosts that the descriptor allows")
        if not _listed(host, port, self.client):
            raise DoorRefusedError(f"{here} is not on the list of hosts that this client allows")
        if not _listed(host, port, self.operator):
            raise DoorRefusedError(f"{here} is not on the list of hosts in BROKER_PLANE_LEVELS_HOSTS")

    def offers(self, host: str, port: int) -> bool:
        """Whether the server's list has this host and port."""
        return _place(host, port) in self.server or (host in self.server and port in self.ports)

    def names_port(self, host: str, port: int) -> bool:
        """Whether the operator listed this host with this port, which may then be an unusual one."""
        return self.operator is not None and _place(host, port) in self.operator


def reach_list(descriptor: Descriptor, *, client: Collection[str] | None = None, operator: str = "*") -> ReachList:
    """The lists for one descriptor.

    A descriptor without `sandbox.allowed_hosts` allows its endpoint's host, and without `allowed_ports` its endpoint's
    port. `client` has entries `host` and `host:port`; `operator` is the value of BROKER_PLANE_LEVELS_HOSTS.

    Raises:
        ConfigError: an entry of the client's or the operator's list is not a host.
    """
    endpoint = endpoint_place(descriptor.endpoint)
    sandbox = descriptor.sandbox
    own = frozenset({endpoint.host}) if endpoint is not None else frozenset()
    named = frozenset().union(*map(_server_entry, sandbox.allowed_hosts)) if sandbox else frozenset()
    ports = frozenset(sandbox.allowed_ports) if sandbox else frozenset()
    return ReachList(
        server=named if sandbox and sandbox.allowed_hosts else own,
        ports=ports or frozenset({endpoint.port if endpoint is not None else _HTTPS_PORT}),
        client=None if client is None else parse_hosts(",".join(client), "The list of allowed hosts"),
        operator=None if operator.strip() == "*" else parse_hosts(operator, "BROKER_PLANE_LEVELS_HOSTS"),
    )


def endpoint_place(endpoint: str) -> EndpointPlace | None:
    """Scheme, host and port of an endpoint; None if it has no host.

    The port of an unknown scheme is 443 unless the endpoint names one.
    """
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
        host, port = one_spelling(parts.hostname or ""), parts.port
    except ValueError:
        return None
    scheme = scheme_of(f"{parts.scheme}:")
    return EndpointPlace(parts.scheme, host, port or (scheme.port if scheme else _HTTPS_PORT)) if host else None


def _server_entry(text: str) -> Hosts:
    """An entry of another party: it allows nothing if it is not a host."""
    with suppress(ConfigError):
        return parse_hosts(text)
    return frozenset()


def _listed(host: str, port: int, hosts: Hosts | None) -> bool:
    return hosts is None or host in hosts or _place(host, port) in hosts


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
