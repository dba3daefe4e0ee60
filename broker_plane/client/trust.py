"""Which `resource_url` a consumer follows, and which hosts get its bearer token; a model's output cannot decide this.

Loopback is no exception: any user of the machine may listen on a loopback port, so only the port of our own bridge is
trusted there, below the path of its base URL.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from broker_plane.errors import ConfigError, UntrustedHostError
from broker_plane.wire.grant import is_grant
from broker_plane.wire.host_names import one_spelling

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_DATA = "/s2sp/data/"
_UPLOAD = "/s2sp/upload/"
_STREAMS = "/v1/streams/"
_SESSIONS = "/v1/sessions/"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_WRITTEN = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]+)(?::\d{1,5})?")
_HOST = re.compile(r"[0-9a-f:.]*:[0-9a-f:.]*|[a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_])?\.?")


@dataclass(frozen=True, slots=True)
class Trust:
    """`hosts` and `token_hosts` are `host` or `host:port`; `bridges` are base URLs of our own bridges.

    `started` are those that this process serves at present.
    """

    hosts: frozenset[str] = frozenset()
    bridges: frozenset[str] = frozenset()
    token_hosts: frozenset[str] = frozenset()
    started: Collection[str] = ()

    def check(self, url: str) -> str:
        """The grant in `url`, which leads to a trusted host.

        Raises:
            UntrustedHostError: the host is not trusted, or the URL is not `…/s2sp/data/<grant>`; nothing was sent.
        """
        return self._check(url, "resource_url", _DATA)

    def check_upload(self, url: str) -> str:
        """As `check`, for an upload URL: `…/s2sp/upload/<grant>`."""
        return self._check(url, "upload_url", _UPLOAD)

    def check_stream(self, url: str) -> str:
        """As `check`, for the URL of a live stream: `…/v1/streams/<grant>`."""
        return self._check(url, "stream", _STREAMS)

    def check_session(self, url: str) -> str:
        """As `check`, for the URL of a session: `…/v1/sessions/<grant>`, also with the scheme ws or wss."""
        scheme, found, rest = url.strip().partition("://")
        if scheme.lower() in ("ws", "wss"):
            url = f"{scheme.lower().replace('ws', 'http')}{found}{rest}"
        return self._check(url, "session", _SESSIONS)

    def takes_token(self, url: str) -> bool:
        """Whether this process's bearer token may be sent to `url`: to our own bridges and `token_hosts`.

        The connection has to be https or on loopback, so that nobody can read the token.
        """
        parts = urlsplit(url.strip())
        secure = parts.scheme == "https" or one_spelling(parts.hostname or "") in _LOOPBACK
        return secure and (self._is_ours(parts, parts.path) or _listed(parts, self.token_hosts))

    def _check(self, url: str, what: str, path: str) -> str:
        try:
            parts = urlsplit(url.strip())
            host, port = _place_of(parts.scheme, parts.netloc)
        except ValueError as error:
            raise UntrustedHostError(f"{what} is not a URL") from error
        if parts.scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc:
            raise UntrustedHostError(f"{what} must be http(s)://<host>{path}<grant>, as it was given")
        prefix, found, grant = parts.path.rpartition(path)
        if not found or not is_grant(grant) or parts.query or parts.fragment:
            raise UntrustedHostError(f"{what} must be http(s)://<host>{path}<grant>, as it was given")
        if not _listed(parts, self.hosts) and not self._is_ours(parts, prefix + "/", exactly=True):
            place = _host_port(host, port)
            raise UntrustedHostError(
                f"The host {host!r} of {what} is not trusted at port {port}. If a bridge of yours listens there, add "
                f"{place} to BROKER_PLANE_TRUSTED_HOSTS, or set BROKER_PLANE_BRIDGE_URL to its base URL"
            )
        return grant

    def _is_ours(self, parts: SplitResult, path: str, *, exactly: bool = False) -> bool:
        """Whether `path` at the origin of `parts` is below a bridge's base path; `exactly`: is that path."""
        origin = _origin(parts)
        for bridge in (*self.bridges, *self.started):
            root, base = _base_of(bridge)
            if base == origin and (path == root if exactly else path.startswith(root)):
                return True
        return False


def parse_hosts(text: str, setting: str = "BROKER_PLANE_TRUSTED_HOSTS") -> frozenset[str]:
    """The entries of a comma list of `host` and `host:port`; an IPv6 address with a port has brackets.

    Raises:
        ConfigError: an entry is neither.
    """
    return frozenset(_entry(part.strip(), setting) for part in text.split(",") if part.strip())


def _entry(text: str, setting: str) -> str:
    if text.count(":") > 1 and not text.startswith("[") and "/" not in text:
        text = f"[{text}]"  # an IPv6 address without a port
    if reason := _no_entry(text):
        raise ConfigError(f"{setting}: {text!r} {reason}")
    try:
        parts = urlsplit(f"//{text}")
        host, port = one_spelling(parts.hostname or ""), parts.port
    except ValueError:
        host, port = "", None
    if not _HOST.fullmatch(host) or not _WRITTEN.fullmatch(text):
        raise ConfigError(f"{setting}: {text!r} is not a host or host:port, such as bridge.example:8787 or [::1]:8787")
    return host if port is None else _host_port(host, port)


def _no_entry(text: str) -> str:
    """The fault of an entry that does not name a single host; empty if it has none."""
    if "*" in text:
        return "is a wildcard, which would trust strangers; list each host"
    if "%" in text:
        return "names a network zone of this machine (%), which other machines do not have; leave it out"
    if "://" in text:
        parts = urlsplit(text)
        return f"is a URL; write its host and port alone: {parts.netloc.rpartition('@')[2] or 'bridge.example:8787'}"
    if "/" in text or "@" in text or "?" in text or "#" in text:
        return "is not a host or host:port; leave out path, user and query"
    return ""


def _listed(parts: SplitResult, hosts: frozenset[str]) -> bool:
    host, port = _place_of(parts.scheme, parts.netloc)
    return host in hosts or _host_port(host, port) in hosts


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(64)
def _place_of(scheme: str, place: str) -> tuple[str, int]:
    """The host and the port in `place`, the part of a URL before its path. Raises ValueError."""
    parts = SplitResult(scheme, place, "", "", "")
    return one_spelling(parts.hostname or ""), parts.port or _DEFAULT_PORTS.get(scheme, 0)


@lru_cache(64)
def _base_of(bridge: str) -> tuple[str, tuple[str, str, int]]:
    """Root path and origin of a bridge's base URL."""
    base = urlsplit(bridge)
    return base.path.rstrip("/") + "/", _origin(base)


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, *_place_of(parts.scheme, parts.netloc)
