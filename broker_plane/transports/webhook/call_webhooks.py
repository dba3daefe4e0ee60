"""The `webhooks` of a single tool call (PR 593): who gets its answer, instead of the caller. Pure.

`params.webhooks`, or `params._meta["io.broker-plane/webhooks"]` for clients whose SDK drops other members, is a list of
`{"url": …, "authentication": {"strategy": …, "credentials": …}}`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_plane.errors import WireError
from broker_plane.proxy.messages import Message, mapping, meta_of, params_of
from broker_plane.proxy.own_answers import text_result
from broker_plane.wire.exact_json import dumps

ACCEPTED = "Response will be forwarded to the webhook."
META = "io.broker-plane/webhooks"
MOST = 4
_MEMBER = "webhooks"
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,4094}[\x21-\x7e])?\Z")
_RESERVED = ("webhook-", "content-", "proxy-", "x-mcp-", "x-forwarded-")
_FORBIDDEN = frozenset({"host", "connection", "transfer-encoding", "te", "trailer", "upgrade", "user-agent", "expect"})


@dataclass(frozen=True, slots=True)
class CallWebhook:
    """A receiver of one answer. `headers` are its credentials."""

    url: str
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return "CallWebhook(…)"


def call_webhooks(message: Message) -> list[CallWebhook]:
    """The webhooks of a tool call; empty if it has none.

    Raises:
        WireError: they are malformed, or too many.
    """
    if message.get("method") != "tools/call":
        return []
    given = params_of(message).get(_MEMBER, meta_of(message).get(META))
    if given is None:
        return []
    if not isinstance(given, list) or not 0 < len(given) <= MOST:
        raise WireError(f"webhooks is a list of 1 to {MOST} objects with url and authentication")
    return [_parsed(each) for each in given]


def without_webhooks(message: Message) -> Message:
    """The call without its webhooks."""
    params = {name: value for name, value in params_of(message).items() if name != _MEMBER}
    meta = {name: value for name, value in meta_of(message).items() if name != META}
    return {**message, "params": params | ({"_meta": meta} if "_meta" in params else {})}


def acknowledgement(message: Message) -> bytes:
    """The line that answers the caller."""
    return dumps(text_result(message, ACCEPTED))


def with_capability(answer: Message) -> Message:
    """The answer to `initialize` or `server/discover` that says that a call may have webhooks."""
    result = answer.get("result")
    if not isinstance(result, dict) or not isinstance(result.get("capabilities"), dict):
        return answer
    capabilities = dict(result["capabilities"])
    if "tools" not in capabilities:
        return answer
    extensions = {**mapping(capabilities.get("extensions")), META: {"webhooksSupported": True}}
    tools = {**mapping(capabilities["tools"]), "webhooksSupported": True}
    return {**answer, "result": {**result, "capabilities": {**capabilities, "tools": tools, "extensions": extensions}}}


def _parsed(given: Any) -> CallWebhook:
    url = mapping(given).get("url")
    if not isinstance(url, str) or not url:
        raise WireError("A webhook of a call has a url")
    authentication = mapping(given).get("authentication")
    return CallWebhook(url, _headers(authentication) if authentication is not None else {})


def _headers(authentication: Any) -> dict[str, str]:
    """The headers of `authentication`. Credentials are a text, or an object of the strategy's parts."""
    strategy, given = mapping(authentication).get("strategy"), mapping(authentication).get("credentials")
    if strategy == "bearer":
        return _header("authorization", f"Bearer {_text(given, 'token')}")
    if strategy == "apiKey":
        return _header("x-api-key", _text(given, "apiKey"))
    if strategy == "basic":
        pair = given if isinstance(given, str) else f"{_text(given, 'username')}:{_text(given, 'password')}"
        return _header("authorization", f"Basic {b64encode(pair.encode()).decode()}")
    if strategy == "customHeader":
        if isinstance(given, str):
            name, _, value = given.partition(":")
            return _header(name.strip(), value.strip())
        return _header(_text(given, "name"), _text(given, "value"))
    raise WireError("The strategy of a webhook is bearer, apiKey, basic or customHeader")


def _text(given: Any, part: str) -> str:
    found = given if isinstance(given, str) else mapping(given).get(part)
    if not isinstance(found, str) or not found:
        raise WireError(f"The credentials of this webhook are a text, or an object with {part}")
    return found


def _header(name: str, value: str) -> dict[str, str]:
    lowered = name.lower()
    if not _NAME.match(name) or lowered in _FORBIDDEN or lowered.startswith(_RESERVED) or not _VALUE.match(value):
        raise WireError("The credentials of this webhook do not make a header that may be sent")
    return {lowered: value}
