"""`GET /v1/sessions/<grant>/page`: the page for people who take part in a session, and its files.

The page itself is the same for every grant, so it reveals nothing. It opens the session's WebSockets with the grant in
its own address. Its files are below a path that contains their hash and no grant: they can be cached forever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from broker_plane.web.guard import parse_authority
from broker_plane.web.request import headers_of
from broker_plane.web.sending import Headers, send_bytes

_INDEX = "index.html"
_PLACEHOLDER = b"{{assets}}"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HASH_CHARACTERS = 16

_FOREVER = "public, max-age=31536000, immutable"
_PROTECTED: Headers = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
]
_CLOSED_TO_FRAMES: Headers = [
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("cache-control", "no-store"),  # its address has the grant
]


@dataclass(frozen=True, slots=True)
class PageFiles:
    """The files of the page, without the page itself."""

    index: bytes
    """The page; its links lead to `assets` by a path relative to `/v1/sessions/<grant>/page`."""
    assets: Mapping[str, bytes]
    version: str
    """Changes with every change of any file."""


@cache
def page_files() -> PageFiles:
    """The files, as they are installed with the package."""
    found = {
        each.name: each.read_bytes()
        for each in files(__package__).joinpath("session_page").iterdir()
        if _suffix(each.name) in _MEDIA_TYPES
    }
    digest = sha256()
    for name, raw in sorted(found.items()):
        digest.update(b"%s %d\n" % (name.encode(), len(raw)) + raw)
    version = digest.hexdigest()[:_HASH_CHARACTERS]
    index = found.pop(_INDEX).replace(_PLACEHOLDER, f"../../session-page/{version}".encode())
    return PageFiles(index, found, version)


class SessionPage:
    """The page for people, and its files."""

    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page. Whether the grant is valid is said by the session's own routes."""
        headers = [*_CLOSED_TO_FRAMES, ("content-security-policy", content_security_policy(scope))]
        await _send(scope, send, _INDEX, page_files().index, headers)

    async def asset(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A file of the page. One of another version is not found: modules of two versions do not fit together."""
        place, found = scope["path_params"], page_files()
        raw = found.assets.get(place["asset"])
        if raw is None or place["version"] != found.version:
            raise HTTPException(404)
        await _send(scope, send, place["asset"], raw, [("cache-control", _FOREVER)])


def content_security_policy(scope: Scope) -> str:
    """The policy of the page: its own files, and connections to its own host.

    The host is named because not every browser counts WebSockets as `'self'` (CSP level 3, section 6.7.2.8).
    """
    host = parse_authority(headers_of(scope).get("host", ""))
    sockets = ""
    if host is not None and ":" not in host.host:  # a source cannot be an IPv6 address
        place = host.host if host.port is None else f"{host.host}:{host.port}"
        sockets = f" ws://{place} wss://{place}"
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            f"connect-src 'self'{sockets}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


async def _send(scope: Scope, send: Send, name: str, raw: bytes, headers: Headers) -> None:
    media_type = _MEDIA_TYPES[_suffix(name)]
    fields = [("content-type", media_type), ("content-length", str(len(raw))), *_PROTECTED, *headers]
    await send_bytes(send, 200, fields, b"" if scope["method"] == "HEAD" else raw)


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
