"""The credential of a descriptor, as it is sent with a request. Pure.

`hmac`: the header (default `X-Signature`) is `sha256=` and the hex of HMAC-SHA256 with `value` over
`<method>\\n<path?query>\\n<X-Timestamp>`; the timestamp is in unix seconds.
"""

from __future__ import annotations

import hmac
from urllib.parse import quote, urlsplit

from broker_plane.client.guard import RequestTarget
from broker_plane.errors import UntrustedHostError
from broker_plane.wire.descriptor import Auth


def signed_url(url: str, auth: Auth | None) -> str:
    """`url` with the parameter of an auth `query` appended; the existing query is kept byte for byte."""
    if auth is None or auth.type != "query":
        return url
    parts = urlsplit(url)
    added = f"{quote(auth.query_param or 'token', safe='')}={quote(auth.value or '', safe='')}"
    return parts._replace(query=f"{parts.query}&{added}" if parts.query else added).geturl()


def check_auth(auth: Auth | None, target: RequestTarget) -> None:
    """Check that a credential is never sent over a network in plain text.

    Raises:
        UntrustedHostError: it would be; nothing was sent.
    """
    if auth is None or auth.type in ("none", "hmac") or target.encrypted or target.loopback:
        return
    raise UntrustedHostError(
        f"The descriptor has a credential, and {target.scheme.name} to {target.host!r} would send it in plain text; "
        "request an encrypted endpoint"
    )


def auth_headers(auth: Auth | None, method: str, url: str, now: float) -> dict[str, str]:
    """The headers that `auth` adds to a request for `url`."""
    value = (auth.value if auth else None) or ""
    match auth.type if auth else "none":
        case "bearer":
            return {"authorization": f"Bearer {value}"}
        case "header":
            return {(auth and auth.header_name) or "authorization": value}
        case "hmac":
            parts = urlsplit(url)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            at = str(int(now))
            signature = hmac.digest(value.encode(), f"{method}\n{path}\n{at}".encode(), "sha256").hex()
            return {"x-timestamp": at, (auth and auth.header_name) or "x-signature": f"sha256={signature}"}
    return {}
