"""Block files that keep nats-server from starting.

nats-server truncates most damage, but if the length of a message header is damaged, version 2.15.1 crashes with a nil
pointer at every start. Its last log lines name stream and file. Without that file it starts; the file's contents are
lost and reported per body, and the state of grants is restored from its copy (storage/copies.py).
"""

from __future__ import annotations

import re
from pathlib import Path

_NAMED = re.compile(r"Filestore \[([A-Za-z0-9_-]+)\] Error loading msg .*? in (\d+\.blk)")


def named_block(line: str) -> tuple[str, str] | None:
    """Stream and block file that a log line of nats-server reports as unreadable."""
    found = _NAMED.search(line)
    return (found[1], found[2]) if found else None


def set_aside(store: Path, stream: str, block: str, directory: Path) -> list[Path]:
    """Move the block files of that name to `directory`, for inspection."""
    moved = []
    for path in sorted(store.glob(f"**/streams/{stream}/msgs/{block}")):
        directory.mkdir(mode=0o700, exist_ok=True)
        number = sum(1 for _ in directory.iterdir())
        moved.append(path.rename(directory / f"{stream}-{block}-{number}"))
    return moved
