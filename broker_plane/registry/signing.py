"""Ed25519 signatures (RFC 8032) of statements: JSON objects in their canonical form. Pure.

Each kind of statement says what it is in the member `statement`, so the signature of one is never valid for another.
The cryptography package is imported when a key is first used: it costs 30 ms.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

from broker_plane.errors import RegistryError, SignatureError
from broker_plane.registry.canonical import canonical

SEED_BYTES: Final = 32
_SIGNATURE_BYTES = 64


class SigningKey:
    """The private key of an owner, made of a seed of SEED_BYTES random bytes."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise RegistryError(f"A signing key has {SEED_BYTES} bytes")
        self._seed = seed

    def __repr__(self) -> str:
        return f"SigningKey({self.public})"

    @cached_property
    def public(self) -> str:
        """The public key: 32 bytes in base64url without padding (43 characters)."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return _encode(Ed25519PrivateKey.from_private_bytes(self._seed).public_key().public_bytes_raw())

    def sign(self, statement: Mapping[str, Any]) -> str:
        """The signature: 64 bytes in base64url without padding (86 characters)."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return _encode(Ed25519PrivateKey.from_private_bytes(self._seed).sign(canonical(statement)))


def verify(statement: Mapping[str, Any], signature: str, public: str) -> None:
    """Find out whether `signature` is the one of `statement` by the key `public`.

    Raises:
        SignatureError: it is not.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw, key = _decode(signature, _SIGNATURE_BYTES), _decode(public, SEED_BYTES)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(raw, canonical(statement))
    except (InvalidSignature, ValueError):
        raise SignatureError(f"The signature of {_about(statement)} is not by the key {fingerprint(public)}") from None


def fingerprint(public: str) -> str:
    """A short name of a public key for people: 16 characters of hex of its SHA-256."""
    return sha256(public.encode()).hexdigest()[:16]


def _about(statement: Mapping[str, Any]) -> str:
    name = statement.get("id") or statement.get("owner") or "the entry"
    return f"{name}@{statement['version']}" if "version" in statement else str(name)


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str, size: int) -> bytes:
    """The bytes of base64url; a second spelling of the same bytes is refused."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        raw = b""
    if len(raw) != size or _encode(raw) != text:
        raise SignatureError("A key or a signature is not base64url of the right length")
    return raw
