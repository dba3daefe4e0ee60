"""Seals on words: only holders of the key that sealed a grant can vouch for something about the grant."""

from __future__ import annotations

import hmac

import msgpack

from broker_plane.wire.grant import Key
from broker_plane.wire.names import encode_id

_PURPOSE = b"broker-plane words\x00"
"""A prefix that no grant has: one key seals both, and a seal of one is never valid for the other."""

_TAG_BYTES = 16


def seal_words(words: tuple[str, ...], key: Key) -> str:
    """The seal, 22 characters: HMAC-SHA256/128 over the words and their boundaries."""
    message: bytes = _PURPOSE + msgpack.packb(words)
    return encode_id(hmac.digest(key.secret, message, "sha256")[:_TAG_BYTES])


def is_sealed(seal: str, words: tuple[str, ...], key: Key) -> bool:
    """Whether `key` made `seal` on `words`."""
    return hmac.compare_digest(seal_words(words, key).encode(), seal.encode())
