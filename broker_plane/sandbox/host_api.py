"""The functions that generated code may call, and the Python that it may use: the text that goes into a prompt.

Code sees them as plain global functions, with the same arguments, results and errors on every rung. `host_functions.py`
carries them out; HOST_API is the version of all of this.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

MAX_ARGUMENT_BYTES: Final = 32 << 20
"""Bytes and characters of the arguments of one call; `emit` takes any number."""

MAX_RECEIVE_BYTES: Final = 1 << 20
"""Bytes that one `receive` returns at most."""


def _fetch(url: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b"") -> None: ...


def _open_url(url: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b"") -> None: ...


def _connect(host: str, port: int, tls: bool = False) -> None: ...


def _send(handle: int, data: bytes) -> None: ...


def _receive(handle: int, at_most: int = 65536) -> None: ...


def _close(handle: int) -> None: ...


def _unpack(format: str, data: bytes) -> None: ...


def _pack(format: str, *values: Any) -> None: ...


def _hmac_sha256(message: bytes) -> None: ...


def _emit(data: bytes) -> None: ...


def _now() -> None: ...


def _sleep(seconds: float) -> None: ...


SIGNATURES: Final[Mapping[str, inspect.Signature]] = {
    function.__name__[1:]: inspect.signature(function, eval_str=True)
    for function in (
        _fetch,
        _open_url,
        _connect,
        _send,
        _receive,
        _close,
        _unpack,
        _pack,
        _hmac_sha256,
        _emit,
        _now,
        _sleep,
    )
}
"""The functions by name. A value must be of the annotated type; an `int` will do for a `float`."""

HOST_API_TEXT: Final = """\
These global functions exist. They are synchronous: call them without `await`, and import nothing for them.

fetch(url, method="GET", headers=None, body=b"") -> {"status": int, "headers": dict, "body": bytes}
    One HTTP request and its whole response, whatever its status. Header names are in lower case. Redirects are not
    followed: a 3xx is returned like any other response.
open_url(url, method="GET", headers=None, body=b"") -> {"handle": int, "status": int, "headers": dict}
    One HTTP request whose response is read piece by piece with receive(handle), such as an event stream.
connect(host, port, tls=False) -> int
    Open a TCP connection, with TLS on request, and return its handle.
send(handle, data) -> None
    Send all bytes over a connection.
receive(handle, at_most=65536) -> bytes
    The next 1 to at_most bytes (at_most is at most 1048576); b"" at the end. It may return fewer bytes than you ask
    for, so repeat it until you have as many as you need.
close(handle) -> None
    Close a connection or a response.
unpack(format, data) -> list
    Like list(struct.unpack(format, data)), for example unpack(">IH", data[:6]).
pack(format, *values) -> bytes
    Like struct.pack(format, *values). pack("4B", 1, 2, 3, 4) makes bytes of numbers.
hmac_sha256(message) -> bytes
    The 32 bytes of HMAC-SHA256 of message under the secret of the endpoint, which is never shown.
emit(data) -> None
    Append bytes to the result of the transfer. Call it as often as you like. Only what is emitted is kept.
now() -> int
    The time in seconds since 1970.
sleep(seconds) -> None

A call that is not allowed raises PermissionError, one that fails raises OSError, and a wrong argument raises TypeError
or ValueError; str(error) says why. To end with a failure, raise an exception that says what was wrong.
Credentials are added to requests for the endpoint by the host. The code never has them and must not set them.

These names are defined: ENDPOINT (str), FORMAT (str), METHOD (str or None), SIZE_HINT (int or None) and
PARAMETERS (dict).

Write plain Python 3 at the top level of one script. It runs in a small interpreter that has:
- functions, closures, lambda, default and keyword arguments, *args, comprehensions, generator expressions, f-strings,
  try/except/finally, match, := and classes without base classes;
- int, float, str, bytes, list, tuple, dict, set and their usual methods, slices, sorted, enumerate, zip, range;
- the modules json, re, math, datetime, hashlib, base64, csv, binascii, itertools, functools and collections.
It does not have: yield, del, class inheritance, decorators other than @dataclass, bytearray, memoryview,
bytes([1, 2]), int.from_bytes, int.to_bytes, regular expressions over bytes, and the modules struct, hmac, io, zlib,
socket, ssl, urllib, http, string, threading and subprocess. The functions above must be called directly, and not by
map, filter or sorted(key=).
There are no files, processes, environment variables or network other than through these functions.
"""
"""The description of the functions and of the Python subset, for a prompt."""
