"""NATS nkeys: ed25519 keys as text. A seed signs, and a public key identifies the signer. Pure.

Layout: base32 of `prefix | key | CRC-16/XMODEM, little-endian`; the prefix is the kind (nats-io/nkeys, strkey.go).
The cryptography package is imported when a key is first used: it costs 30 ms, and few processes sign.
"""

from __future__ import annotations

from base64 import b32decode, b32encode
from binascii import crc_hqx

from broker_plane.errors import ConfigError

_SEED = 18 << 3
_ACCOUNT = 0
_USER = 20 << 3
_SEED_TEXT_LENGTH = 58


def account_seed(raw: bytes) -> str:
    """The seed (`SA…`) of an account key, from 32 random bytes."""
    return _seed(_ACCOUNT, raw)


def account_of(seed: str) -> str:
    """The public key (`A…`) of an account seed."""
    return _public(_ACCOUNT, check_seed(seed))


def user_of(seed: str) -> str:
    """The public key (`U…`) of a user seed."""
    return _public(_USER, check_user_seed(seed))


def sign(seed: str, message: bytes) -> bytes:
    """The ed25519 signature of `message`: 64 bytes. `seed` was checked."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(_raw(seed)).sign(message)


def check_seed(seed: str) -> str:
    """`seed`, if it is the seed of an account.

    Raises:
        ConfigError: it is not.
    """
    if not seed.startswith("SA") or not _raw(seed):
        raise ConfigError("The callout's seed is not an account nkey (SA…); use the one that `broker-plane env` wrote")
    return seed


def check_user_seed(seed: str) -> str:
    """`seed`, if it is the seed of a user.

    Raises:
        ConfigError: it is not.
    """
    if not seed.startswith("SU") or not _raw(seed):
        raise ConfigError("This is not the seed of a user nkey (SU…, 58 letters and digits)")
    return seed


def _seed(kind: int, raw: bytes) -> str:
    # The kind begins in the last three bits of the first byte and ends in the second.
    return _text(bytes([_SEED | kind >> 5, (kind & 31) << 3]) + raw)


def _public(kind: int, seed: str) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return _text(bytes([kind]) + Ed25519PrivateKey.from_private_bytes(_raw(seed)).public_key().public_bytes_raw())


def _raw(seed: str) -> bytes:
    """The 32 bytes of the private key; empty if the text is not a seed."""
    try:
        decoded = b32decode(seed + "=" * (-len(seed) % 8))
    except ValueError:
        return b""
    head, checksum = decoded[:-2], decoded[-2:]
    return head[2:] if len(seed) == _SEED_TEXT_LENGTH and _checksum(head) == checksum else b""


def _text(raw: bytes) -> str:
    return b32encode(raw + _checksum(raw)).rstrip(b"=").decode()


def _checksum(raw: bytes) -> bytes:
    return crc_hqx(raw, 0).to_bytes(2, "little")
