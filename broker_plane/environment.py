"""Read environment variables: a blank one counts as unset, `~` is expanded, and obvious mistakes are errors.

A reader converts the text of one variable, or raises ValueError with the rest of a sentence that starts with the
variable's name. Messages never contain the text of a secret.
"""

from __future__ import annotations

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
RENAMED = {
    "guest_url": "nats_guest_url",
    "hosts": "bridge_hosts",
    "confirm": "delivery_confirmation",
    "name": "puller_name",
    "ttl": "ttl_seconds",
    "uses": "grant_uses",
    "collect": "delete_when_used",
    "abstract_limit": "max_abstract_rows",
    "inline_limit": "max_inline_result_bytes",
    "inline_most": "max_inline_body_bytes",
    "max_rows_inline": "max_consumer_rows",
    "max_memory_inline": "max_consumer_memory_bytes",
    "pull_bytes": "max_pull_memory_bytes",
    "unsized_bytes": "max_unsized_bytes",
    "line_bytes": "max_proxy_message_bytes",
    "store_bytes": "max_store_bytes",
    "pass_seconds": "max_scan_cpu_seconds",
    "read_bytes": "max_inflight_read_bytes",
    "audit_bytes": "audit_retention_bytes",
    "audit_days": "audit_retention_days",
    "feed_versions": "feed_retention_versions",
    "feed_days": "feed_retention_days",
    "feed_bytes": "feed_retention_bytes",
    "durables_per_grant": "max_durables_per_grant",
    "durables_per_owner": "max_durables_per_owner",
    "durables_in_total": "max_durables",
    "durable_days": "durable_idle_days",
    "webhook_schedule": "webhook_retry_delays_seconds",
    "log": "log_format",
}
"""Settings of development versions: using one is an error that names the new one."""

_ZERO = dict.fromkeys(("uses", "abstract_limit", "inline_most"), ", and 0 is now written unlimited")
_OURS = re.compile(r"(?:TEST_[A-Z_]+|FILES_DIR|CHART_DIR)\Z")
"""Variables that tests and examples read; they are not settings."""

_warned: set[str] = set()


def given(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The texts of the variables that are set, by the names of their settings. Blank variables count as unset."""
    found = {name: environ.get(PREFIX + name.upper(), "") for name in names}
    return {name: text.strip(_BLANKS) for name, text in found.items() if text.strip()}


def read(name: str, text: str, kind: Any, reader: Reader | None = None, *, lines: bool = False) -> Any:
    """The value of a variable's text, converted by `reader`, or according to the type of the setting.

    Raises:
        ConfigError: the text is not a valid value; the message starts with the variable's name.
    """
    try:
        _check_text(text, lines=lines)
        return (reader or _reader_of(kind))(text)
    except ValueError as error:
        raise ConfigError(f"{PREFIX}{name.upper()}: {error}") from error


def warn_of_unknown(names: Iterable[str], environ: Mapping[str, str]) -> None:
    """Log a warning for each variable with our prefix that is not a setting, once per process."""
    for variable, nearest in unknown(names, environ).items():
        if variable not in _warned:
            _warned.add(variable)
            hint = f"; did you mean {nearest}?" if nearest else ""
            log.warning("%s is not a setting and is ignored%s", variable, hint)


def unknown(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The variables with our prefix that are not settings, each with the most similar one that is, or an empty text."""
    known = {PREFIX + name.upper() for name in names}
    found = {}
    for variable in sorted(environ):
        if not variable.upper().startswith(PREFIX) or variable in known:
            continue
        if not _OURS.match(variable.removeprefix(PREFIX)) and old_name(variable) is None:
            import difflib  # most processes start without such a variable

            near = difflib.get_close_matches(variable.upper(), sorted(known), 1, 0.8)
            found[variable] = near[0] if near else ""
    return found


def check_renamed(environ: Mapping[str, str], overrides: Iterable[str] = ()) -> None:
    """Raise ConfigError if a setting is given under an old name."""
    for problem in renamed(environ, overrides):
        raise ConfigError(problem)


def renamed(environ: Mapping[str, str], overrides: Iterable[str] = ()) -> list[str]:
    """A sentence for each setting that is given under an old name, with the name to use."""
    old = [(variable, name, PREFIX + RENAMED[name].upper()) for variable in environ if (name := old_name(variable))]
    old = [each for each in old if environ[each[0]].strip()]
    old += [(name, name, RENAMED[name]) for name in overrides if name in RENAMED]
    return [f"{given} was renamed to {new}{_ZERO.get(name, '')}" for given, name, new in sorted(old)]


def old_name(variable: str) -> str | None:
    """The setting that `variable` named in earlier versions; None if there was none."""
    name = variable.removeprefix(PREFIX).lower()
    return name if variable.startswith(PREFIX) and name in RENAMED else None


def one_of(choices: Iterable[str]) -> Reader:
    allowed = list(choices)

    def chosen(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"{_shown(text)} is not one of {', '.join(allowed)}")
        return text.lower()

    return chosen


def read_path(text: str) -> str:
    """A path whose `~` is expanded here: MCP clients and service managers start processes without a shell."""
    if text.startswith("$") or "${" in text:
        raise ValueError(
            f"{_shown(text)} contains a variable, which is not expanded here; write the path out, or use ~"
        )
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
            "the value is in quotation marks, which become part of it; remove them "
            "(neither Docker's env files nor JSON configurations strip them)"
        )
    if text[0] in "\"'" or text[-1] in "\"'":
        raise ValueError("the value starts or ends with a quotation mark, which becomes part of it; remove it")
    if _CONTROL.search(text) or (_LINE_BREAK.search(text) and not lines):
        raise ValueError("the value contains a line break or another control character; remove it")


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(f"{_shown(text)} is not one of {', '.join(_BOOLEANS)}")
    return _BOOLEANS[text.lower()]


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"a text of {len(text)} characters"
