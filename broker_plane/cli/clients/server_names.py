"""The name under which a client lists a server, made from its command or URL. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from broker_plane.wire.urls import quoted

PLANE = "broker-plane"
"""The name of the plane's own tools."""

_RUNNERS = re.compile(r"(npx|uvx?|bunx?|pnpm|yarn|pipx|node|deno|tsx|python[\d.]*|py|docker|podman|env)\Z")
"""Programs that run another one, which says more."""

_VERBS = ("run", "exec", "dlx", "tool")
_ASIDE = re.compile(r"-|[A-Z_][A-Z0-9_]*=")
"""Options, and variables for `env`."""

_OTHERS = re.compile(r"[^A-Za-z0-9_-]+")
"""Characters that some clients refuse in names."""


def name_of(upstream: Sequence[str]) -> str:
    """The host of a URL, or the program or package that a command runs: `files` for `npx -y @acme/files@1.2`."""
    program = upstream[0]
    if program.startswith(("http://", "https://")):
        return _cleaned(urlsplit(program).hostname or "")
    stem = _stem(program)
    if _RUNNERS.match(stem):
        named = (word for word in upstream[1:] if word not in _VERBS and not _ASIDE.match(word))
        stem = _stem(next(named, program))
    return _cleaned(stem)


def _stem(word: str) -> str:
    """The last part of a path or package, without extension or version."""
    last = PurePosixPath(word.replace("\\", "/")).name
    last = re.split(r"[@\[<>~=]", last, maxsplit=1)[0] or last
    return re.sub(r"\.(exe|cmd|m?[jt]s|cjs|py|sh)\Z", "", last)


def _cleaned(text: str) -> str:
    return _OTHERS.sub("-", text).strip("-") or PLANE


def upstream_text(upstream: Sequence[str]) -> str:
    """What an entry runs, for a message."""
    return quoted(" ".join(upstream)) if upstream else "the plane's own tools"
