"""The MCP server of these tests, with a resource, a plain and a consumer tool: `python -m tests.agents.people PORT`."""

from __future__ import annotations

import json
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


def directory() -> list[dict[str, Any]]:
    """1.2 MB of JSON."""
    return [
        {"name": f"Entry {n}", "team": "AB"[n % 2], "salary": 61_000_000 + n, "note": f"said “nothing” {n} " * 7}
        for n in range(6000)
    ]


def digest(rows: list[dict[str, Any]]) -> str:
    return sha256(repr([sorted(row.items()) for row in rows]).encode()).hexdigest()


@server.resource_tool()
def get_people() -> list[dict[str, Any]]:
    """Everybody."""
    return people()


@server.mcp.tool()
def get_directory() -> str:
    """Everybody, as any tool of anybody returns it."""
    return json.dumps(directory(), ensure_ascii=False)


@server.consumer_tool()
def draw(rows: list[dict[str, Any]]) -> str:
    """Draw them."""
    return f"drawn {len(rows)} {digest(rows)}"


if __name__ == "__main__":
    server.run("streamable-http", port=int(sys.argv[1]))
