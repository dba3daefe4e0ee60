"""How MCP messages travel over NATS: subjects, headers, and the form of what is sent to an inbox. Pure."""

from __future__ import annotations

import re
import secrets
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from broker_plane.errors import ConfigError
from broker_plane.exchange.keys import is_server_name
from broker_plane.proxy.messages import VERSION, Message, meta_of, params_of, parse
from broker_plane.wire.exact_json import dumps

QUEUE = "q"
"""The queue group of the instances of a server (ADR-32)."""

HEADER_BYTES = 8192
"""Left in a message for its headers, which count as payload."""

ALIVE_SECONDS = 5.0
"""How often an instance says that a request still runs."""

SILENT_SECONDS = 3 * ALIVE_SECONDS
"""After this, the instance is considered lost."""

SESSION_LETTER = "n"
"""The sessions of this carrier begin with it."""

# In sessions of the handshake era, beside those of `exchange/headers.py`:
GOT = "Bp-Got"
"""The number of the last message that the client has."""
AGAIN = "Bp-Again"
"""`1`: the client asks for the messages after those that it has."""
END = "Bp-End"
"""`1`: the client ends the session."""
CLOSED = "Bp-Closed"
"""`1`, on the answer: the instance does not know the session (any more)."""

# Of requests that are too large for one message of NATS:
SIZE = "Bp-Size"
"""Bytes of the request; its message has no content."""
MORE = "Bp-More"
"""`<instance>.<upload>`: where its parts go."""

# Of durable requests:
DURABLE_METHODS = frozenset({"tools/call"})
STATE = "Bp-State"
"""The state of a request, after the stored messages that a returning caller gets."""
State = Literal["answered", "running", "unknown", "other", "lost"]
"""`unknown`: nothing is stored of it. `other`: another request has its key. `lost`: it was carried out, and its answer
is not stored any more."""
HAVE = "Bp-Have"
"""`<instance>.<n>`, on an answer: where its arrival is acknowledged."""
DURABLE = "Bp-Durable"
"""`1`, on a cancellation: the request is stored."""

BUSY = "exchange_busy"
"""The code, in `error.data`, of a request that was not carried out, because its client has too many under way."""

METHOD, NAME, PROTOCOL_VERSION = "Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version"
TRACE = ("traceparent", "tracestate")

_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_PLAIN = re.compile(r"[!-~]([ -~]*[!-~])?\Z")
_ENCODED = re.compile(r"=\?base64\?([A-Za-z0-9+/]*={0,2})\?=\Z")
_PLAIN_METHOD = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+){0,7}\Z")
_MAX_HEADER = 512
_MAX_METHOD = 128
_MAX_DIGITS = 12
_MAX_RESUME = 1024
_MAX_BUSY = 4096
_ID_BYTES = 16


def new_id() -> str:
    """An unguessable token of a subject."""
    return secrets.token_urlsafe(_ID_BYTES)


def number_in(headers: Mapping[str, str], name: str) -> int:
    """The number in a header; 0 if there is none."""
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else 0


def is_busy(line: bytes) -> bool:
    """Whether an answer is the error `BUSY`."""
    if len(line) > _MAX_BUSY or BUSY.encode() not in line:
        return False
    error = (parse(line) or {}).get("error")
    data = error.get("data") if isinstance(error, dict) else None
    return isinstance(data, dict) and data.get("code") == BUSY


def parse_server_name(text: str) -> str:
    """The name of a server, one token of its subjects.

    Raises:
        ConfigError: it has another form.
    """
    if not is_server_name(text):
        raise ConfigError(f"{text!r} is not the name of a server: use 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
    return text


def method_tokens(method: str) -> str:
    """The end of the subject of a request: `tools/call` becomes `tools.call`, so that permissions can name methods.

    Methods with other characters, and the first 128 bytes of longer ones, are in base64url, after a token that no
    method has; it is alone for an empty method. A subject that is too long would make nats-server close the connection.
    """
    if len(method) <= _MAX_METHOD and _PLAIN_METHOD.match(method):
        return method.replace("/", ".")
    encoded = urlsafe_b64encode(method.encode(errors="surrogatepass")[:_MAX_METHOD]).decode().rstrip("=")
    return f"$.{encoded}" if encoded else "$"


def request_headers(message: Message) -> dict[str, str]:
    """The headers of a request: those that the SDK gives to HTTP, and the trace context of its `_meta` (SEP-414)."""
    method, meta = str(message["method"]), meta_of(message)
    found: dict[str, Any] = {METHOD: method, PROTOCOL_VERSION: meta.get(VERSION)}
    if key := _NAMED.get(method):
        found[NAME] = params_of(message).get(key)
    found |= {each: meta.get(each) for each in TRACE}
    return {header: text for header, value in found.items() if (text := _header_value(value))}


def _header_value(value: Any) -> str:
    """The text of a header; empty if it is left out, because it is not a text, or too long."""
    if not isinstance(value, str) or len(value) > _MAX_HEADER:
        return ""
    try:
        return encoded_header(value)
    except UnicodeEncodeError:  # a lone surrogate
        return ""


def encoded_header(value: str) -> str:
    """The text of a header, in base64 if it is not plain ASCII (SEP-2243). The SDK's own function needs all of it."""
    if _PLAIN.match(value) and not _ENCODED.match(value):
        return value
    return f"=?base64?{b64encode(value.encode()).decode()}?="


def decoded_header(text: str) -> str | None:
    """The value of the text of a header; None if it is malformed."""
    found = _ENCODED.match(text)
    if found is None:
        return text
    try:
        return b64decode(found[1], validate=True).decode()
    except ValueError:
        return None


def is_named_otherwise(message: Message, headers: Mapping[str, str]) -> bool:
    """Whether the headers of a request name another method or object than its body: nobody may rely on them then."""
    method = message["method"]
    stated = headers.get(METHOD)
    if stated is not None and decoded_header(stated) != method:
        return True
    name, key = headers.get(NAME), _NAMED.get(method)
    return name is not None and (key is None or decoded_header(name) != params_of(message).get(key))


@dataclass(frozen=True, slots=True)
class Resume:
    """What a caller asks that has come back: for the messages after number `after`, if its request has this digest."""

    after: int
    request: str = ""

    def pack(self) -> bytes:
        return dumps({"after": self.after, "request": self.request})


def parse_resume(payload: bytes) -> Resume | None:
    """None if it is not one."""
    fields = parse(payload) if len(payload) <= _MAX_RESUME else None
    after, request = (fields.get("after"), fields.get("request", "")) if fields else (None, "")
    if type(after) is not int or after < 0 or not isinstance(request, str):
        return None
    return Resume(after, request)


def with_trace(message: Message, headers: Mapping[str, str]) -> Message:
    """The request with the trace context of its headers in `_meta`, unless it has one there."""
    given = {name: headers[name] for name in TRACE if name in headers}
    if not given or TRACE[0] in (meta := meta_of(message)):
        return message
    params: dict[str, Any] = {**params_of(message), "_meta": {**meta, **given}}
    return {**message, "params": params}
