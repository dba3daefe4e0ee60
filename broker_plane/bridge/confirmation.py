"""Confirmations over HTTP: a reader reports how its delivery ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from broker_plane.errors import WireError

Problem = Literal["", "checksum", "short", "failure"]
"""What a reader found wrong; empty for a success."""

_STATUSES = {"success": True, "failure": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """`lease` identifies the delivery (header `BP-Lease` of its answer); empty means that of the connection."""

    success: bool
    lease: str = ""
    bytes_received: int | None = None
    records_received: int | None = None
    checksum: str = ""

    def problem(self, sent: int = 0, digest: str = "") -> Problem:
        """The problem with `sent` bytes; `digest` (SHA-256 in hex) is that of the stored bytes, or empty."""
        if self.checksum and digest and self.checksum != digest:
            return "checksum"
        if self.bytes_received is not None and self.bytes_received < sent:
            return "short"
        return "" if self.success else "failure"


def parse_confirmation(fields: Mapping[str, Any] | None) -> Confirmation:
    """The confirmation in a JSON object; an empty body is a success.

    Raises:
        WireError: a member has a wrong type or value.
    """
    fields = fields or {}
    status = fields.get("status", "success")
    if not isinstance(status, str) or status not in _STATUSES:
        raise WireError('status must be "success" or "failure"')
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
        raise WireError(f"{name} must be a string of at most 200 characters")
    return value


def _count(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    # type(), because True is an int to isinstance.
    if value is not None and (type(value) is not int or value < 0):
        raise WireError(f"{name} must be a whole number")
    return value
