"""`python -m tests.aims`: run the tests that record a figure, and print one table of aims and what was measured.

Every test that uses the fixture `figure` takes part, and no other. Without `--full` their smoke sizes run, which CI
runs as well; with it their full sizes, of minutes and gigabytes each. They run one after the other, each part in a
process of its own that may take nine minutes.

Exit codes: 0 every test passed, 1 a test failed, 2 usage, or the tests cannot be collected, 130 interrupted. An aim
that is not met fails nothing: the table says NOT met, and a test fails by bounds of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from tests.aims.shards import CollectError, Done, collect, root_of, run, shards
from tests.aims.table import MET, NOT_MEASURED, Line, as_table, lines_of

FILE_WIDTH = 180
USAGE, INTERRUPTED = 2, 130


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.aims", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="full sizes, where a test has one")
    only = "tests that match, as in pytest -k: words of files, functions and parameters, with and, or, not"
    parser.add_argument("--only", default="", metavar="EXPRESSION", help=only)
    parser.add_argument("--list", action="store_true", help="say which tests would run, a line for each part, and end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table to FILE")
    parser.add_argument("paths", nargs="*", default=["tests"], help="files or directories of tests; all unless said")
    return parser.parse_args(arguments)


def run_all(parts: Sequence[Sequence[str]], root: Path, console: Console) -> list[Done]:
    """Each part in turn; what it found is said when it has ended."""
    found = []
    for number, tests in enumerate(parts, 1):
        name = tests[0] if len(tests) == 1 else f"{tests[0].partition('::')[0]}, {len(tests)} tests"
        console.print(escape(f"{number} of {len(parts)}  {name} …"))
        done = run(tests, root)
        found.append(done)
        for figure in done.figures:
            line = f"    {figure['row']}: {figure['measured']} ({MET if figure['met'] else 'NOT met'})"
            console.print(escape(line))
        if done.failed:
            console.print(escape(done.log))
        console.print(escape(f"    {done.seconds:.0f} s, {len(done.failed)} failed"))
    return found


def report(chosen: argparse.Namespace, lines: Sequence[Line], found: Sequence[Done]) -> None:
    Console(width=None if sys.stdout.isatty() else FILE_WIDTH).print(as_table(lines))
    if chosen.json:
        tests: dict[str, Any] = {
            test: {"outcome": outcome, "reason": reason}
            for done in found
            for test, (outcome, reason) in done.ended.items()
        }
        size = "full" if chosen.full else "smoke"
        said = {"size": size, "load": os.getloadavg()[0], "rows": [line.as_json() for line in lines], "tests": tests}
        chosen.json.write_text(json.dumps(said, indent=1) + "\n")


def main(chosen: argparse.Namespace) -> int:
    console = Console(stderr=True, soft_wrap=True)
    try:
        collected = collect(chosen.paths, chosen.only)
    except CollectError as error:
        print(error, file=sys.stderr)
        return USAGE
    parts = shards(collected, full=chosen.full)
    if not parts:
        print(
            "No test that records a figure matches. Without --full, those at full size are left out.", file=sys.stderr
        )
        return USAGE
    if chosen.list:
        print("\n".join(" ".join(part) for part in parts))
        return 0
    found = run_all(parts, root_of(chosen.paths), console)
    ended = {test: outcome for done in found for test, outcome in done.ended.items()}
    figures = [figure for done in found for figure in done.figures]
    whole = not chosen.only and chosen.paths == ["tests"]
    lines = lines_of(figures, ended, whole=whole)
    report(chosen, lines, found)
    left = len({each.test for each in collected if each.is_full} - set(ended))
    if left and not chosen.full:
        console.print(f"{left} tests at full size were not run; --full runs them.")
    unmet = [line for line in lines if line.met != MET]
    console.print(f"{len(lines) - len(unmet)} met, {sum(line.met != NOT_MEASURED for line in unmet)} not met.")
    return int(any(done.failed for done in found))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        raise SystemExit(main(options(None)))
    except KeyboardInterrupt:
        print("Interrupted; what was started has been ended.", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
