"""JSON-RPC messages from clients and upstreams, neither of which is trusted to send valid ones. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from broker_plane.errors import BrokerPlaneError, WireError
from broker_plane.exchange.lines import error_answer
from broker_plane.wire import json_rpc
from broker_plane.wire.exact_json import MALFORMED, dumps, loads

Message = dict[str, Any]
Key = str | int | float
"""The id of a request."""

_HEAD_BYTES = 1024
_DIGITS = 20
VERSION = "io.modelcontextprotocol/protocolVersion"
_VALUE = rb'("(?:[^"\\]|\\.){0,256}"|-?[0-9]{1,20})'
_RPC = rb'"jsonrpc"\s*:\s*"2\.0"'
_HEAD_KEY = re.compile(rb"\s*\{\s*(?:" + _RPC + rb'\s*,\s*)?"id"\s*:\s*' + _VALUE + rb"\s*[,}]")
_TAIL_KEY = re.compile(rb',\s*"id"\s*:\s*' + _VALUE + rb"\s*(?:,\s*" + _RPC + rb"\s*)?\}\s*\Z")
_HEAD_METHOD = re.compile(rb"\s*\{\s*(?:" + _RPC + rb'\s*,\s*)?(?:"id"\s*:\s*' + _VALUE + rb'\s*,\s*)?"method"\s*:')


class Envelope(msgspec.Struct):
    """A message whose result is not parsed until it is needed."""

    jsonrpc: Any = msgspec.UNSET
    id: Any = msgspec.UNSET
    method: Any = msgspec.UNSET
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_answer(self) -> bool:
        return self.id is not msgspec.UNSET and self.method is msgspec.UNSET

    @property
    def answers(self) -> bool:
        """Whether an answer is well-formed. A client ignores a malformed one and keeps waiting."""
        if self.jsonrpc != "2.0":
            return False
        if isinstance(self.result, msgspec.Raw):
            return bytes(memoryview(self.result)[:1]) == b"{" and self.error is msgspec.UNSET
        error = parse(bytes(self.error)) if isinstance(self.error, msgspec.Raw) else None
        return error is not None and type(error.get("code")) is int and isinstance(error.get("message"), str)


_ENVELOPES = msgspec.json.Decoder(Envelope)

Unread = Literal["malformed", "too deep"]


def envelope_of(line: bytes) -> Envelope | Unread | None:
    """The envelope of a line; None for other JSON, such as a batch."""
    try:
        return _ENVELOPES.decode(line)
    except msgspec.ValidationError:
        return None
    except RecursionError:
        return "too deep"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "malformed"


def parse(raw: bytes) -> Message | None:
    """The message of a line or an event; None for a batch, or if it is not JSON."""
    try:
        message = loads(raw)
    except MALFORMED:
        return None
    return message if isinstance(message, dict) else None


def is_answer(message: Message) -> bool:
    return "id" in message and "method" not in message


def is_key(value: Any) -> bool:
    """Whether a value may be the id of a request: not an object, an array or a boolean."""
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def params_of(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(message.get("params"))


def meta_of(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(params_of(message).get("_meta"))


def is_self_contained(message: Mapping[str, Any]) -> bool:
    """Whether a request is of 2026-07-28 or later, and so needs no session."""
    return VERSION in meta_of(message) and message.get("method") != "initialize"


def tools_of(result: Any) -> list[Mapping[str, Any]]:
    """The well-formed tools of a list."""
    tools = mapping(result).get("tools")
    found = tools if isinstance(tools, list) else []
    return [tool for tool in found if isinstance(tool, Mapping) and isinstance(tool.get("name"), str)]


def is_understood(result: Any) -> bool:
    """Whether a tool's result is well-formed; a malformed one passes unchanged."""
    if not isinstance(result, Mapping) or not isinstance(result.get("_meta") or {}, Mapping):
        return False
    content = result.get("content") or ()
    return isinstance(content, (list, tuple)) and all(map(_is_block, content))


def _is_block(block: Any) -> bool:
    if not isinstance(block, Mapping) or not isinstance(block.get("type"), str):
        return False
    return block["type"] != "text" or isinstance(block.get("text"), str)


def failed(key: Any, said: str, code: int = json_rpc.INTERNAL_ERROR) -> Message:
    """An error that answers the request `key`."""
    return {"jsonrpc": "2.0", "id": key, "error": {"code": code, "message": said}}


def failed_line(key: Any, said: str, code: int = json_rpc.INTERNAL_ERROR) -> bytes:
    return dumps(failed(key, said, code)) + b"\n"


def refused_line(key: Any, error: BrokerPlaneError) -> bytes:
    """The line of an error whose code programs need to know: it is in `data.code`."""
    number = json_rpc.INVALID_PARAMS if isinstance(error, WireError) else json_rpc.INTERNAL_ERROR
    return error_answer(key, number, str(error), {"code": error.code}) + b"\n"


def key_in(head: bytes, tail: bytes) -> Key | None:
    """The id of a message of which only the beginning and the end are known; None if neither shows it."""
    found = _HEAD_KEY.match(head) or _TAIL_KEY.search(tail)
    if found is None:
        return None
    try:
        key = loads(found[1])
    except MALFORMED:
        return None
    return key if isinstance(key, (str, int)) else None


def key_of(line: bytes) -> Key | None:
    """The id of an answer that `parse` rejects, such as one with a cut surrogate pair. None: not an answer, or unknown.

    Python's decoder accepts more than the JSON that we preserve exactly.
    """
    try:
        found = json.loads(line, parse_float=str, parse_int=_whole)
    except (ValueError, RecursionError):
        return None if has_method(line[:_HEAD_BYTES]) else key_in(line[:_HEAD_BYTES], line[-_HEAD_BYTES:])
    key = found.get("id") if isinstance(found, dict) and "method" not in found else None
    return key if is_key(key) else None


def key_asked(line: bytes) -> Key | None:
    """As `key_of`, for a request. An id without a method is that of a request of somebody else."""
    try:
        found = json.loads(line, parse_float=str, parse_int=_whole)
    except (ValueError, RecursionError):
        return key_in(line[:_HEAD_BYTES], line[-_HEAD_BYTES:])
    key = found.get("id") if isinstance(found, dict) and "method" in found else None
    return key if is_key(key) else None


def wrong_with(message: Message) -> str:
    """The fault of a JSON-RPC message; empty if it has none."""
    if message.get("jsonrpc") != "2.0":
        return "jsonrpc is not 2.0"
    if "method" in message:
        if not isinstance(message["method"], str):
            return "its method is not a text"
        return "" if isinstance(message.get("params", {}), dict) else "its params are not an object"
    return (
        ""
        if "id" in message and ("result" in message or "error" in message)
        else "it is neither a request nor an answer"
    )


def is_json(line: bytes) -> bool:
    """Whether other decoders than ours may accept it."""
    try:
        json.loads(line, parse_float=str, parse_int=_whole)
    except (ValueError, RecursionError):
        return False
    return True


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= _DIGITS else digits


def has_method(head: bytes) -> bool:
    """Whether a message that begins with these bytes is a request or a notification."""
    return _HEAD_METHOD.match(head) is not None
