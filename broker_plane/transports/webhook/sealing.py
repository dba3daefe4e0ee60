"""Credentials of others, encrypted while they are stored: AES-GCM under a key that is derived from the owner's."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable

from broker_plane.errors import KeysLostError
from broker_plane.plane.ports import Keys

_PURPOSE = b"broker-plane webhook credentials"
_ID_BYTES, _NONCE_BYTES = 3, 12


class CredentialSealer:
    """Encrypts under the key that seals grants, and decrypts under each that opens them.

    The cryptography package is imported at the first use: it costs 30 ms, and few calls have webhooks.
    """

    def __init__(self, keys: Keys, random_bytes: Callable[[int], bytes]) -> None:
        self._keys = keys
        self._random = random_bytes

    async def seal(self, text: str, context: str) -> str:
        """`text`, which only `open` with the same `context` returns."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = await self._keys.sealing()
        nonce = self._random(_NONCE_BYTES)
        sealed = AESGCM(_derived(key.secret)).encrypt(nonce, text.encode(), context.encode())
        return urlsafe_b64encode(key.id + nonce + sealed).decode()

    async def open(self, sealed: str, context: str) -> str:
        """The text.

        Raises:
            KeysLostError: its key was rotated out, or it is not ours.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        raw = urlsafe_b64decode(sealed)
        nonce, content = raw[_ID_BYTES : _ID_BYTES + _NONCE_BYTES], raw[_ID_BYTES + _NONCE_BYTES :]
        for _, key in await self._keys.opening(raw[:_ID_BYTES]):
            try:
                return AESGCM(_derived(key.secret)).decrypt(nonce, content, context.encode()).decode()
            except InvalidTag:
                continue
        raise KeysLostError("The key of stored credentials was rotated out; the call has to be made again")


def _derived(secret: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE, "sha256")
