"""Runs a demo script of mcp-sd's as it is: `python -m tests.agents.with_weather SCRIPT API [ARGUMENT…]`.

Only its surroundings change: the weather service is at `API`, and `mcp.server.fastmcp`, which MCP SDK 2 has not, has
the one name that the script imports.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from mcp.server.mcpserver.utilities.types import Image


def main(script: str, api: str, *arguments: str) -> None:
    for name in ("mcp.server.fastmcp", "mcp.server.fastmcp.utilities", "mcp.server.fastmcp.utilities.types"):
        sys.modules[name] = ModuleType(name)
    types: Any = sys.modules["mcp.server.fastmcp.utilities.types"]
    types.Image = Image
    sys.path.insert(0, str(Path(script).parent))
    import weather_server  # type: ignore[import-not-found]  # the script's own

    weather_server.NWS_API = api
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
