"""Compatibility with clients of asyncmcp 0.2.1 (`asyncmcp.webhook`): off by default, and for loopback only.

Such a client POSTs to `/mcp/request` with `X-Client-ID`, names its callback as `_meta.webhookUrl` of `initialize`, and
learns its session from `X-Session-ID` of the answer, which comes to the callback. It echoes no challenge and checks no
signature, so its callback is not proven: it must lead to this machine. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_plane.errors import WireError
from broker_plane.proxy.messages import Message, mapping, meta_of, params_of

PATH = "/mcp/request"
CLIENT_HEADER, SESSION_HEADER = "x-client-id", "x-session-id"
_URL = "webhookUrl"
_MAX_NAME = 200


def session_of(headers: Mapping[str, str]) -> str:
    """The session that a request names; empty if it names none.

    Raises:
        WireError: it does not name its client, as asyncmcp does.
    """
    client = headers.get(CLIENT_HEADER, "")
    if not 0 < len(client) <= _MAX_NAME:
        raise WireError("A client of asyncmcp sends X-Client-ID")
    return headers.get(SESSION_HEADER, "")


def callback_of(message: Message) -> str:
    """The callback that `initialize` names.

    Raises:
        WireError: it names none.
    """
    url = meta_of(message).get(_URL)
    if not isinstance(url, str) or not url:
        raise WireError("initialize of asyncmcp names its callback in params._meta.webhookUrl")
    return url


def without_callback(message: Message) -> Message:
    """The message for the server."""
    params = dict(params_of(message))
    meta = {name: value for name, value in mapping(params.pop("_meta", None)).items() if name != _URL}
    return {**message, "params": params | ({"_meta": meta} if meta else {})}


def accepted(session: str, *, opened: bool) -> dict[str, Any]:
    """The body of the answer to a message that was accepted."""
    return {"status": "session_created", "session_id": session} if opened else {"status": "received"}
