"""File names in Content-Disposition (RFC 6266), with names beyond ASCII (RFC 8187). Pure."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote_to_bytes

from broker_plane.errors import WireError

MOST_NAME = 255
"""Maximum length in characters, as in common file systems."""

_PARAMETER = re.compile(r'(?:^|;)\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.DOTALL)
_EXTENDED = re.compile(r"(utf-8|iso-8859-1)'[^']*'(.*)", re.IGNORECASE | re.DOTALL)


def disposition_of(name: str) -> str:
    """The header for `name`. `filename*` has it exactly, `filename` in plain ASCII."""
    if not name:
        return "attachment"
    plain = "".join(c if 32 <= ord(c) < 127 and c not in '"\\/' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def file_name_of(disposition: str) -> str:
    """The name in a header, whose bytes were decoded as Latin-1. `filename*` takes precedence; empty if there is no
    name.

    Raises:
        WireError: there is a name that cannot be read, or that no file can have.
    """
    found: dict[str, str] = {}
    for name, value in _PARAMETER.findall(disposition):
        found.setdefault(name.lower(), value.strip())
    if "filename*" in found:
        extended = _extended(found["filename*"])
        if extended is not None:
            return check_file_name(extended)
        if "filename" not in found:
            raise WireError("filename* in Content-Disposition is UTF-8'' and percent-encoded UTF-8 (RFC 8187)")
    elif any(name.startswith("filename*") for name in found):
        raise WireError("A filename in several parts is not read; send it as filename*=UTF-8''…")
    return check_file_name(_plain(found.get("filename", "")))


def check_file_name(name: str) -> str:
    """`name`, if it is empty or can be the name of a file without a directory.

    Raises:
        WireError: it cannot; the message says why.
    """
    problem = ""
    if "/" in name or "\\" in name:
        problem = "holds a path separator"
    elif name.strip() in (".", ".."):
        problem = "is that of a directory"
    elif any(unicodedata.category(letter) == "Cc" for letter in name):
        problem = "holds a control character"
    elif any(unicodedata.category(letter) == "Cs" for letter in name):
        problem = "is not UTF-8"
    elif len(name) > MOST_NAME:
        problem = f"has more than {MOST_NAME} characters"
    if problem:
        raise WireError(f"The file name {problem}; name the file without a directory, as 'report.pdf'")
    return name


def _extended(value: str) -> str | None:
    found = _EXTENDED.fullmatch(_unquoted(value))
    if found is None:
        return None
    try:
        return unquote_to_bytes(found[2].encode("latin-1", "strict")).decode(found[1])
    except UnicodeError:
        return None


def _plain(value: str) -> str:
    """Clients send raw UTF-8 there, although the RFC allows Latin-1 at most."""
    text = _unquoted(value)
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _unquoted(value: str) -> str:
    if len(value) < 2 or not (value.startswith('"') and value.endswith('"')):
        return value
    # Only a quote can be escaped: a backslash before anything else belongs to a path, which is refused.
    return value[1:-1].replace('\\"', '"')
