"""The form in which our client sends a request: its id and progress token are the name of the exchange.

So two processes that make the same call send the same request, a cancellation names the exchange, and each process
reads the stored messages under ids of its own. Pure.
"""

from __future__ import annotations

from typing import Any

from broker_plane.errors import WireError
from broker_plane.proxy.messages import Message, is_answer, meta_of, params_of, parse
from broker_plane.proxy.shared_upstream import SUBSCRIPTION
from broker_plane.wire.exact_json import dumps

_TOKEN = "progressToken"  # noqa: S105  # MCP's name of it
_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")


def canonical(message: Message, exchange: str) -> Message:
    """A request as it is sent."""
    meta = meta_of(message)
    changed = {**message, "id": exchange}
    if meta.get(_TOKEN) is not None:
        changed["params"] = {**params_of(message), "_meta": {**meta, _TOKEN: exchange}}
    return changed


def token_of(message: Message) -> Any:
    """The progress token of a request; None without one."""
    return meta_of(message).get(_TOKEN)


def parsed(body: bytes) -> Message:
    """A message from a server.

    Raises:
        WireError: it is not a JSON-RPC message.
    """
    message = parse(body)
    if message is None or not ("method" in message or is_answer(message)):
        raise WireError("The body is one JSON-RPC message")
    return message


def line_of(body: bytes) -> bytes:
    """A message on one line. Texts in JSON contain no literal line breaks."""
    return (body if b"\n" not in body and b"\r" not in body else body.translate(_LINE_BREAKS)) + b"\n"


def original(message: Message, key: Any, token: Any) -> bytes:
    """The line of a message about a request, under the id and the progress token that the caller has given it."""
    params, meta = params_of(message), meta_of(message)
    if is_answer(message):
        message = {**message, "id": key}
    elif _TOKEN in params:
        message = {**message, "params": {**params, _TOKEN: token}}
    elif SUBSCRIPTION in meta:
        message = {**message, "params": {**params, "_meta": {**meta, SUBSCRIPTION: key}}}
    return dumps(message) + b"\n"
