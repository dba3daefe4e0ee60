"""`python -m tests.bench`: broker_plane beside mcp-sd, and for a fan-out beside nginx, in one run, by turns.

Exit codes: 0 done, 1 failed, 2 usage, 75 the package index cannot be reached, so that there is no peer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench import readme
from tests.bench.cases import GROUPS, MCP_SD, NGINX, Case, cases
from tests.bench.conductor import Measured, Pair, measure, pair
from tests.bench.nginx import nginx_binary
from tests.bench.peer_env import PEER, PeerUnreachableError, default_dir, peer_python
from tests.bench.table import as_table, machine

UNREACHABLE = 75
FILE_WIDTH = 150


def groups(text: str) -> str:
    if not set(text.split(",")) <= set(GROUPS):
        raise argparse.ArgumentTypeError(f"groups are {','.join(GROUPS)}")
    return text


def positive(text: str) -> int:
    if not int(text) > 0:
        raise argparse.ArgumentTypeError("at least one round")
    return int(text)


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller tables and bodies, three rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample to FILE")
    parser.add_argument("--readme", action="store_true", help="write the headlines' rows into the README's table")
    parser.add_argument("--rounds", type=positive, metavar="N", help="recorded rounds of each row")
    parser.add_argument("--peer-env", type=Path, metavar="DIR", default=default_dir(), help="the peer's environment")
    parser.add_argument(
        "--only", type=groups, default=",".join(GROUPS), metavar=",".join(GROUPS), help="groups of rows"
    )
    return parser.parse_args(arguments)


async def run_all(drivers: Pair, asked: list[Case], console: Console) -> list[Measured]:
    """Every case, one after the other, under a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    measured: list[Measured] = []
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=sum(case.rounds + case.warm for case in asked))
        for case in asked:
            bar.update(task, description=case.name)
            measured += await measure(drivers, case, lambda: bar.advance(task))
    return measured


def interpreters(asked: list[Case], directory: Path) -> dict[str, Path]:
    """With which interpreter the driver of each peer runs that is asked; the peer is there then.

    Raises:
        PeerUnreachableError: it is not, and cannot be fetched.
    """
    found = {}
    for peer in {case.peer for case in asked}:
        if peer == NGINX:
            nginx_binary()
        found[peer] = peer_python(directory) if peer == MCP_SD else Path(sys.executable)
    return found


async def main(chosen: argparse.Namespace, asked: list[Case], peers: dict[str, Path]) -> None:
    console = Console(stderr=True)
    before = machine()
    with tempfile.TemporaryDirectory(prefix="broker-plane-bench-") as directory:
        async with pair(Path(sys.executable), peers, Path(directory)) as drivers:
            measured = await run_all(drivers, asked, console)
            versions = await drivers.versions()
    Console(width=None if sys.stdout.isatty() else FILE_WIDTH).print(as_table(measured, f"{PEER}, or as named"))
    if chosen.readme:
        readme.write(measured, [case.headline for case in cases(",".join(GROUPS), False, None) if case.headline])
    if chosen.json:
        run = {
            "machine": {**before, "load_after": os.getloadavg()[0]},
            "versions": versions,
            "rows": [entry.as_json() for entry in measured],
        }
        chosen.json.write_text(json.dumps(run, indent=1) + "\n")


if __name__ == "__main__":
    chosen = options(None)
    try:
        asked = cases(chosen.only, chosen.quick, chosen.rounds)
        asyncio.run(main(chosen, asked, interpreters(asked, chosen.peer_env)))
    except PeerUnreachableError as error:
        print(error, file=sys.stderr)
        raise SystemExit(UNREACHABLE) from error
