"""An MCP server that offers marked bodies: `python -m tests.model.serving`.

A tool for each number of uses: `rows_1(name, count)` and `raw_1(name, size)` give what tests/model/bodies.py makes.
"""

from __future__ import annotations

from typing import Any

from broker_plane import PlaneServer
from tests.model.bodies import make_bytes, make_rows

USES = (0, 1, 2, 3)
CELL_BYTES = 120


def make_server() -> PlaneServer:
    server = PlaneServer("offering")
    for uses in USES:

        @server.resource_tool(f"rows_{uses}", uses=uses or "unlimited", ttl=900)
        def rows(name: str, count: int) -> list[dict[str, Any]]:
            return make_rows(name, count, CELL_BYTES)

        @server.resource_tool(f"raw_{uses}", uses=uses or "unlimited", ttl=900)
        def raw(name: str, size: int) -> bytes:
            return make_bytes(name, size)

    return server


if __name__ == "__main__":
    make_server().run()
