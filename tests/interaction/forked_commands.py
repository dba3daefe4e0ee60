"""Runs commands of broker-plane, each in a process that is forked when everything is imported, some at once.

Each line of standard input is a JSON list of {"words", "env", "cwd", "seconds"}; one of standard output a list of
{"code", "out", "err", "seconds"} in the same order. The code of a command that did not end in time is null.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from broker_plane.cli.main import app_of, main

AT_ONCE = 8


def start(case: dict[str, Any], place: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    os.chdir(case["cwd"])
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for variable in [name for name in os.environ if name.startswith("BROKER_PLANE_")]:
        del os.environ[variable]
    os.environ.update(case["env"])
    sys.argv = ["broker-plane", *case["words"]]
    code = 70
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001  # it is shown, and the process ends
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(pid: int, deadline: float) -> int | bool | None:
    """The exit code, None where it is over time and was killed, False while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    if found:
        return os.waitstatus_to_exitcode(status)
    if time.monotonic() < deadline:
        return False
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def run(cases: list[dict[str, Any]], root: Path) -> list[dict[str, Any]]:
    waiting = list(enumerate(cases))
    running: dict[int, tuple[int, float]] = {}
    codes: dict[int, int | None] = {}
    took: dict[int, float] = {}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            number, case = waiting.pop(0)
            place = root / str(number)
            place.mkdir()
            running[number] = (start(case, place), time.monotonic() + case["seconds"])
        for number, (pid, deadline) in list(running.items()):
            code = ended(pid, deadline)
            if code is not False:
                codes[number] = code
                took[number] = time.monotonic() + cases[number]["seconds"] - deadline
                del running[number]
        time.sleep(0.01)
    texts = [[(root / str(number) / name).read_text(errors="replace") for name in ("out", "err")] for number in codes]
    said = dict(zip(codes, texts, strict=True))
    return [
        {"code": codes[number], "out": said[number][0], "err": said[number][1], "seconds": took[number]}
        for number in range(len(cases))
    ]


if __name__ == "__main__":
    app_of()
    import broker_plane.cli.bridge
    import broker_plane.mcp_server.plane_tools
    import broker_plane.proxy.run  # noqa: F401  # what commands import late

    gc.freeze()  # the children have no use for a look at what was imported
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as directory:
            print(json.dumps(run(json.loads(line), Path(directory))), flush=True)
