"""The MCP server of these tests: a resource tool, and a consumer tool. `python -m tests.agents.people PORT`."""

from __future__ import annotations

import sys
from hashlib import sha256
from typing import Any

from broker_plane import PlaneServer

server = PlaneServer("people")
COLUMNS = ["name", "team"]


def people() -> list[dict[str, Any]]:
    return [
        {"name": f"Person {n}", "team": "AB"[n % 2], "salary": 51_000_000 + n, "note": f"hört “nichts” {n}\nweiter"}
        for n in range(40)
    ]


def digest(rows: list[dict[str, Any]]) -> str:
    return sha256(repr([sorted(row.items()) for row in rows]).encode()).hexdigest()


@server.resource_tool()
def get_people() -> list[dict[str, Any]]:
    """Everybody."""
    return people()


@server.consumer_tool()
def draw(rows: list[dict[str, Any]]) -> str:
    """Draw them."""
    return f"drawn {len(rows)} {digest(rows)}"


if __name__ == "__main__":
    server.run("streamable-http", port=int(sys.argv[1]))
