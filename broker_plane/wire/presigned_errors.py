"""Errors as fields of an answer, over NATS and in the messages of sockets: `{code, message, retry_after?}`. Pure."""

from __future__ import annotations

from typing import Any

import msgpack

from broker_plane import errors
from broker_plane.errors import BrokerPlaneError, WireError


def pack_error(error: BrokerPlaneError) -> bytes:
    fields: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.retry_after is not None:
        fields |= {"retry_after": error.retry_after}
    packed: bytes = msgpack.packb({"error": fields})
    return packed


def error_of_fields(fields: Any) -> BrokerPlaneError:
    """The error with the code that was sent; a code of a later version gives the base class."""
    if not isinstance(fields, dict):
        return WireError("The answer is not an error of broker-plane")
    kind = errors.error_class(str(fields.get("code")))
    if kind is errors.GrantRefusedError:
        return errors.GrantRefusedError("as the other side says")
    error = kind.received(str(fields.get("message", "refused")), retry_after=fields.get("retry_after"))
    if isinstance(error, errors.StaleBaseError):
        revision, diff = fields.get("revision"), fields.get("diff")
        error.revision, error.diff = revision if type(revision) is int else 0, str(diff or "")
    return error
