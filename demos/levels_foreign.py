"""One foreign server of `levels` as a process of its own: `python -m demos.levels_foreign x-signed-pages`.

It prints its port as one JSON line when it serves. SIGUSR1 changes its API to version 2 while it runs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

import orjson

from .levels_protocols import PROTOCOLS
from .levels_rows import MOST_ROWS, ROWS
from .levels_state import State

SECRET = "LEVELS_SECRET"  # noqa: S105 - the name of the variable
"""The environment variable with the key or token that the server expects."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="demos.levels_foreign", description=__doc__)
    parser.add_argument("protocol", choices=PROTOCOLS)
    parser.add_argument("--port", type=int, default=0, help="default: one that is free")
    parser.add_argument("--api", type=int, choices=(1, 2), default=1, help="version of its API (1)")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"number of readings ({ROWS})")
    given = parser.parse_args(argv)
    if not 1 <= given.rows <= MOST_ROWS:
        parser.error(f"--rows {given.rows}: give a number from 1 to {MOST_ROWS}")
    state = State(given.rows, os.environ.get(SECRET, ""), given.api)
    signal.signal(signal.SIGUSR1, lambda *_: setattr(state, "api", 2))
    with PROTOCOLS[given.protocol].serve(given.port, state) as server, suppress(KeyboardInterrupt):
        line = orjson.dumps({"port": server.server_address[1]}, option=orjson.OPT_APPEND_NEWLINE)
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
