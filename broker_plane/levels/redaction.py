"""What generated code said of a run, without what must not reach a log or a model. Pure.

Code never has the credential, but an endpoint may repeat it; and the code has the endpoint and the parameters, which
may be as good as one (presigned URLs, keys among the parameters).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_plus, urlsplit

from broker_plane.levels.keys import parameters_of
from broker_plane.sandbox.ports import MAX_DETAIL_BYTES
from broker_plane.transfer.secret_filter import MIN_SECRET_BYTES, spellings
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.nesting import levels
from broker_plane.wire.urls import redact

_WORD = re.compile(r"[A-Z]?[a-z_.-]*")
"""A segment of a path that is an ordinary word, which an error may say."""

_CUT = "…"
_MIN_PATH = 4
"""A shorter path, such as `/`, is a part of ordinary text."""


def redacted_detail(text: str, descriptor: Descriptor) -> str:
    """At most MAX_DETAIL_BYTES of `text`; credential, grants, parameters, and all of the endpoint but scheme, host and
    port are replaced by `…`.
    """
    secrets = _secrets(descriptor)
    text = _without_rests(text, secrets)
    found = sorted((each for each in secrets if each in text), key=len, reverse=True)
    if found:
        text = re.sub("|".join(map(re.escape, found)), "…", text)
    raw = redact(text).encode(errors="replace")
    return raw[:MAX_DETAIL_BYTES].decode(errors="ignore")


def _without_rests(text: str, secrets: Iterable[str]) -> str:
    """`text` without the end of a secret after each place where the sandbox cut off what was before."""
    kept, *others = text.split(_CUT)
    for rest in others:
        begin = rest[:MIN_SECRET_BYTES]
        cut = max((_rest_of(each, rest, begin) for each in secrets), default=0) if len(begin) == MIN_SECRET_BYTES else 0
        kept += _CUT + rest[cut:]
    return kept


def _rest_of(secret: str, text: str, begin: str) -> int:
    """The number of characters of the longest end of `secret` that `text` begins with; it begins with `begin`."""
    at = secret.find(begin)
    while at >= 0 and not text.startswith(secret[at:]):
        at = secret.find(begin, at + 1)
    return len(secret) - at if at >= 0 else 0


def _secrets(descriptor: Descriptor) -> set[str]:
    secrets = descriptor.auth.value or "" if descriptor.auth else ""
    parts = urlsplit(descriptor.endpoint)
    found = {each.decode() for each in spellings(secrets)} | ({secrets} if secrets else set())
    found |= {each for each in (parts.path, unquote_plus(parts.path)) if len(each) >= _MIN_PATH}
    values = {part.partition("=")[2] for part in f"{parts.query}&{parts.fragment}".split("&")} | {parts.fragment}
    values |= {parts.username or "", parts.password or "", parts.netloc.rpartition("@")[0]}
    values |= {segment for segment in parts.path.split("/") if not _WORD.fullmatch(segment)}
    values |= set(map(unquote_plus, values))
    values |= set(_texts(parameters_of(descriptor)))
    found |= {value for value in values if len(value) >= MIN_SECRET_BYTES}
    return found | ({parts.query} if parts.query else set())


def _texts(value: object) -> Iterator[str]:
    """The texts among the members of a JSON value, at any depth; names are not among them."""
    for values, _ in levels([value]):
        yield from (each for each in values if isinstance(each, str))
