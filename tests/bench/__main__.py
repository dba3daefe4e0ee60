"""`python -m tests.bench`: broker_plane beside mcp-sd, nginx, bare NATS and a y-websocket server, in one run, by turns.

With `--against REF` instead: this working tree beside the code of a git ref, by turns, over the same rows. Each row
prints the ratio (now ÷ REF) and its 95 % interval. A row is slower if the whole interval lies above 1.03 after at most
40 rounds and a second run agrees; the command makes that second run itself, for the rows that look slower. A row ends
early when its interval lies below 1.03 or is narrow. REF is built once and kept in the user's cache directory; it runs
with the packages of this environment.

Exit codes: 0 done, 1 failed, or a row is slower, or none can be compared, 2 usage, or there is no such REF, 75 the
package index cannot be reached, so that there is no peer, 130 interrupted; whatever was started has been ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench import readme
from tests.bench.against import as_table as comparison
from tests.bench.against import rows_of, run, said
from tests.bench.aims import met_or_not
from tests.bench.cases import GROUPS, MCP_SD, NGINX, YJS, Case, cases
from tests.bench.conductor import Measured, Pair, measure, pair
from tests.bench.nginx import nginx_binary
from tests.bench.peer_env import PEER, PeerUnreachableError, default_dir, peer_python
from tests.bench.ref_env import RefError, past, present
from tests.bench.sides import Sides
from tests.bench.table import as_table, machine
from tests.bench.yjs import yjs_modules

FAILED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 75, 130
ROUNDS, MINUTES = 40, 25
FILE_WIDTH = 150


def positive(text: str) -> int:
    if not int(text) > 0:
        raise argparse.ArgumentTypeError("at least one round")
    return int(text)


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", metavar="REF", help="compare this working tree with a git ref, and with no peer")
    parser.add_argument("--quick", action="store_true", help="smaller tables and bodies; beside a peer three rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample to FILE")
    parser.add_argument(
        "--readme", action="store_true", help="write the headlines' rows into docs/performance.md and the README"
    )
    parser.add_argument("--rounds", type=positive, metavar="N", help=f"of each row; --against: at most, else {ROUNDS}")
    minutes = f"how long --against may take, about; {MINUTES} unless said. Heavy rows get fewer rounds for it"
    parser.add_argument("--minutes", type=positive, metavar="N", default=MINUTES, help=minutes)
    parser.add_argument("--peer-env", type=Path, metavar="DIR", default=default_dir(), help="the peer's environment")
    only = f"groups of rows ({','.join(GROUPS)}), or a part of a row's name; all rows unless said"
    parser.add_argument("--only", default=",".join(GROUPS), metavar="ROWS", help=only)
    chosen = parser.parse_args(arguments)
    if not cases(chosen.only, chosen.quick, chosen.rounds):
        parser.error(f"--only {chosen.only}: no such row; groups are {','.join(GROUPS)}")
    if chosen.against is not None and chosen.readme:
        parser.error("--readme is for the rows beside a peer, and not with --against")
    return chosen


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
        if peer == YJS:
            yjs_modules()
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
    for aim in met_or_not(measured):
        console.print(escape(str(aim)), soft_wrap=True)
    if chosen.readme:
        readme.write_all(measured, [case.headline for case in cases(",".join(GROUPS), False, None) if case.headline])
    if chosen.json:
        run = {
            "machine": {**before, "load_after": os.getloadavg()[0]},
            "versions": versions,
            "rows": [entry.as_json() for entry in measured],
        }
        chosen.json.write_text(json.dumps(run, indent=1) + "\n")


async def compare(chosen: argparse.Namespace, asked: list[Case], pair: Sides) -> int:
    """The rows of `--against`; 1 if one of them is slower or failed here, or if none could be compared."""
    console = Console(stderr=True, soft_wrap=True)
    before = machine()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    rows = await run(pair, asked, chosen.rounds or ROUNDS, chosen.minutes, lambda row: console.print(escape(said(row))))
    Console(width=None if sys.stdout.isatty() else FILE_WIDTH).print(comparison(rows, pair.ref.name))
    if chosen.json:
        found = {
            "machine": {**before, "load_after": os.getloadavg()[0]},
            "against": {"ref": chosen.against, "commit": pair.ref.name},
            "rows": [row.as_json() for row in rows],
        }
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    if all(row.first.interval is None for row in rows):
        print(f"No row could be compared with {chosen.against}; name a later commit", file=sys.stderr)
        return FAILED
    return FAILED if any(row.is_slower or row.verdict == "failed" for row in rows) else 0


def against(chosen: argparse.Namespace) -> int:
    asked = rows_of(cases(chosen.only, chosen.quick, chosen.rounds))
    try:
        return asyncio.run(compare(chosen, asked, Sides(present(), past(chosen.against))))
    except RefError as error:
        print(error, file=sys.stderr)
        return USAGE
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("Interrupted; what was started has been ended.", file=sys.stderr)
        return INTERRUPTED


def beside_peers(chosen: argparse.Namespace) -> int:
    asked = cases(chosen.only, chosen.quick, chosen.rounds)
    try:
        asyncio.run(main(chosen, asked, interpreters(asked, chosen.peer_env)))
    except PeerUnreachableError as error:
        print(error, file=sys.stderr)
        return UNREACHABLE
    return 0


if __name__ == "__main__":
    chosen = options(None)
    raise SystemExit(against(chosen) if chosen.against is not None else beside_peers(chosen))
