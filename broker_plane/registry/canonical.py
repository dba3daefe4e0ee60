"""The canonical form of a JSON value (RFC 8785), which digests and signatures are of. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import rfc8785

from broker_plane.errors import RegistryError


def canonical(value: Any) -> bytes:
    """The canonical form of a JSON value.

    Raises:
        RegistryError: RFC 8785 has no form for it: a number beyond 2**53 or not finite, or half of a surrogate pair.
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as error:
        raise RegistryError(f"The JSON has no canonical form: {error}") from None


def digest_of(value: Any) -> str:
    """The SHA-256 of the canonical form, in hex."""
    return sha256(canonical(value)).hexdigest()
