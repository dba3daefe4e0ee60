"""Reads arguments that a model wrote in another form than requested, if they can have only one meaning. Pure.

A value that could mean two things is returned unchanged and refused where it is used, with an error that says what is
expected. Nothing here decides whether a value is allowed: URLs are still checked against the trusted hosts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

from broker_plane.units import parse_time
from broker_plane.wire import exact_json
from broker_plane.wire.names import ROW_ID

_NOTHING = frozenset({"", "null", "none", "undefined", "nil"})
_BLANKS = " \t\r\n\ufeff\u200b\u00a0"
_QUOTES = "\"'`"
_FENCE = re.compile(r"```[A-Za-z0-9_+-]*[ \t]*\n?(.*?)\n?```", re.DOTALL)
_URL = re.compile(r"(?:https?|ddi)://(?:\[[0-9A-Fa-f:.%]+\])?[^\s<>\"'`\[\]{}()|\\^]+", re.IGNORECASE)
_URL_NAMES = ("resource_url", "url", "uri", "href")
_WRAPPED = re.compile(r"\s[A-Za-z0-9_-]{16,}\s*\Z")
_TOKEN = re.compile(
    r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|\b(?:None|True|False)\b|,(?=\s*[\]}])""",
)
_LITERALS = {"None": "null", "True": "true", "False": "false", ",": ""}
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(['\"]))|\"")

_MOST_LAYERS = 4
_MOST_MENDED = 1 << 18
"""Maximum length of a text that is parsed leniently; models write no longer ones, and programs write valid JSON."""


def is_nothing(value: Any) -> bool:
    """Whether an argument means that there is none: null, or a text that says so."""
    return value is None or (isinstance(value, str) and len(value) < 64 and bare(value).lower() in _NOTHING)


def bare(text: str) -> str:
    """`text` without a surrounding code fence, blanks and quotes."""
    text = text.strip(_BLANKS)
    if fence := _FENCE.fullmatch(text):
        text = fence[1].strip(_BLANKS)
    while len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES and text[0] not in text[1:-1]:
        text = text[1:-1].strip(_BLANKS)
    return text


def read(text: str) -> Any:
    """The value of a text that contains JSON: encoded more than once, fenced, in Python's quotes, or one row a line.

    Raises:
        ValueError: it contains none.
    """
    for _ in range(_MOST_LAYERS):
        text = bare(text)
        value = _parsed(text)
        if not isinstance(value, str):
            return value
        text = value
    raise ValueError("not JSON")


def rows_text(value: Any, *, member: str = "abstract") -> Any:
    """The JSON array of rows in an argument, as text; empty for none.

    `member` is the member of a whole result that has the rows: some models pass the result instead.
    """
    if is_nothing(value):
        return ""
    found = value
    if isinstance(value, str):
        if len(value) > _MOST_MENDED or _are_rows(value):
            return value
        try:
            found = read(value)
        except ValueError:
            return value
    return exact_json.dumps(rows_of(found, member=member)).decode()


def rows_of(value: Any, *, member: str = "abstract") -> Any:
    """The list of rows that a value is or contains."""
    if isinstance(value, dict) and isinstance(value.get(member), list) and ROW_ID not in value:
        return value[member]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        return value[0]
    if isinstance(value, list) and value and all(isinstance(row, str) for row in value):
        try:
            rows = [read(row) for row in value]
        except ValueError:
            return value
        return rows if all(isinstance(row, dict) for row in rows) else value
    return value


def mapping_text(value: Any) -> Any:
    """The JSON object in an argument, as text; empty for none."""
    if is_nothing(value):
        return ""
    found = value
    if isinstance(value, str):
        try:
            found = read(value)
        except ValueError:
            return value
    if isinstance(found, list) and all(isinstance(each, dict) for each in found):
        pairs = [pair for each in found for pair in each.items()]
        if len(dict(pairs)) == len(pairs):
            found = dict(pairs)
    return exact_json.dumps(found).decode() if found != {} else ""


def names_text(value: Any) -> Any:
    """The column names in an argument, as a JSON array or as the given comma list; empty for none."""
    if is_nothing(value):
        return ""
    if not isinstance(value, str):
        return exact_json.dumps(value).decode()
    text = bare(value)
    if text[:1] == '"' and isinstance(once := _held(text), list):
        return exact_json.dumps(once).decode()
    if text.startswith("["):
        try:
            found = read(text)
        except ValueError:
            inside = text[1:-1]
            return value if not text.endswith("]") or set(inside) & set("[]{}\"'") else _listed(inside)
        return exact_json.dumps(found).decode() if isinstance(found, list) else value
    return _listed(text)


def names(value: Any) -> Any:
    """As `names_text`, as a list; None for none."""
    if not (value is None or isinstance(value, (str, list))):
        return value
    text = names_text(value)
    if text == "":
        return None
    if not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return exact_json.loads(text)
    except exact_json.MALFORMED:
        return value


def url(value: Any) -> Any:
    """The single URL, id or subject in an argument; empty for none."""
    if is_nothing(value):
        return ""
    if isinstance(value, list) and len(value) == 1:
        return url(value[0])
    if isinstance(value, dict):
        held = [value[name] for name in _URL_NAMES if isinstance(value.get(name), str) and value[name]]
        return url(held[0]) if len(set(held)) == 1 else exact_json.dumps(value).decode()
    if not isinstance(value, str):
        return exact_json.dumps(value).decode()
    text = bare(value).replace("\\/", "/")
    if re.match(r"(?:https?|ddi)%3A", text, re.IGNORECASE):
        text = unquote(text)
    if text[:1] in "[{" and (found := _held(text)) is not None:
        return url(found)
    if text[:1] == text[-1:] == "_":
        text = text[1:-1]
    ends = [match[0].rstrip("*") for match in _URL.finditer(text)]
    found_urls = {end if end.endswith(("..", "…")) else end.rstrip(".,;:!?/") for end in ends}
    if not found_urls:
        return text.strip("<>" + _BLANKS).rstrip(".,;")
    return found_urls.pop() if len(found_urls) == 1 and not _WRAPPED.search(text) else value


def word(default: str, *words: str) -> Callable[[Any], Any]:
    """Reads one of `words`, with any quotes or final punctuation; `default` if there is none."""

    def reading(value: Any) -> Any:
        if is_nothing(value):
            return default
        said = bare(value).rstrip(".,;") if isinstance(value, str) else value
        return said if said in words else value

    return reading


def number(value: Any) -> Any:
    """A number, also from a text; None for none.

    Raises:
        ValueError: it is true or false, which would count as 1 and 0.
    """
    if isinstance(value, bool):
        raise ValueError("a number is expected here, not true or false")
    if is_nothing(value):
        return None
    return bare(value) if isinstance(value, str) else value


def seconds(value: Any) -> Any:
    """As `number`; a text may have a unit: 30s, 10 min, 2h, 1 day."""
    said = number(value)
    if not isinstance(said, str) or not said[-1:].isalpha():
        return said
    try:
        counted = parse_time(said)
    except ValueError:
        return said
    return int(counted) if counted.is_integer() else counted


def condition(value: Any) -> Any:
    """A `where` without surrounding SQL; None for none."""
    if is_nothing(value):
        return None
    if not isinstance(value, str):
        return value
    return re.sub(r"\Awhere\s+", "", bare(value), flags=re.IGNORECASE).rstrip("; \n")


def text(value: Any) -> Any:
    """A text; empty for none."""
    return "" if is_nothing(value) else value


def _are_rows(text: str) -> bool:
    """Whether a text is exactly what was requested; almost every one is."""
    try:
        found = exact_json.loads(text)
    except exact_json.MALFORMED:
        return False
    return isinstance(found, list) and all(isinstance(row, dict) for row in found)


def _parsed(text: str) -> Any:
    for attempt in (text, _unwrapped(text), _as_json(text)):
        try:
            return exact_json.loads(attempt)
        except exact_json.MALFORMED:
            continue
    if not text.lstrip().startswith("{"):
        raise ValueError("not JSON")
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        rows = [exact_json.loads(line.rstrip(",")) for line in lines]
    except exact_json.MALFORMED as error:
        raise ValueError("not JSON") from error
    if len(rows) < 2 or not all(isinstance(row, dict) for row in rows):
        raise ValueError("not JSON")
    return rows


def _unwrapped(text: str) -> str:
    """JSON in quotes whose inner quotes are not escaped: '[{"a": 1}]'."""
    inside = text[1:-1].strip()
    return inside if text[:1] == text[-1:] and text[:1] in _QUOTES and inside[:1] in ("[", "{") else text


def _as_json(text: str) -> str:
    """A literal of Python or JavaScript as JSON: its quotes, None, True, False and trailing commas."""
    return _TOKEN.sub(_token, _unwrapped(text))


def _token(match: re.Match[str]) -> str:
    token = match[0]
    if token[0] != "'":
        return _LITERALS.get(token, token)
    return '"' + _ESCAPE.sub(_escape, token[1:-1]) + '"'


def _escape(match: re.Match[str]) -> str:
    if match[1]:
        return f"\\u00{match[1]}"
    return "'" if match[2] == "'" else '\\"'


def _listed(text: str) -> str:
    """A list with commas, or with one name a line; quotes around names are removed."""
    lines = [re.sub(r"\A[-*•]\s+", "", line.strip()) for line in text.splitlines()]
    parts: Sequence[str] = [part.strip() for part in ",".join(line.rstrip(",") for line in lines if line).split(",")]
    if not any(part != bare(part) for part in parts):
        return ",".join(parts) if len(lines) > 1 else text
    return exact_json.dumps([bare(part) for part in parts if part]).decode()


def _held(text: str) -> Any:
    try:
        return read(text)
    except ValueError:
        return None
