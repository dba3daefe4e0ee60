"""Answers of the proxy itself, in the form of both protocol eras. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from broker_plane.proxy.messages import VERSION, Message, mapping, meta_of

_MODERN = "2026-07-28"
"""The first protocol version whose results have `resultType`, and whose lists say how long they hold."""


class AnsweredHere(Exception):
    """The proxy answers a request itself; `answer` is the whole message."""

    def __init__(self, answer: Message) -> None:
        super().__init__("answered by the proxy")
        self.answer = answer


def is_modern(version: str) -> bool:
    """Whether a request of this protocol version is self-contained (2026-07-28)."""
    return version >= _MODERN


def text_result(message: Message, text: str, *, is_error: bool = False) -> Message:
    """The answer to a call: one text block."""
    result: Message = {"content": [{"type": "text", "text": text}]}
    if is_error:
        result["isError"] = True
    return _answer(message, result)


def error_result(message: Message, error: Exception, more: Sequence[Mapping[str, Any]] = ()) -> Message:
    """A tool result with the error's text, on which a model can act, and `more` content.

    `message` is the request or the answer of the server.
    """
    content = [{"type": "text", "text": str(error)}, *more]
    return _answer(message, {"content": content, "isError": True})


def lasting_result(message: Message, version: str, result: Message) -> Message:
    """The answer to a request that may be cached, which this one must not be."""
    extra = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if is_modern(version) else {}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result | extra}


def _answer(message: Message, result: Message) -> Message:
    if mapping(message.get("result")).get("resultType") or VERSION in meta_of(message):
        result["resultType"] = "complete"
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}
