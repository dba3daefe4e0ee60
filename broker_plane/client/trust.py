"""Which `resource_url` a consumer follows (rulings.md 15): nothing that a model can make up leads anywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from broker_plane.errors import UntrustedHostError
from broker_plane.wire.grant import is_grant

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_DATA = "/s2sp/data/"
_UPLOAD = "/s2sp/upload/"
_STREAMS = "/v1/streams/"


@dataclass(frozen=True, slots=True)
class Trust:
    """`hosts` are `host` or `host:port`; `bridges` are base URLs of our own. Loopback is trusted without an entry."""

    hosts: frozenset[str] = frozenset()
    bridges: frozenset[str] = frozenset()

    def check(self, url: str) -> str:
        """The grant in `url`, which leads to a host that is trusted.

        Raises:
            UntrustedHostError: it does not, or is no `…/s2sp/data/<grant>`; nothing was sent anywhere.
        """
        return self._check(url, "resource_url", _DATA)

    def check_upload(self, url: str) -> str:
        """As `check`, of a URL that is uploaded to: `…/s2sp/upload/<grant>`."""
        return self._check(url, "upload_url", _UPLOAD)

    def check_stream(self, url: str) -> str:
        """As `check`, of a live stream's URL: `…/v1/streams/<grant>`."""
        return self._check(url, "stream", _STREAMS)

    def _check(self, url: str, what: str, path: str) -> str:
        try:
            parts = urlsplit(url.strip())
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError as error:
            raise UntrustedHostError(f"{what} is no URL") from error
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise UntrustedHostError(f"{what} must be http(s)://<host>{path}<grant>, as it was given")
        _, found, grant = parts.path.rpartition(path)
        if not found or not is_grant(grant) or parts.query or parts.fragment:
            raise UntrustedHostError(f"{what} must be http(s)://<host>{path}<grant>, as it was given")
        if not self._knows(parts.scheme, host, port):
            raise UntrustedHostError(
                f"The host {host!r} of {what} is not trusted. If it is a bridge of yours, "
                f"add it to BROKER_PLANE_TRUSTED_HOSTS"
            )
        return grant

    def _knows(self, scheme: str, host: str, port: int | None) -> bool:
        port = port or (443 if scheme == "https" else 80)
        if host in _LOOPBACK or host in self.hosts or f"{host}:{port}" in self.hosts:
            return True
        return any(_origin(bridge) == (scheme, host, port) for bridge in self.bridges)


def parse_hosts(text: str) -> frozenset[str]:
    return frozenset(part.strip().lower() for part in text.split(",") if part.strip())


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)
