"""Searches the memory of a running process from outside (Linux: /proc/PID/maps and mem, proc(5))."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PIECE = 1 << 22


@dataclass(frozen=True, slots=True)
class Looked:
    """How many of the values were found, and how many bytes were searched."""

    found: int
    bytes: int


def look(pid: int, values: Sequence[str]) -> Looked | None:
    """Search the writable memory of a process for `values`; None if this system does not permit reading it."""
    wanted = {value.encode() for value in values}
    overlap = max(map(len, wanted), default=1) - 1
    found: set[bytes] = set()
    seen = 0
    try:
        regions = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for start, end in filter(None, map(_written, regions)):
                for at in range(start, end, _PIECE):
                    piece = _read(memory.fileno(), at, min(_PIECE + overlap, end - at))
                    seen += min(len(piece), _PIECE)
                    found |= {value for value in wanted - found if value in piece}
    except OSError:
        return None
    return Looked(len(found), seen)


def _written(region: str) -> tuple[int, int] | None:
    """Return the start and end of a region if it is writable and not a device's."""
    place, rights, _, _, inode, *name = region.split(maxsplit=5)
    if not rights.startswith("rw") or (inode != "0" and name and name[0].startswith("/dev")):
        return None
    start, _, end = place.partition("-")
    return int(start, 16), int(end, 16)


def _read(handle: int, at: int, size: int) -> bytes:
    try:
        return os.pread(handle, size, at)
    except OSError:  # unmapped meanwhile, or never touched
        return b""
