"""Keeps a secret out of what code reads: each occurrence is overwritten with asterisks of the same length. Pure.

An endpoint that repeats requests, as many test services do, would otherwise hand the credential to the code. It is a
second line of defence: an endpoint that wants to pass the credential on can encode it in any way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from urllib.parse import quote, quote_plus

MIN_SECRET_BYTES = 8
"""A shorter secret may be an ordinary part of the data, which must not be changed."""


def spellings(secret: str) -> list[bytes]:
    """A secret as requests and responses write it: as it is, without an authentication scheme, percent-encoded, and in
    JSON with and without escaped slashes.
    """
    texts: list[str] = []
    for text in (secret, secret.rpartition(" ")[2]):
        escaped = json.dumps(text)[1:-1]
        texts += [text, escaped, escaped.replace("/", "\\/")]
        for encoded in (quote(text, safe=""), quote_plus(text)):
            texts += [encoded, re.sub("%..", lambda found: found[0].lower(), encoded)]
    found = {text.encode() for text in texts}
    return sorted((each for each in found if len(each) >= MIN_SECRET_BYTES), key=lambda each: (-len(each), each))


class SecretFilter:
    """Overwrites `secrets` (bytes, longest first) in a stream; the result does not depend on how it is cut in pieces.

    Bytes that may be the beginning of a secret are held back until the next piece, or the end.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = secrets
        self._pattern = re.compile(b"|".join(map(re.escape, secrets))) if secrets else None
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """The bytes of `piece`, and of those held back before, that are known to be no part of a secret."""
        if self._pattern is None:
            return piece
        data = self._held + piece
        keep = self._keep_from(data)
        self._held = data[keep:]
        return self._overwritten(data[:keep])

    def end(self) -> bytes:
        """The bytes that were held back."""
        rest, self._held = self._held, b""
        return self._overwritten(rest)

    def whole(self, data: bytes) -> bytes:
        """`data` without the secrets; independent of the stream."""
        return self._overwritten(data)

    def text(self, text: str) -> str:
        """`text` without the secrets; independent of the stream."""
        return self._overwritten(text.encode()).decode()

    def _overwritten(self, data: bytes) -> bytes:
        return self._pattern.sub(lambda found: b"*" * len(found[0]), data) if self._pattern is not None else data

    def _keep_from(self, data: bytes) -> int:
        """Where the end of `data` begins that may become a secret. No secret that is complete lies across it."""
        assert self._pattern is not None  # noqa: S101  # `feed` has returned
        start = 0
        while True:
            keep = min(start + self._partial(data[start:], secret) for secret in self._secrets)
            across = next((m for m in self._pattern.finditer(data, start) if m.end() > keep), None)
            if across is None or across.start() >= keep:
                return keep
            start = across.end()

    @staticmethod
    def _partial(data: bytes, secret: bytes) -> int:
        """Where the longest end of `data` begins that is the beginning of `secret`, and not all of it."""
        at = data.find(secret[:1], max(0, len(data) - len(secret) + 1))
        while at >= 0:
            if secret.startswith(data[at:]):
                return at
            at = data.find(secret[:1], at + 1)
        return len(data)
