"""Secrets and signatures of Standard Webhooks (standardwebhooks.com). Pure.

webhook-id: evt_…                     the same for every attempt of one message, so that its receiver drops repeats
webhook-timestamp: 1700000000         time of this attempt
webhook-signature: v1,<base64> …      HMAC-SHA256 of `id.timestamp.body`, one for each valid secret
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from broker_plane.errors import WebhookSignatureError, WireError

PREFIX = "whsec_"
SECRET_BYTES = 32
TOLERANCE_SECONDS = 300
"""A receiver refuses messages whose time is further than this from its own clock."""

_MIN_BYTES, _MAX_BYTES = 24, 64
_MAX_SIGNATURES = 8
_STAMP = re.compile(r"[0-9]{1,12}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """`text` is `whsec_` and base64; `until` is its expiry in unix seconds, 0 if it does not expire."""

    text: str
    until: float = 0.0

    def __repr__(self) -> str:
        return "Secret(…)"


def valid_secrets(secrets: Iterable[WebhookSecret], now: float) -> list[str]:
    """Return the texts of those secrets that have not expired."""
    return [secret.text for secret in secrets if not secret.until or now < secret.until]


def rotated_secrets(secrets: tuple[WebhookSecret, ...], text: str, until: float) -> tuple[WebhookSecret, ...]:
    """Return the new secret, and the one before it, which stays valid until `until`; older ones are dropped."""
    return (WebhookSecret(text), WebhookSecret(secrets[0].text, until))


def secret_of(raw: bytes) -> str:
    """Return the text of a secret.

    Raises:
        WireError: it has not 24 to 64 bytes.
    """
    if not _MIN_BYTES <= len(raw) <= _MAX_BYTES:
        raise WireError(f"A webhook's secret has {_MIN_BYTES} to {_MAX_BYTES} bytes, not {len(raw)}")
    return PREFIX + b64encode(raw).decode()


def key_of_secret(text: str) -> bytes:
    """Return the bytes of a secret's text.

    Raises:
        WireError: malformed.
    """
    try:
        raw = b64decode(text.removeprefix(PREFIX), validate=True)
    except ValueError as error:
        raise WireError("A webhook's secret is whsec_ followed by base64") from error
    secret_of(raw)
    return raw


def signed_headers(message_id: str, timestamp: int, body: bytes, secrets: list[str]) -> dict[str, str]:
    """Return the three headers; while secrets are rotated there is a signature for each valid one."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = [b64encode(hmac.digest(key_of_secret(text), content, "sha256")).decode() for text in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def check_signed(headers: Mapping[str, str], body: bytes, secrets: Iterable[str], now: float) -> str:
    """The id of a message that was signed with one of `secrets`. `headers` have lower-case names.

    Raises:
        WebhookSignatureError: the headers or the signature are wrong, or `now` is too far from the time of the attempt.
    """
    message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not _STAMP.match(stamp):
        raise WebhookSignatureError("A webhook has the headers webhook-id, webhook-timestamp and webhook-signature")
    if not abs(now - int(stamp)) <= TOLERANCE_SECONDS:
        raise WebhookSignatureError(f"The webhook's time is more than {TOLERANCE_SECONDS} s from this clock")
    given = headers.get("webhook-signature", "").split(" ")[:_MAX_SIGNATURES]
    for secret in secrets:
        expected = signed_headers(message_id, int(stamp), body, [secret])["webhook-signature"].encode()
        if any(hmac.compare_digest(expected, each.encode()) for each in given):
            return message_id
    raise WebhookSignatureError("The webhook's signature is wrong")
