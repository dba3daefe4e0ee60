"""The guard against request forgery (SSRF): URLs that other parties named are checked before a byte is sent.

A name is resolved once, every address it resolves to must be allowed, and the connection goes to one of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from broker_plane.client.addresses import is_public, meant, resolve
from broker_plane.errors import UntrustedHostError
from broker_plane.wire.protocols import HTTP_SCHEMES, Scheme

Resolver = Callable[[str, int], Awaitable[Sequence[IPv4Address | IPv6Address]]]
"""Returns the addresses of a host; raises as `resolve`."""


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """Where to connect: `address` is for the socket, `host` for Host and SNI, `rest` is path and query."""

    scheme: Scheme
    address: str
    port: int
    host: str
    rest: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == self.scheme.port else f"{host}:{self.port}"

    @property
    def encrypted(self) -> bool:
        return self.scheme.encrypted

    @property
    def loopback(self) -> bool:
        return meant(ip_address(self.address)).is_loopback

    @property
    def url(self) -> str:
        """The URL with the checked address in place of the name."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.scheme.name}://{address}:{self.port}{self.rest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestGuard:
    """Allows public hosts over encrypted schemes at the public ports of each, and hosts in `networks` in any way.

    `subject` begins the error messages ("A webhook"), `setting` is the variable that lists the networks.
    """

    subject: str
    setting: str
    networks: Sequence[str] = ()
    where: str = ""
    """Ends the advice: the processes that need the setting."""
    resolver: Resolver = resolve
    public: bool = True
    """Whether public hosts are allowed."""

    async def check(self, url: str, schemes: Sequence[Scheme] = HTTP_SCHEMES, *, own: bool = False) -> RequestTarget:
        """The target of `url`, whose scheme is one of `schemes`. `own` URLs may lead to any address.

        Raises:
            UntrustedHostError: it must not be contacted; nothing was sent.
            BrokerUnavailableError: its name does not resolve now.
        """
        parts, scheme, host, port = self._parsed(url, schemes)
        found = await self.resolver(host, port)
        if not own and not all(self._allows(address, scheme, port) for address in found):
            raise self._refusal(host)
        return RequestTarget(scheme, str(found[0]), port, host, _rest(parts))

    async def leads_to(self, url: str, address: str, schemes: Sequence[Scheme] = HTTP_SCHEMES) -> bool:
        """Whether the name in `url` resolves to `address` now. Raises as `check`."""
        _, _, host, port = self._parsed(url, schemes)
        return ip_address(address) in await self.resolver(host, port)

    def pinned(self, url: str, address: str, schemes: Sequence[Scheme] = HTTP_SCHEMES) -> RequestTarget:
        """The target of a `url` that was checked before and led to `address` then. Its name is not resolved again.

        Raises:
            UntrustedHostError: the address is no longer allowed; nothing was sent.
        """
        parts, scheme, host, port = self._parsed(url, schemes)
        if not self._allows(ip_address(address), scheme, port):
            raise self._refusal(host)
        return RequestTarget(scheme, address, port, host, _rest(parts))

    def _refusal(self, host: str) -> UntrustedHostError:
        if not self.public:
            return UntrustedHostError(f"{self.subject} must not lead to {host!r}, but to this machine only")
        return UntrustedHostError(
            f"{self.subject} must not lead to {host!r}: only public hosts, encrypted and at the usual ports, and "
            f"the networks in {self.setting} are allowed. If you mean this host, list its network there{self.where}"
        )

    def _parsed(self, url: str, schemes: Sequence[Scheme]) -> tuple[SplitResult, Scheme, str, int]:
        try:
            parts = urlsplit(url.strip())
            host = parts.hostname or ""
            scheme = next((each for each in schemes if each.name == parts.scheme), None)
            port = parts.port or (scheme.port if scheme else 0)
        except ValueError as error:
            raise UntrustedHostError(f"{self.subject} needs a valid URL") from error
        if scheme is None or not host or not port:
            names = " or ".join(each.name for each in schemes)
            raise UntrustedHostError(f"{self.subject} needs a URL with the scheme {names}")
        if parts.username is not None or parts.password is not None:
            raise UntrustedHostError(f"{self.subject} needs a URL without user and password")
        return parts, scheme, host, port

    def _allows(self, address: IPv4Address | IPv6Address, scheme: Scheme, port: int) -> bool:
        reached = meant(address)
        for network in map(ip_network, self.networks):
            if reached.version == network.version and reached in network:
                return True
        return self.public and is_public(reached) and scheme.encrypted and port in scheme.public_ports


def _rest(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def webhook_guard(networks: Sequence[str] = ()) -> RequestGuard:
    """The guard of webhook endpoints: HTTPS at its usual ports, and `networks`."""
    return RequestGuard(
        subject="A webhook",
        setting="BROKER_PLANE_WEBHOOK_NETWORKS",
        networks=networks,
        where=", also for the bridge that sends",
    )


def loopback_guard(subject: str) -> RequestGuard:
    """The guard of what must not leave this machine."""
    return RequestGuard(subject=subject, setting="", networks=("127.0.0.0/8", "::1/128"), public=False)


def descriptor_guard(networks: Sequence[str] = ()) -> RequestGuard:
    """The guard of descriptors' endpoints: every encrypted scheme at its usual ports, and `networks`."""
    return RequestGuard(
        subject="A descriptor",
        setting="BROKER_PLANE_TRANSFER_NETWORKS",
        networks=networks,
    )
