"""The guard against request forgery (SSRF): URLs that other parties named are checked before a byte is sent.

A name is resolved once, every address it resolves to must be allowed, and the connection goes to one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from broker_plane.client.addresses import is_public, meant, resolve
from broker_plane.errors import UntrustedHostError
from broker_plane.wire.protocols import HTTP_SCHEMES, SCHEMES


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """Where to connect: `address` is for the socket, `host` for Host and SNI, `rest` is path and query."""

    scheme: str
    address: str
    port: int
    host: str
    rest: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == SCHEMES[self.scheme].port else f"{host}:{self.port}"

    @property
    def encrypted(self) -> bool:
        return SCHEMES[self.scheme].encrypted

    @property
    def loopback(self) -> bool:
        return meant(ip_address(self.address)).is_loopback

    @property
    def url(self) -> str:
        """The URL with the checked address in place of the name."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.scheme}://{address}:{self.port}{self.rest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestGuard:
    """Allows public hosts over encrypted schemes at `public_ports`, and hosts in `networks` in any way.

    `subject` begins the error messages ("A webhook"), `setting` is the variable that lists the networks.
    """

    subject: str
    setting: str
    public_ports: frozenset[int]
    networks: Sequence[str] = ()
    where: str = ""
    """Ends the advice: the processes that need the setting."""

    async def check(self, url: str, schemes: Sequence[str] = HTTP_SCHEMES, *, own: bool = False) -> RequestTarget:
        """The target of `url`, whose scheme is one of `schemes`. `own` URLs may lead to any address.

        Raises:
            UntrustedHostError: it must not be contacted; nothing was sent.
            BrokerUnavailableError: its name does not resolve now.
        """
        parts, host, port = self._parsed(url, schemes)
        found = await resolve(host, port)
        if not own and not all(self._allows(address, parts.scheme, port) for address in found):
            raise UntrustedHostError(
                f"{self.subject} must not lead to {host!r}: only public hosts, encrypted and at the usual ports, and "
                f"the networks in {self.setting} are allowed. If you mean this host, list its network there{self.where}"
            )
        rest = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return RequestTarget(parts.scheme, str(found[0]), port, host, rest)

    def _parsed(self, url: str, schemes: Sequence[str]) -> tuple[SplitResult, str, int]:
        try:
            parts = urlsplit(url.strip())
            host = parts.hostname or ""
            port = parts.port or (SCHEMES[parts.scheme].port if parts.scheme in schemes else 0)
        except ValueError as error:
            raise UntrustedHostError(f"{self.subject} needs a valid URL") from error
        if parts.scheme not in schemes or not host or not port:
            raise UntrustedHostError(f"{self.subject} needs a URL with the scheme {' or '.join(schemes)}")
        if parts.username is not None or parts.password is not None:
            raise UntrustedHostError(f"{self.subject} needs a URL without user and password")
        return parts, host, port

    def _allows(self, address: IPv4Address | IPv6Address, scheme: str, port: int) -> bool:
        reached = meant(address)
        for network in map(ip_network, self.networks):
            if reached.version == network.version and reached in network:
                return True
        return is_public(reached) and SCHEMES[scheme].encrypted and port in self.public_ports


def webhook_guard(networks: Sequence[str] = ()) -> RequestGuard:
    """The guard of webhook endpoints: HTTPS at its usual ports, and `networks`."""
    return RequestGuard(
        subject="A webhook",
        setting="BROKER_PLANE_WEBHOOK_NETWORKS",
        public_ports=SCHEMES["https"].public_ports,
        networks=networks,
        where=", also for the bridge that sends",
    )


def descriptor_guard(networks: Sequence[str] = ()) -> RequestGuard:
    """The guard of descriptors' endpoints: every encrypted scheme at its usual ports, and `networks`."""
    return RequestGuard(
        subject="A descriptor",
        setting="BROKER_PLANE_TRANSFER_NETWORKS",
        public_ports=frozenset(port for scheme in SCHEMES.values() for port in scheme.public_ports),
        networks=networks,
    )
