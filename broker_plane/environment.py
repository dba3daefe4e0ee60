"""What an environment variable's text means: blank is unset, `~` expands, and what nobody can have meant is an error.

A reader takes the text of one variable and returns its value, or raises ValueError with the rest of a sentence that
begins with the variable's name. No text of a secret is in a message.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from broker_plane.errors import ConfigError
from broker_plane.units import parse_count

PREFIX = "BROKER_PLANE_"
Reader = Callable[[str], Any]
log = logging.getLogger(__name__)

_BLANKS = " \t\r"
_QUOTES = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019", "\u201e": "\u201c", "\xab": "\xbb"}
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_LINE_BREAK = re.compile(r"[\n\x85\u2028\u2029]")
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_OURS = re.compile(r"(?:TEST_[A-Z_]+|FILES_DIR|CHART_DIR)\Z")
"""Variables of the examples and of the tests, which are no settings."""

_told: set[str] = set()


def given(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The texts of the variables that are set, by the names of their settings; an empty or blank one is not set."""
    found = {name: environ.get(PREFIX + name.upper(), "") for name in names}
    return {name: text.strip(_BLANKS) for name, text in found.items() if text.strip()}


def read(name: str, text: str, kind: Any, reader: Reader | None = None, *, lines: bool = False) -> Any:
    """The value of a variable's text, by `reader`, or by the type of its setting.

    Raises:
        ConfigError: nobody can have meant this.
    """
    try:
        _check_text(text, lines=lines)
        return (reader or _reader_of(kind))(text)
    except ValueError as error:
        raise ConfigError(f"{PREFIX}{name.upper()}: {error}") from error


def warn_of_unknown(names: Iterable[str], environ: Mapping[str, str]) -> None:
    """Log each variable with our prefix that is no setting, once in the life of a process."""
    known = {PREFIX + name.upper() for name in names}
    for variable in sorted(environ):
        if not variable.upper().startswith(PREFIX) or variable in known or variable in _told:
            continue
        if _OURS.match(variable.removeprefix(PREFIX)):
            continue
        _told.add(variable)
        near = difflib.get_close_matches(variable.upper(), sorted(known), 1, 0.8)
        log.warning("%s is not a setting and is ignored%s", variable, f"; did you mean {near[0]}?" if near else "")


def one_of(choices: Iterable[str]) -> Reader:
    allowed = list(choices)

    def chosen(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"{_shown(text)} is not one of {', '.join(allowed)}")
        return text.lower()

    return chosen


def read_path(text: str) -> str:
    """A path whose `~` is expanded: MCP clients and service managers start a process without a shell."""
    if text.startswith("$") or "${" in text:
        raise ValueError(f"{_shown(text)} holds a variable that nothing has expanded; write the path out, or use ~")
    path = os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises where there is no home directory
    if path.startswith("~") and text.partition("/")[0] == "~":
        raise ValueError("there is no home directory to expand ~ to; set HOME, or write the path out")
    return path


def read_paths(text: str) -> str:
    return os.pathsep.join(read_path(part.strip()) for part in text.split(os.pathsep) if part.strip())


def read_http_url(text: str) -> str:
    """An `http://` or `https://` base URL."""
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    else:
        usable = usable and parts.scheme in ("http", "https") and not re.search(r"\s", text)
    if not usable:
        raise ValueError(f"{_shown(text)} is not a URL such as http://bridge.example:8787")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("a base URL has no user, no query and no fragment")
    return text


def _reader_of(kind: Any) -> Reader:
    if get_origin(kind) is Literal:
        return one_of(get_args(kind))
    readers: dict[Any, Reader] = {bool: _boolean, int: parse_count, Path: lambda text: Path(read_path(text))}
    reader: Reader = readers.get(kind, kind)
    return reader


def _check_text(text: str, *, lines: bool) -> None:
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        raise ValueError(
            "the value is in quotation marks, which are a part of it; remove them "
            "(neither env files of Docker nor JSON configurations strip them)"
        )
    if text[0] in "\"'" or text[-1] in "\"'":
        raise ValueError("the value has a quotation mark at one end, which is a part of it; remove it")
    if _CONTROL.search(text) or (_LINE_BREAK.search(text) and not lines):
        raise ValueError("the value has a line break or another control character in it; remove it")


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(f"{_shown(text)} is not one of {', '.join(_BOOLEANS)}")
    return _BOOLEANS[text.lower()]


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"a text of {len(text)} characters"
