"""The SHA-256 of JSON values in their canonical form (RFC 8785). Pure."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785

from broker_plane.errors import WireError


def canonical_digest(value: Any) -> str:
    """The SHA-256 in hex; equal values have the same one, whatever the order of their members.

    Raises:
        WireError: a number in it has no canonical form.
    """
    try:
        return hashlib.sha256(rfc8785.dumps(value)).hexdigest()
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise WireError("The descriptor has a number beyond 2^53, or is nested too deeply; write it as text") from error
