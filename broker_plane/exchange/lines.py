"""What a carrier must know of a JSON-RPC message, without parsing its result. Pure."""

from __future__ import annotations

from math import isfinite
from typing import Any

import msgspec

from broker_plane.wire.exact_json import MALFORMED, dumps, loads

IDEMPOTENCY_KEY = "io.broker-plane/idempotencyKey"
"""In `params._meta` of a request: calls with the same key are carried out once."""

_PROGRESS = "notifications/progress"
_TOKEN = "progressToken"  # noqa: S105  # MCP's name of it


class Outline(msgspec.Struct):
    """A JSON-RPC message whose parameters and result are not parsed."""

    id: Any = None
    method: str | None = None
    params: msgspec.Raw | None = None
    result: msgspec.Raw | None = None
    error: msgspec.Raw | None = None

    @property
    def is_answer(self) -> bool:
        """Whether it answers a request."""
        return self.method is None and (self.result is not None or self.error is not None)

    @property
    def progress(self) -> float | None:
        """How far a progress notification says that its request is; None for other messages."""
        if self.method != _PROGRESS or self.params is None:
            return None
        params = _parsed(bytes(self.params))
        value: Any = params.get("progress")
        return value if type(value) in (int, float) and isfinite(value) else None


_OUTLINES = msgspec.json.Decoder(Outline)


def outline(line: bytes) -> Outline:
    """The outline of a line; an empty one if it is not a JSON-RPC message."""
    try:
        return _OUTLINES.decode(line)
    except (*MALFORMED, msgspec.ValidationError):  # NaN is in it, which many programs write, or it is no message
        message = _parsed(line)
        method = message.get("method")
        parts = {name: msgspec.Raw(dumps(message[name])) for name in ("params", "result", "error") if name in message}
        return Outline(id=message.get("id"), method=method if isinstance(method, str) else None, **parts)


def with_key(line: bytes, key: str) -> bytes:
    """The request with `key` as its idempotency key, unless it has one."""
    message = _parsed(line)
    params: Any = message.get("params", {}) if "method" in message else None
    meta: Any = params.get("_meta", {}) if isinstance(params, dict) else None
    if not isinstance(meta, dict) or IDEMPOTENCY_KEY in meta:
        return line
    return dumps({**message, "params": {**params, "_meta": {**meta, IDEMPOTENCY_KEY: key}}})


def localized(line: bytes, key: Any, token: Any) -> bytes:
    """A message of an exchange for one of several callers: under its own request id, and its own progress token.

    `token` is None if this caller has asked for no progress; then a progress notification becomes empty.
    """
    found = outline(line)
    if found.method == _PROGRESS:
        message = _parsed(line)
        params = message.get("params")
        if token is None or not isinstance(params, dict):
            return b""
        return dumps({**message, "params": {**params, _TOKEN: token}})
    return dumps({**_parsed(line), "id": key}) if found.is_answer else line


def error_answer(key: Any, code: int, message: str, data: Any = None) -> bytes:
    """The line of an error that answers the request with the id `key`."""
    error = {"code": code, "message": message}
    return dumps({"jsonrpc": "2.0", "id": key, "error": error if data is None else error | {"data": data}})


def _parsed(raw: bytes) -> dict[str, Any]:
    """The object of a JSON text; an empty one for any other text."""
    try:
        value = loads(raw)
    except MALFORMED:
        return {}
    return value if isinstance(value, dict) else {}
