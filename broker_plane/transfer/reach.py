"""Where a descriptor may lead. It comes from another server: what it names is looked at before a byte is sent.

A name is resolved once, every address that comes out must be allowed, and the connection goes to one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import unquote, urlsplit

from broker_plane.client.addresses import is_public, meant, resolve
from broker_plane.client.trust import Trust
from broker_plane.errors import ForbiddenPathError, UntrustedHostError

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "mqtt": 1883, "mqtts": 8883, "sftp": 22}
_ENCRYPTED = frozenset({"https", "wss", "mqtts", "sftp"})
_PUBLIC_PORTS = frozenset({443, 8443, 8883, 22})


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect: `address` for the socket, `host` for Host and SNI, `rest` is path and query."""

    scheme: str
    address: str
    port: int
    host: str
    rest: str

    @property
    def authority(self) -> str:
        """As it stands in Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def encrypted(self) -> bool:
        return self.scheme in _ENCRYPTED

    @property
    def loopback(self) -> bool:
        return meant(ip_address(self.address)).is_loopback

    @property
    def url(self) -> str:
        """Of the checked address."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.scheme}://{address}:{self.port}{self.rest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """`trust` knows our own bridges; `networks` are allowed besides all that is public; `directories` are for `fs`."""

    trust: Trust
    networks: Sequence[str] = ()
    directories: Sequence[Path] = ()

    async def check(self, url: str, schemes: Sequence[str]) -> Target:
        """The target of `url`, whose scheme is one of `schemes`.

        Public addresses are reached encrypted and at the usual ports; those of `networks` in any way.

        Raises:
            UntrustedHostError: it may not be connected to; nothing was sent.
            BrokerUnavailableError: its name does not resolve now.
        """
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError as error:
            raise UntrustedHostError("The endpoint is no URL") from error
        if parts.scheme not in schemes or not host or not port:
            raise UntrustedHostError(f"The endpoint must be a URL of {' or '.join(schemes)}")
        if parts.username is not None or parts.password is not None:
            raise UntrustedHostError("An endpoint holds no user and password; they go into auth")
        rest = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        found = await resolve(host, port)
        if not self._ours(url):
            for address in map(meant, found):
                listed = any(
                    address.version == network.version and address in network
                    for network in map(ip_network, self.networks)
                )
                if not listed and not (is_public(address) and parts.scheme in _ENCRYPTED and port in _PUBLIC_PORTS):
                    raise UntrustedHostError(
                        f"A descriptor may not lead to {host!r}: it is inside, in plain text, or at an unusual port. "
                        "If you mean it, list its network in BROKER_PLANE_TRANSFER_NETWORKS"
                    )
        return Target(parts.scheme, str(found[0]), port, host, rest)

    def path(self, endpoint: str) -> Path:
        """The file of `endpoint` (a path or a file: URL), links followed.

        Raises:
            ForbiddenPathError: it is in none of the directories.
        """
        text = unquote(urlsplit(endpoint).path) if endpoint.lower().startswith("file:") else endpoint
        try:
            path = Path(text).resolve()
            allowed = any(path.is_relative_to(directory.resolve()) for directory in self.directories)
        except (OSError, ValueError, RuntimeError) as error:
            raise ForbiddenPathError("This endpoint is no path of a file") from error
        if not allowed or not Path(text).is_absolute():
            raise ForbiddenPathError(
                "This path is in no directory that descriptors may read; name one in BROKER_PLANE_TRANSFER_DIRECTORIES"
            )
        return path

    def _ours(self, url: str) -> bool:
        scheme, found, rest = url.partition("?")[0].partition("://")
        plain = {"ws": "http", "wss": "https"}.get(scheme, scheme) + found + rest
        for check in (self.trust.check, self.trust.check_stream):
            with suppress(UntrustedHostError):
                check(plain)
                return True
        return False
