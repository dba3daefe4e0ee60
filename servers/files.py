"""files: lists the files of one directory, and gives transfer descriptors, with which their bytes can be pulled.

BROKER_PLANE_FILES_DIR=… python -m servers.files
"""

from __future__ import annotations

import mimetypes
import os
from pathlib import Path
from typing import Any

from mcp.server.mcpserver.exceptions import ToolError

from broker_plane import PlaneServer

DIRECTORY = "BROKER_PLANE_FILES_DIR"
server = PlaneServer("files")


@server.mcp.tool()
def list_files() -> dict[str, list[dict[str, Any]]]:
    """List the files: name, size in bytes and media type."""
    found = [
        {"name": path.name, "size": path.stat().st_size, "media_type": _type(path)}
        for path in sorted(_root().iterdir())
        if path.is_file()
    ]
    return {"files": found}


@server.mcp.tool()
async def offer_file(name: str) -> dict[str, Any]:
    """A transfer descriptor of one file, to be handed to a tool that takes a descriptor. Good for one transfer."""
    path = _root() / name
    if path.name != name or not path.is_file():
        raise ToolError(f"There is no file {name!r}; list_files names them")
    plane = await server.plane()
    published = await plane.publish(path, name=name, media_type=_type(path), uses=1)
    return published.descriptor().to_wire()


def _root() -> Path:
    if not os.environ.get(DIRECTORY):
        raise ToolError(f"{DIRECTORY} names the directory whose files are offered; it is not set")
    return Path(os.environ[DIRECTORY])


def _type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


if __name__ == "__main__":
    server.run()
