"""Files that only this user may read, replaced atomically."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Replace the content of a file, which gets mode 0600.

    Two processes that write the same file at once would share a temporary file beside it: where that can happen, a lock
    keeps them apart. With `durable` the content survives a power loss; otherwise the file may then be empty.
    """
    draft = Path(f"{path}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    draft.replace(path)
