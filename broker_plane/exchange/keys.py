"""The ids of sessions and exchanges: random, or made from an idempotency key. Pure."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from broker_plane.errors import WireError
from broker_plane.exchange.lines import IDEMPOTENCY_KEY
from broker_plane.exchange.messages import ExchangeKey
from broker_plane.wire.exact_json import is_unicode

MAX_KEY = 200
"""Characters of an idempotency key."""

ENTROPY_BYTES = 16
_SERVER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_ID = re.compile(r"[A-Za-z0-9_-]{16,128}\Z")
_CARRIER = re.compile(r"[a-z]\Z")


def is_server_name(name: str) -> bool:
    """Whether `name` may be the name of a server: 1 to 64 of A-Z, a-z, 0-9, _ and -."""
    return _SERVER.match(name) is not None


def is_exchange_id(text: str) -> bool:
    """Whether `text` may be the id of a session or an exchange."""
    return _ID.match(text) is not None


def new_session(carrier: str, entropy: bytes) -> str:
    """An id of a session of the carrier with this letter. `entropy` are at least 16 random bytes."""
    if not _CARRIER.match(carrier) or len(entropy) < ENTROPY_BYTES:
        raise ValueError("a carrier is one letter, and its sessions need 16 random bytes")
    return carrier + entropy.hex()


def new_exchange(entropy: bytes) -> str:
    """An id of an exchange. `entropy` are at least 16 random bytes."""
    if len(entropy) < ENTROPY_BYTES:
        raise ValueError("an exchange needs 16 random bytes")
    return entropy.hex()


def keyed_exchange(server: str, carrier: str, scope: bytes, key: str) -> ExchangeKey:
    """The exchange of an idempotency key: the same from every process that knows `scope`, a secret.

    Others, who may know the key, cannot find the exchange and its answer.
    """
    digest = hmac.digest(scope, f"{server}\0{key}".encode(), "sha256").hex()
    return ExchangeKey(server, carrier + digest[:32], digest[32:])


def idempotency_key(request: Mapping[str, Any]) -> str | None:
    """The idempotency key of a request, if it has one.

    Raises:
        WireError: it is not a text of 1 to 200 characters, or half of a surrogate pair is in it.
    """
    params = request.get("params")
    meta = params.get("_meta") if isinstance(params, Mapping) else None
    key = meta.get(IDEMPOTENCY_KEY) if isinstance(meta, Mapping) else None
    if key is None:
        return None
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY or not is_unicode(key):
        raise WireError(f"{IDEMPOTENCY_KEY} must be a text of 1 to {MAX_KEY} characters")
    return key


def request_digest(request: Mapping[str, Any]) -> str:
    """A digest of what a request asks for: of its method and parameters, without `_meta` and the id.

    Raises:
        WireError: it is nested too deeply.
    """
    params = request.get("params")
    asked = (
        {name: value for name, value in params.items() if name != "_meta"} if isinstance(params, Mapping) else params
    )
    try:
        text = json.dumps([request.get("method"), asked], sort_keys=True)
    except RecursionError as error:
        raise WireError("The request is nested too deeply") from error
    return sha256(text.encode()).hexdigest()
