"""Files that are published as bodies."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio

_PIECE_BYTES = 1 << 19


class LocalFiles:
    """The SourceFiles port on the file system."""

    async def size(self, path: Path) -> int:
        return (await anyio.Path(path).stat()).st_size

    async def read(self, path: Path) -> AsyncGenerator[bytes, None]:
        async with await anyio.open_file(path, "rb") as file:
            while piece := await file.read(_PIECE_BYTES):
                yield piece
