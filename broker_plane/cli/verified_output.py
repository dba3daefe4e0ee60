"""Standard output as the output of what writes files: it gets nothing before all of it is verified."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import anyio

from broker_plane.cli.pull_output import output_target
from broker_plane.files.atomic import read


@contextmanager
def file_for(output: str) -> Iterator[Path]:
    """The file to write: the output itself, or a temporary one for `-`, which is removed."""
    if output != "-":
        yield Path(output)
        return
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory, "output")


async def copy_out(path: Path) -> None:
    """Copy a complete file to standard output.

    Raises:
        OutputError: the reader has closed it.
    """
    size = (await anyio.Path(path).stat()).st_size
    async with output_target("-") as target, aclosing(read(path, 0, size)) as pieces:
        async for piece in pieces:
            target.write(piece)
        target.commit()
