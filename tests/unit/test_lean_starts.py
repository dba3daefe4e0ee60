"""What a start waits for is what it imports: these modules are not among it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.main import get_command

from broker_plane.cli.main import app_of

SERVER = """
from broker_plane import PlaneServer
server = PlaneServer("lean")
@server.resource_tool()
def get(area: str) -> list[dict]:
    return []
@server.consumer_tool()
async def count(rows: list[dict]) -> str:
    return ""
"""
ROOMS = ("broker_plane.runtime", "broker_plane.storage")
STARTS = {
    "a server without a body": (SERVER, ("nats", *ROOMS)),
    "the command up": (
        "from broker_plane.cli.main import app_of; app_of('up')",
        ("asyncio", "mcp", "nats", "pydantic", "rich.console", "uvicorn", *ROOMS),
    ),
    "a supervisor": ("import broker_plane.embedded.supervisor", ("asyncio", "mcp", "nats", "pydantic")),
    "a bridge": (
        "import broker_plane.cli.bridge",
        (
            "mcp",
            "httpx2",
            "pycrdt",
            "pydantic",
            "rich",
            "typer",
            "difflib",
            "rfc8785",
            "tomllib",
            "broker_plane.formats",
            "broker_plane.plane.feeds",
            "broker_plane.plane.sessions",
            "broker_plane.query",
            "broker_plane.reading",
            "broker_plane.registry",
            "broker_plane.tabular.codec",
            "broker_plane.validators",
        ),
    ),
}


@pytest.mark.parametrize("start", STARTS)
def test_what_a_start_need_not_import_it_does_not(start: str) -> None:
    code, absent = STARTS[start]
    command = f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, timeout=60)
    modules = json.loads(done.stdout)
    assert [name for name in absent if name in modules] == []


def test_a_command_is_found_alone_as_it_is_among_all() -> None:
    everything = get_command(app_of()).commands  # type: ignore[attr-defined]  # it is a group
    for name, command in everything.items():
        alone = get_command(app_of(name)).commands[name]  # type: ignore[attr-defined]
        assert [each.name for each in alone.params] == [each.name for each in command.params], name
        assert alone.help == command.help
    assert len(get_command(app_of("up")).commands) < len(everything)  # type: ignore[attr-defined]
