"""An MCP server whose tool is idempotent by key, and which a test leads from step to step: `keyed_server.py:server`.

Everything that happens is in files below `directory/<digest of the key>`: the process may be killed at any time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
from mcp.server.mcpserver import Context, MCPServer

KEY = "io.broker-plane/idempotencyKey"
_POLL_SECONDS = 0.01

server = MCPServer("keyed", log_level="ERROR")


def place_of(directory: Path, key: str) -> Path:
    """Where the files of the call with this key are: `steps`, `open`, `effect` and `effects`."""
    return directory / sha256(key.encode()).hexdigest()[:16]


@server.tool()
async def work(directory: str, steps: int, ctx: Context) -> dict[str, str]:
    """Report each step, have an effect half-way, and go on after each step when the test allows it."""
    meta: Mapping[str, Any] = ctx.request_context.meta or {}
    place = place_of(Path(directory), meta[KEY])
    place.mkdir(exist_ok=True)
    for step in range(1, steps + 1):
        if step == steps // 2:
            _have_effect(place)
        _append(place / "steps", f"{os.getpid()} {step}")
        await ctx.report_progress(step, steps)
        await _allowed(place, step)
    return {"effect": (place / "effect").read_text()}


def _have_effect(place: Path) -> None:
    """Once for each key: a link is made whole or not at all, and fails where its name exists."""
    written = place / uuid4().hex
    written.write_text(written.name)
    with suppress(FileExistsError):
        os.link(written, place / "effect")
        _append(place / "effects", written.name)


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


async def _allowed(place: Path, step: int) -> None:
    """Wait until the test allows what comes after `step`."""
    while not _reached(place / "open", step):  # noqa: ASYNC110  # of another process: nothing here could set an event
        await anyio.sleep(_POLL_SECONDS)


def _reached(path: Path, step: int) -> bool:
    try:
        return int(path.read_text() or 0) >= step
    except FileNotFoundError:
        return False
