"""Conditional requests (RFC 9110), in the order of precedence of section 13.2.2. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from broker_plane.web.dates import parse_date

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_TAGS = re.compile(rf"[ \t,]*(?:{_TAG.pattern}[ \t]*(?:,[ \t,]*|$))*")


class Verdict(Enum):
    """The answer that the conditions of a request lead to."""

    SEND = 200
    NOT_MODIFIED = 304
    FAILED = 412


@dataclass(frozen=True, slots=True)
class Validators:
    """Identifies a representation: a strong entity tag with its quotes, and whole Unix seconds."""

    etag: str
    modified: int


def judge(headers: Mapping[str, str], validators: Validators) -> Verdict:
    """The verdict for a GET or HEAD with these headers (lower-case names), steps 1 to 4; `honours_range` is step 5."""
    if "if-match" in headers:
        if not _matches(headers["if-match"], validators.etag, weak=False):
            return Verdict.FAILED
    elif _modified_since(headers.get("if-unmodified-since"), validators.modified):
        return Verdict.FAILED
    if "if-none-match" in headers:
        if _matches(headers["if-none-match"], validators.etag, weak=True):
            return Verdict.NOT_MODIFIED
    elif _unmodified_since(headers.get("if-modified-since"), validators.modified):
        return Verdict.NOT_MODIFIED
    return Verdict.SEND


def honours_range(if_range: str | None, validators: Validators) -> bool:
    """Whether Range applies: there is no If-Range, or it names exactly this representation (section 13.1.5)."""
    if if_range is None:
        return True
    text = if_range.strip(" \t")
    if text.startswith(('"', "W/")):
        return text == validators.etag
    return parse_date(text) == validators.modified


def entity_tags(header: str) -> list[str]:
    """The tags of a list; commas inside the quotes belong to the tag. Empty for an invalid list."""
    return _TAG.findall(header) if _TAGS.fullmatch(header) else []


def _matches(header: str, etag: str, *, weak: bool) -> bool:
    """Weak comparison ignores `W/`; strong comparison never matches a weak tag (section 8.8.3.2)."""
    if header.strip(" \t") == "*":
        return True
    tags = entity_tags(header)
    return etag in ([tag.removeprefix("W/") for tag in tags] if weak else tags)


def _modified_since(header: str | None, modified: int) -> bool:
    date = parse_date(header) if header is not None else None
    return date is not None and modified > date


def _unmodified_since(header: str | None, modified: int) -> bool:
    date = parse_date(header) if header is not None else None
    return date is not None and modified <= date
