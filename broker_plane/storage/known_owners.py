"""The public keys of owners that this machine has seen, as ssh knows its hosts: one line each, `<owner> <key>`."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from broker_plane.wire.names import is_owner

log = logging.getLogger(__name__)

_KEY_CHARACTERS = 43


class KnownOwnersFile:
    """The KnownOwners port. A file that cannot be used is a warning: keys are then known to this process only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, str] | None = None

    def key_of(self, owner: str) -> str:
        return self._known().get(owner, "")

    def remember(self, owner: str, key: str) -> None:
        self._known()[owner] = key
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+", encoding="ascii") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(f"{owner} {key}\n")  # the last line of an owner counts
        except OSError as error:
            log.warning("%s cannot be written (%s): owners' keys are not remembered", self._path, error.strerror)

    def _known(self) -> dict[str, str]:
        if self._keys is None:
            self._keys = _read(self._path)
        return self._keys


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text("ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        log.warning("%s cannot be read (%s): owners' keys are not remembered", path, error.strerror)
        return {}
    found = (line.split() for line in lines)
    return {words[0]: words[1] for words in found if len(words) == 2 and _is_known(*words)}


def _is_known(owner: str, key: str) -> bool:
    return is_owner(owner) and len(key) == _KEY_CHARACTERS
