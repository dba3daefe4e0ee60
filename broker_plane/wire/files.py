"""The shapes of SEP-2631 (File Objects and Transfer) for the same bodies: a descriptor over https or http, renamed."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any
from urllib.parse import quote

from broker_plane.errors import WireError
from broker_plane.wire.descriptor import Descriptor


def file_value(descriptor: Descriptor, uri: str, name: str = "") -> dict[str, Any]:
    """FileValue: `uri` names one immutable sequence of bytes, which is not an MCP resource.

    Size and digest are set if the descriptor has them: a view that is generated while it is sent has neither.
    """
    fields: dict[str, Any] = {"uri": uri, "name": name or None, "mimeType": descriptor.format}
    fields |= {"size": descriptor.size_hint}
    if descriptor.digest:
        value = urlsafe_b64encode(bytes.fromhex(descriptor.digest)).rstrip(b"=").decode()
        fields["digest"] = {"algorithm": "sha-256", "value": value}
    return {key: value for key, value in fields.items() if value is not None}


def file_transfer(descriptor: Descriptor, name: str = "") -> dict[str, Any]:
    """FileTransferDescriptor, whose only transport is `https`; `name` is the name of a file to be uploaded.

    Raises:
        WireError: the descriptor's protocol has no form in SEP-2631.
    """
    if descriptor.protocol not in ("https", "http", "s3-presigned"):
        raise WireError(f"{descriptor.protocol} has no form in SEP-2631; its transport is https")
    fields = {
        "transport": "https",
        "method": descriptor.method or "GET",
        "url": descriptor.endpoint,
        "headers": {**(_headers(descriptor) or {}), **_said(descriptor, name)} or None,
        "expiresAt": descriptor.to_wire().get("expires"),
    }
    return {key: value for key, value in fields.items() if value is not None}


def sha256_of(digest: Any) -> str:
    """The SHA-256 in hex of a FileValue's digest; empty without one.

    Raises:
        WireError: it uses another algorithm, or is malformed.
    """
    if digest is None:
        return ""
    if isinstance(digest, dict) and digest.get("algorithm") == "sha-256" and isinstance(digest.get("value"), str):
        text = digest["value"]
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            raw = b""
        if len(raw) == 32:
            return raw.hex()
    raise WireError('digest is {"algorithm": "sha-256", "value": 43 characters of base64url}')


def _said(descriptor: Descriptor, name: str) -> dict[str, str]:
    """The headers of a PUT for its file: the type, and the name in any script (RFC 6266, RFC 8187)."""
    if descriptor.mode != "push":
        return {}
    disposition = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"} if name else {}
    return {"Content-Type": descriptor.format, **disposition}


def _headers(descriptor: Descriptor) -> dict[str, str] | None:
    auth = descriptor.auth
    if auth is None or auth.type == "none":
        return None
    if auth.type == "bearer":
        return {"Authorization": f"Bearer {auth.value}"}
    if auth.type == "header":
        return {auth.header_name or "Authorization": auth.value or ""}
    raise WireError(f"auth of type {auth.type} has no form in SEP-2631")
