"""CORS (Fetch, section 3.2): the origins whose pages may read answers. Pure.

The grant is in the URL and no cookie identifies the client, so credentials are never allowed.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

from broker_plane.errors import ConfigError
from broker_plane.web.guard import Origin, ascii_host, parse_origin

SETTING = "BROKER_PLANE_CORS_ORIGINS"

_ALLOWED_HEADERS = (
    "Accept, Accept-Encoding, Authorization, Cache-Control, Content-Digest, Content-Disposition, Content-Type, "
    "If-Match, If-Modified-Since, If-None-Match, If-Range, If-Unmodified-Since, Last-Event-ID, Range, Repr-Digest, "
    "Traceparent, Tus-Resumable, Upload-Complete, Upload-Defer-Length, Upload-Draft-Interop-Version, Upload-Length, "
    "Upload-Metadata, Upload-Offset, X-Request-ID, X-Requested-With"
)
_EXPOSED_HEADERS = (
    "Accept-Patch, Accept-Ranges, Allow, BP-Cursor, BP-Lease, BP-Lost, BP-Part, BP-Rows, Content-Disposition, "
    "Content-Encoding, Content-Length, Content-Location, Content-Range, ETag, Location, Repr-Digest, Retry-After, "
    "Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, Upload-Complete, Upload-Defer-Length, Upload-Expires, "
    "Upload-Length, Upload-Limit, Upload-Metadata, Upload-Offset, WWW-Authenticate"
)
_MAX_AGE_SECONDS = 600

Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Cors:
    """The admitted origins of one server; with `any_origin` every page may read."""

    origins: frozenset[Origin] = frozenset()
    any_origin: bool = False

    def __bool__(self) -> bool:
        return self.any_origin or bool(self.origins)

    def fields(self, scope: Scope) -> Fields:
        """The headers of every answer to this request, including errors, on a route that is open to pages."""
        exposed = (b"access-control-expose-headers", _EXPOSED_HEADERS.encode())
        if self.any_origin:
            return [(b"access-control-allow-origin", b"*"), exposed]
        vary = (b"vary", b"Origin")
        origin = self._admitted(scope)
        return [vary] if origin is None else [(b"access-control-allow-origin", origin), exposed, vary]

    def preflight(self, scope: Scope, methods: str) -> list[tuple[str, str]] | None:
        """The headers of the answer to a preflight of an admitted page; None for every other request.

        `methods` are those of the route, as in Allow.
        """
        if scope["method"] != "OPTIONS" or _value(scope, b"access-control-request-method") is None:
            return None
        if self._admitted(scope) is None and not self.any_origin:
            return None
        fields = [
            ("access-control-allow-methods", methods),
            ("access-control-allow-headers", _ALLOWED_HEADERS),
            ("access-control-max-age", str(_MAX_AGE_SECONDS)),
        ]
        # Only for origins named in the setting: with *, any public page could reach into a private network.
        if not self.any_origin and _value(scope, b"access-control-request-private-network") == b"true":
            fields.append(("access-control-allow-private-network", "true"))
        return fields

    def _admitted(self, scope: Scope) -> bytes | None:
        raw = _value(scope, b"origin")
        return raw if raw is not None and parse_origin(raw.decode("latin-1")) in self.origins else None


NO_CORS = Cors()


def parse_cors(text: str) -> Cors:
    """The origins in a comma-separated list, such as `https://app.example,http://localhost:5173`; `*` alone is any.

    Raises:
        ConfigError: an entry is not an origin.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if "*" in entries:
        if len(entries) > 1:
            raise ConfigError(f"{SETTING}: * means every origin; remove either it or the other entries")
        return Cors(any_origin=True)
    return Cors(frozenset(map(_origin, entries)))


def _origin(text: str) -> Origin:
    if "*" in text:
        raise ConfigError(f"{SETTING}: {text!r} has a wildcard; list each origin, or write * alone for every origin")
    if text.lower() == "null":
        raise ConfigError(f"{SETTING}: null is not allowed: every sandboxed page and every file has this origin")
    scheme, found, host = text.removesuffix("/").partition("://")
    origin = parse_origin(f"{scheme}://{ascii_host(host)}") if found else None
    if origin is None:
        raise ConfigError(
            f"{SETTING}: {text!r} is not an origin. Write scheme, host and port as a browser sends them, without a "
            "path, such as https://app.example or http://localhost:5173"
        )
    return origin


def _value(scope: Scope, name: bytes) -> bytes | None:
    values = [value for key, value in scope["headers"] if key == name]
    return values[0] if len(values) == 1 else None
