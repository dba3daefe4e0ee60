"""What generated code asks for, checked before anything is looked up or sent. Pure.

Code passes values of any type and any content, so each check says what it accepts; everything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from broker_plane.sandbox.ports import DoorRefusedError
from broker_plane.wire.descriptor import CONNECTION_HEADERS
from broker_plane.wire.host_names import one_spelling
from broker_plane.wire.protocols import HTTP_SCHEMES

MAX_BODY_BYTES = 16 << 20
"""Maximum number of bytes of one request's body, and of one `send`."""

_PORTS = {scheme.name: scheme.port for scheme in HTTP_SCHEMES}
_MAX_URL = 8 << 10
_MAX_HOST = 255
_MAX_HEADERS = 64
_MAX_HEADER_BYTES = 32 << 10

# A backslash is a slash to some readers of URLs, and others drop tabs and line breaks.
_URL = re.compile(r"https?://[\x21\x23-\x5b\x5d-\x7e]+", re.IGNORECASE)
_HOST = re.compile(r"[0-9a-f:.]*:[0-9a-f:.]*|[a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_.])?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_NO_METHODS = ("CONNECT", "TRACE")

_NOT_SENT = CONNECTION_HEADERS | {"proxy-authenticate", "proxy-authorization"}
"""Headers that the host writes itself, or that are for a proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRequest:
    """An HTTP request of generated code. `host` is in one spelling, `rest` is path and query, header names are in lower
    case.
    """

    method: str
    scheme: str
    host: str
    port: int
    rest: str
    headers: Mapping[str, str]
    body: bytes


def code_request(method: object, url: object, headers: object, body: object) -> CodeRequest:
    """The request that code asks for, without headers of the connection.

    Raises:
        DoorRefusedError: it is malformed, exceeds a limit, or has a user in its URL.
    """
    if not isinstance(method, str) or not _TOKEN.fullmatch(method) or method.upper() in _NO_METHODS:
        raise DoorRefusedError("This is not a method that code may use; use GET, POST or another method of HTTP")
    if not isinstance(body, bytes) or len(body) > MAX_BODY_BYTES:
        raise DoorRefusedError(f"The body of a request is bytes, at most {MAX_BODY_BYTES} of them")
    if not isinstance(url, str) or len(url) > _MAX_URL or not _URL.fullmatch(url):
        raise DoorRefusedError(
            f"fetch and open_url need an http or https URL of at most {_MAX_URL} printable ASCII characters, without "
            "spaces; percent-encode everything else. Use connect for other protocols"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise DoorRefusedError("This URL is malformed") from None
    if parts.username is not None or parts.password is not None:
        raise DoorRefusedError("A URL must not have a user or a password")
    return CodeRequest(
        method=method.upper(),
        scheme=parts.scheme,
        host=code_host(host),
        port=port,
        rest=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        headers=_headers(headers),
        body=body,
    )


def code_host(host: object) -> str:
    """A host that code named, in one spelling.

    Raises:
        DoorRefusedError: it is not a name or an address.
    """
    spelled = one_spelling(host) if isinstance(host, str) and len(host) <= _MAX_HOST else ""
    if not _HOST.fullmatch(spelled):
        raise DoorRefusedError("This is not the name or the address of a host")
    return spelled


def code_port(port: object) -> int:
    """A port that code named.

    Raises:
        DoorRefusedError: it is not one.
    """
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 1 << 16:
        raise DoorRefusedError("A port is a number from 1 to 65535")
    return port


def _headers(headers: object) -> dict[str, str]:
    if not isinstance(headers, Mapping) or len(headers) > _MAX_HEADERS:
        raise DoorRefusedError(f"Headers are a dict of at most {_MAX_HEADERS} names and values")
    size = 0
    kept: dict[str, str] = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise DoorRefusedError("The name of a header has a character that HTTP does not allow there")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise DoorRefusedError(f"The value of the header {name[:40]!r} must be text of one line, in Latin-1")
        size += len(name) + len(value)
        kept[name.lower()] = value
    if size > _MAX_HEADER_BYTES:
        raise DoorRefusedError(f"The headers of a request may have {_MAX_HEADER_BYTES} bytes")
    return {name: value for name, value in kept.items() if name not in _NOT_SENT}
