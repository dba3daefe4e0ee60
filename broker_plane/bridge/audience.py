"""Identifies pullers over HTTP by their bearer tokens (RFC 6750). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from broker_plane.errors import ConfigError, WireError
from broker_plane.wire.names import parse_asker

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)\Z", re.IGNORECASE)
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Audiences:
    """Names of pullers by the SHA-256 (hex) of their tokens, which only the pullers know."""

    names: Mapping[str, str] = field(default_factory=dict)

    def who(self, headers: Mapping[str, str]) -> str:
        """The name of the puller that sent these headers (lower-case names); empty without a known token."""
        token = _BEARER.match(headers.get("authorization", "").strip())
        return self.names.get(sha256(token[1].encode()).hexdigest(), "") if token else ""


NO_AUDIENCES = Audiences()


def load_audiences(setting: str) -> Audiences:
    """The audiences in a comma-separated list of `name=sha256`, or in a file with one per line.

    Raises:
        ConfigError: the file cannot be read, or an entry is malformed.
    """
    text = setting
    if setting and "=" not in setting:
        try:
            text = Path(setting).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"BROKER_PLANE_AUDIENCES names a file that cannot be read: {error}") from error
    lines = (line.partition("#")[0] for line in text.splitlines())
    entries = [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]
    return Audiences(dict(map(_entry, entries)))


def _entry(entry: str) -> tuple[str, str]:
    name, _, digest = entry.partition("=")
    digest = digest.strip().lower().removeprefix("sha256:")
    try:
        parse_asker(name.strip())
    except WireError as error:
        raise ConfigError(f"BROKER_PLANE_AUDIENCES: {error}") from error
    if not _DIGEST.match(digest):
        raise ConfigError(
            f"BROKER_PLANE_AUDIENCES: {name.strip()}= needs the SHA-256 of its token, 64 characters of hex"
        )
    return digest, name.strip()
