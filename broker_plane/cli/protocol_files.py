"""Files and options of the command protocols: JSON in, credentials from files only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from broker_plane.registry.agora import description_fields, parse_agora
from broker_plane.registry.agora_routine import transfer_code
from broker_plane.wire.exact_json import MALFORMED, loads

_KINDS = ("bearer", "header", "query", "hmac")


def json_file(file: str) -> Any:
    """The value of a JSON file; `-` is standard input."""
    try:
        return loads(_read(file))
    except MALFORMED as error:
        raise typer.BadParameter(f"{file} is not JSON: {error}") from None


def agora_file(file: str, owner: str, version: str, sources: Sequence[str], routine: str) -> dict[str, Any]:
    """The description of an Agora document; both files are read as they are, because the hash is of each byte."""
    protocol = parse_agora(_text(file), sources)
    code = _text(routine) if routine else ""
    if code:
        transfer_code(protocol, code)  # it is checked now, and not when somebody runs it
    return description_fields(protocol, owner, version, routine=code)


def credential(text: str) -> dict[str, Any] | None:
    """The `auth` of a descriptor for KIND=FILE. A value on the command line would be seen by every user."""
    if not text:
        return None
    kind, found, file = text.partition("=")
    if kind not in _KINDS or not found or not file:
        raise typer.BadParameter(f"--auth is KIND=FILE with a kind of {', '.join(_KINDS)}")
    value = (sys.stdin.read() if file == "-" else Path(file).read_text()).strip()
    return {"type": kind, "value": value}


def named_values(texts: Sequence[str]) -> dict[str, Any]:
    """Parameters of NAME=VALUE; a value that is not JSON is a text."""
    values: dict[str, Any] = {}
    for text in texts:
        name, found, value = text.partition("=")
        if not found or not name:
            raise typer.BadParameter(f"{text[:40]!r} is not NAME=VALUE")
        try:
            values[name] = loads(value)
        except MALFORMED:
            values[name] = value
    return values


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def _text(file: str) -> str:
    try:
        return _read(file).decode()
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{file} is not a text in UTF-8") from None
