"""Block files that nats-server cannot read at its start.

It cuts most damage off. Where the length of a message's header is damaged, nats-server 2.15.1 ends with a nil pointer
instead, at every start. Its last words name stream and file. Without that file it starts: what stood in it is lost,
which is said of each body, and the state of grants is restored from its copy (storage/copies.py).
"""

from __future__ import annotations

import re
from pathlib import Path

_NAMED = re.compile(r"Filestore \[([A-Za-z0-9_-]+)\] Error loading msg .*? in (\d+\.blk)")


def named_block(line: str) -> tuple[str, str] | None:
    """Stream and block file that a line of nats-server's log calls unreadable."""
    found = _NAMED.search(line)
    return (found[1], found[2]) if found else None


def set_aside(store: Path, stream: str, block: str, directory: Path) -> list[Path]:
    """The block files of that name have been moved to `directory`, for whoever wants to look into them."""
    moved = []
    for path in sorted(store.glob(f"**/streams/{stream}/msgs/{block}")):
        directory.mkdir(mode=0o700, exist_ok=True)
        number = sum(1 for _ in directory.iterdir())
        moved.append(path.rename(directory / f"{stream}-{block}-{number}"))
    return moved
