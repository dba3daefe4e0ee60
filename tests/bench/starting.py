"""`python -m tests.bench.starting`: how long a start takes, by turns in one run.

A server's start is from the start of its process until it has answered `tools/list` over stdio; ours is set beside
the same server made with the SDK's MCPServer alone. `up` is until it has said where it runs, on an empty directory.
Modules are compiled before, as an installation does; what a bare interpreter takes stands beside. CPU time is
the second opinion on a machine that others use.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

from rich.console import Console
from rich.table import Table

from tests.bench.lines import ROOT

ROUNDS = 9
BARE = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("bare")
@server.tool()
def get_alerts(area: str) -> list[dict]:
    "Alerts."
    return [{"event": "Flood"}]
server.run()
"""
OURS = """
from broker_plane import PlaneServer
server = PlaneServer("ours")
@server.resource_tool()
def get_alerts(area: str) -> list[dict]:
    "Alerts."
    return [{"event": "Flood"}]
server.run()
"""
_CLIENT = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
ASKED = (
    {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": _CLIENT},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
)


def ran(code: str) -> float:
    """Milliseconds of an interpreter that runs `code` and ends."""
    start = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=compiled())
    return (perf_counter() - start) * 1e3


def served(code: str) -> float:
    """Milliseconds until an MCP server over stdio has said its tools."""
    lines = b"".join(json.dumps(line).encode() + b"\n" for line in ASKED)
    start = perf_counter()
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=ROOT, env=compiled(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(lines)
        process.stdin.flush()
        while json.loads(process.stdout.readline()).get("id") != ASKED[-1]["id"]:
            pass
        taken = (perf_counter() - start) * 1e3
        process.stdin.close()
    return taken


def up() -> float:
    """Milliseconds until `broker-plane up` has said where broker and bridge run; they are ended after it."""
    with tempfile.TemporaryDirectory(prefix="broker-plane-start-") as directory:
        env = {**compiled(), "BROKER_PLANE_DATA_DIR": str(Path(directory) / "store")}
        command = [sys.executable, "-m", "broker_plane.cli.main"]
        start = perf_counter()
        with subprocess.Popen([*command, "up", "--json"], cwd=ROOT, env=env, stdout=subprocess.PIPE) as process:
            assert process.stdout
            said = process.stdout.readline()
            taken = (perf_counter() - start) * 1e3
            process.terminate()
        assert json.loads(said)["bridge"], said
    return taken


def cpu_ms() -> float:
    """Of all processes that were waited for: of `up` the command alone, and not what it leaves behind it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1e3


def compiled() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


STARTS: dict[str, Callable[[], float]] = {
    "python -c pass": lambda: ran("pass"),
    "python -c 'import mcp.server.mcpserver'": lambda: ran("import mcp.server.mcpserver"),
    "MCPServer, until it has said its tools": lambda: served(BARE),
    "PlaneServer, until it has said its tools": lambda: served(OURS),
    "broker-plane up, until it is ready": up,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="one JSON object of all samples, in milliseconds")
    chosen = parser.parse_args()
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in STARTS}
    for turn in range(chosen.rounds + 1):
        for name, start in STARTS.items():
            before = cpu_ms()
            taken = start()
            if turn:  # the first compiles
                samples[name].append((taken, cpu_ms() - before))
    if chosen.json:
        print(json.dumps(samples))
        return
    shown = Table("start", "median, ms", "fastest", "of them CPU, median")
    bare, ours = (found for name, found in samples.items() if "said its tools" in name)
    above = [(our[0] - their[0], our[1] - their[1]) for our, their in zip(ours, bare, strict=True)]
    for name, found in {**samples, "PlaneServer above MCPServer, by turns": above}.items():
        wall, cpu = [each[0] for each in found], [each[1] for each in found]
        shown.add_row(name, f"{median(wall):,.0f}", f"{min(wall):,.0f}", f"{median(cpu):,.0f}")
    Console().print(shown)


if __name__ == "__main__":
    main()
