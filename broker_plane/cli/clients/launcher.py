"""How a client starts broker-plane: by this interpreter, or by a command that works on other machines as well."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from broker_plane.errors import ConfigError

_NAME = "broker-plane"
# -P: clients start servers in the project's directory, whose files must not be imported.
_MODULE = ("-P", "-m", "broker_plane.cli.main")
_EARLIER = ("-m", "broker_plane.cli.main")
"""As earlier versions wrote them."""

_PACKAGE = re.compile(_NAME + r"(\[[^\]]*\])?([=@<>~!].*)?")
"""The package as uv takes it: with extras and a version."""

_WITH_VALUE = (["--from"], ["--with"], ["--package"])

_CACHED = re.compile(r"(?:archive|environments|builds)-v\d+")
"""Directories in the cache of uv, in which `uvx` makes its environments."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """The command that starts broker-plane, and the arguments before its own."""

    command: str
    args: tuple[str, ...]

    def entry(self, arguments: list[str]) -> dict[str, object]:
        """The members of a server's entry."""
        return {"command": self.command, "args": [*self.args, *arguments]}


def launcher_of(*, portable: bool, prefix: Path | None = None, found: Distribution | None = None) -> Launcher:
    """The launcher for an entry. A portable one names no path of this machine.

    It is `uvx broker-plane` if uv installed the package from an index, else `broker-plane`, which has to be on PATH.
    `prefix` and `found` are the environment and the installed package, those of this process by default.

    Raises:
        ConfigError: the package runs from a cache that may be emptied, and no index has it.
    """
    found = found or _installed()
    from_index = found is not None and found.read_text("direct_url.json") is None  # PEP 610
    by_uv = found is not None and (found.read_text("INSTALLER") or "").strip() == "uv"
    cached = _is_cached(prefix or Path(sys.prefix))
    if from_index and by_uv and (portable or cached):
        return Launcher("uvx", (_NAME,))
    if portable:
        return Launcher(_NAME, ())
    if cached:
        raise ConfigError(
            "This broker-plane runs from a cache of uv, which may be emptied, and was not installed from an index. "
            "Install it with `uv tool install` or pip, and run the command again"
        )
    return Launcher(sys.executable, _MODULE)


def arguments_of(command: object, args: list[str]) -> list[str] | None:
    """The arguments of broker-plane in an entry's command; None if the command is another program."""
    stem = Path(command).stem if isinstance(command, str) else ""
    if stem == _NAME:
        return args
    if stem in ("uv", "uvx"):
        places = [place for place, word in enumerate(args) if _PACKAGE.fullmatch(word)]
        return next((args[place + 1 :] for place in places if args[place - 1 : place] not in _WITH_VALUE), None)
    for ours in (_MODULE, _EARLIER):
        if tuple(args[: len(ours)]) == ours:
            return args[len(ours) :]
    return None


def is_earlier(args: list[str]) -> bool:
    """Whether the arguments are those of an earlier version, without -P."""
    return tuple(args[: len(_EARLIER)]) == _EARLIER


def _installed() -> Distribution | None:
    try:
        return distribution(_NAME)
    except PackageNotFoundError:  # a checkout on PYTHONPATH
        return None


def _is_cached(prefix: Path) -> bool:
    chosen = os.environ.get("UV_CACHE_DIR")
    if chosen and prefix.is_relative_to(Path(chosen).absolute()):
        return True
    return any(_CACHED.fullmatch(part) for part in prefix.parts)
