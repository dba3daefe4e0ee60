"""What `install` changed: the previous entry of each server, so that `uninstall` restores it exactly."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from broker_plane.wire.exact_json import MALFORMED, loads

_FILE = "client-entries.json"
_MODE = 0o600
"""Entries have keys and tokens of servers."""


class Records:
    """The records of one user, in the data directory. A file that cannot be read counts as empty."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _FILE

    def before(self, file: Path, name: str) -> dict[str, Any] | None:
        """`{"entry": the previous entry, or null if there was none}`; None if nothing is known."""
        found = self._all().get(_key(file, name))
        return found if isinstance(found, dict) and "entry" in found else None

    def note(self, file: Path, name: str, entry: Any) -> None:
        """Note the entry that was there before a change; None if there was none."""
        self._write({**self._all(), _key(file, name): {"entry": entry}})

    def forget(self, file: Path, name: str) -> None:
        known = self._all()
        if known.pop(_key(file, name), None) is not None:
            self._write(known)

    def _all(self) -> dict[str, Any]:
        with suppress(OSError, *MALFORMED):
            found = loads(self._path.read_bytes())
            return found if isinstance(found, dict) else {}
        return {}

    def _write(self, records: dict[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f"{_FILE}.part")
        part.touch(_MODE)
        part.write_text(json.dumps(records, indent=1))
        part.replace(self._path)


def _key(file: Path, name: str) -> str:
    return f"{file.absolute()}#{name}"
