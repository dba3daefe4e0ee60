"""What the log of a server has of a tool that raised: one traceback, as Python writes it."""

from __future__ import annotations

import subprocess
import sys

import pytest

CALL = """
import asyncio
from mcp import Client

def lookup(area: str) -> list[dict]:
    raise LookupError(f"there is no area {area}, which is a sentence that a narrow box would break into lines")

async def main(server):
    async with Client(server) as client:
        print((await client.call_tool("lookup", {"area": "X"})).content[0].text)
"""
PLANE_SERVER = f"""{CALL}
from broker_plane import PlaneServer
server = PlaneServer("log")
server.resource_tool(lookup)
asyncio.run(main(server.mcp))
"""
SDK_SERVER = f"""{CALL}
from mcp.server.mcpserver import MCPServer
from broker_plane.tools import resource_tool
server = MCPServer("log", log_level="WARNING")
server.tool()(resource_tool(lookup))
asyncio.run(main(server))
"""


@pytest.mark.parametrize("program", [PLANE_SERVER, SDK_SERVER], ids=["PlaneServer", "MCPServer"])
def test_the_log_has_one_readable_traceback(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("Error executing tool lookup: LookupError: there is no area X, which is")
    assert done.stderr.count("Traceback (most recent call last):") == 1
    assert "\\u256d" not in done.stderr.encode("unicode_escape").decode()
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith("LookupError: there is no area X") and last.endswith("into lines")
    assert "in lookup" in done.stderr and "site-packages" not in done.stderr
