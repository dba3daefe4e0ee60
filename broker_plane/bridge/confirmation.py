"""A reader's own word on how its delivery ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from broker_plane.errors import WireError

Problem = Literal["", "checksum", "short", "failure"]
"""What a reader found wrong; nothing where all is well."""

_STATUSES = {"success": True, "failure": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """`lease` names the delivery (header `BP-Lease` of its answer); empty: the one that the connection had."""

    success: bool
    lease: str = ""
    bytes_received: int | None = None
    records_received: int | None = None
    checksum: str = ""

    def problem(self, sent: int = 0, digest: str = "") -> Problem:
        """What it says was wrong with `sent` bytes; `digest` (SHA-256 in hex) is of stored bytes, else empty."""
        if self.checksum and digest and self.checksum != digest:
            return "checksum"
        if self.bytes_received is not None and self.bytes_received < sent:
            return "short"
        return "" if self.success else "failure"


def parse_confirmation(fields: Mapping[str, Any] | None) -> Confirmation:
    """The confirmation of a JSON object; none is a success.

    Raises:
        WireError: a member has another type, or another value, than it may have.
    """
    fields = fields or {}
    status = fields.get("status", "success")
    if not isinstance(status, str) or status not in _STATUSES:
        raise WireError('status is "success" or "failure"')
    return Confirmation(
        success=_STATUSES[status],
        lease=_text(fields, "lease"),
        bytes_received=_count(fields, "bytes_received"),
        records_received=_count(fields, "records_received"),
        checksum=_text(fields, "checksum").lower().removeprefix("sha256:"),
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 200:
        raise WireError(f"{name} is a short text")
    return value


def _count(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    # type(), because True is an int to isinstance.
    if value is not None and (type(value) is not int or value < 0):
        raise WireError(f"{name} is a whole number")
    return value
