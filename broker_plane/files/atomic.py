"""Files that are there only when they are whole. What is left of one that broke off may be gone on with."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import anyio
import anyio.to_thread

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.bodies.publish import Progress, report_progress

_PIECE_BYTES = 1 << 18


def part_of(path: Path) -> Path:
    """Where the file `path` grows."""
    return path.with_name(path.name + ".part")


async def begun(path: Path) -> int:
    """How many bytes of `path` an earlier attempt left."""
    part = anyio.Path(part_of(path))
    return (await part.stat()).st_size if await part.is_file() else 0


async def write(
    pieces: AsyncGenerator[bytes, None],
    path: Path,
    progress: Progress | None = None,
    total: int | None = None,
    *,
    after: int = 0,
    keep: bool = False,
) -> int:
    """The size of a file that is there only when all of `pieces` came.

    The first `after` bytes of them stand in the part already. With `keep` the part stays after a cancellation and after
    an error that a later call may not meet, and a file that is there has outlived a power cut.
    """
    part = part_of(path)
    size = 0
    try:
        async with aclosing(pieces), await anyio.open_file(part, "r+b" if after else "wb") as file:
            await file.seek(after)
            async for piece in pieces:
                size += len(piece)
                if size > after:
                    await file.write(piece)
                await report_progress(progress, size, total)
            if keep:
                await file.flush()
                await anyio.to_thread.run_sync(os.fsync, file.wrapped.fileno())
    except BaseException as error:
        if not keep or (isinstance(error, BrokerPlaneError) and not error.retryable):
            part.unlink(missing_ok=True)  # without a turn of the loop: a cancelled task would not get one
        raise
    await anyio.Path(part).replace(path)
    return size


async def read(
    path: Path, start: int, stop: int, progress: Progress | None = None, total: int | None = None
) -> AsyncGenerator[bytes, None]:
    """The bytes of a file from `start` to `stop`; `progress` hears of each piece when the next one is asked for."""
    async with await anyio.open_file(path, "rb") as file:
        await file.seek(start)
        while start < stop and (piece := await file.read(min(_PIECE_BYTES, stop - start))):
            start += len(piece)
            yield piece
            await report_progress(progress, start, total)


async def write_at_once(path: Path, raw: bytes) -> None:
    """The file has these bytes, or those that it had."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield raw

    await write(pieces(), path, keep=True)
