"""What a client POSTs to a front: one JSON-RPC message, and beside it the callback of its session. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from broker_plane.errors import WireError
from broker_plane.exchange.keys import MAX_KEY, idempotency_key
from broker_plane.proxy.messages import Message, is_key, wrong_with
from broker_plane.transports.webhook.callbacks import SESSION_HEADER
from broker_plane.transports.webhook.message_ids import parse_new_exchange
from broker_plane.wire.exact_json import MALFORMED, dumps, loads

CALLBACK, SECRET = "callbackUri", "callbackSecret"
"""Members that are no part of JSON-RPC (PR 182; the secret is ours). They are removed before a message is stored."""

IDEMPOTENCY_HEADER = "idempotency-key"
EXCHANGE_HEADER = "x-mcp-exchange-id"
"""Names the exchange of a request without a key, so that a POST can be repeated."""
SECONDS_HEADER = "bp-deadline-seconds"
DISCONNECT = "notifications/disconnect"

_SECONDS = re.compile(r"[0-9]{1,8}(\.[0-9]{1,3})?\Z", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """A message as it is passed on. Empty texts are what the client has left out."""

    message: Message
    session: str = ""
    callback: str = ""
    secret: str = ""
    idempotency_key: str = ""
    exchange: str = ""
    seconds: float = 0.0
    """How long the client waits for the answer; 0 leaves that to the front."""

    @property
    def line(self) -> bytes:
        return dumps(self.message)

    @property
    def is_registration(self) -> bool:
        """Whether there is no message: the client only names its callback."""
        return not self.message

    @property
    def is_request(self) -> bool:
        return "method" in self.message and "id" in self.message

    @property
    def is_disconnect(self) -> bool:
        """Whether the client ends the session (PR 182)."""
        return self.message.get("method") == DISCONNECT and "id" not in self.message


def parse_posted(raw: bytes, headers: Mapping[str, str], session: str) -> Posted:
    """The message in the body of a request with these headers (lower-case names), in the session that its URL names.

    Raises:
        WireError: it is not one well-formed message.
    """
    try:
        message = loads(raw)
    except MALFORMED as error:
        raise WireError("The body is not JSON, or is nested too deeply", reason=str(error)) from error
    if not isinstance(message, dict):
        raise WireError("The body is one JSON-RPC message, not a batch")
    callback, secret = message.pop(CALLBACK, ""), message.pop(SECRET, "")
    if not isinstance(callback, str) or not isinstance(secret, str):
        raise WireError(f"{CALLBACK} and {SECRET} are texts")
    if (message or not callback) and (wrong := wrong_with(message)):
        raise WireError(f"The body is not a JSON-RPC message: {wrong}")
    if "id" in message and not is_key(message["id"]):
        raise WireError("The id of a message is a text or a number")
    return Posted(
        message=message,
        session=_session(session, headers.get(SESSION_HEADER, "")),
        callback=callback,
        secret=secret,
        idempotency_key=_idempotency_key(message, headers),
        exchange=parse_new_exchange(headers[EXCHANGE_HEADER]) if EXCHANGE_HEADER in headers else "",
        seconds=_seconds(headers.get(SECONDS_HEADER, "")),
    )


def _session(named: str, header: str) -> str:
    if named and header and named != header:
        raise WireError(f"The URL and {SESSION_HEADER} name different sessions")
    return named or header


def _idempotency_key(message: Message, headers: Mapping[str, str]) -> str:
    """The key in the header, or in `_meta`; without one, two equal requests are two."""
    given = headers.get(IDEMPOTENCY_HEADER, "")
    if len(given) > MAX_KEY:
        raise WireError(f"{IDEMPOTENCY_HEADER} has at most {MAX_KEY} characters")
    return given or idempotency_key(message) or ""


def _seconds(text: str) -> float:
    if text and not _SECONDS.match(text):
        raise WireError(f"{SECONDS_HEADER} is a number of seconds")
    return float(text or 0)
