"""The supervisor: one process per data directory, whose children are nats-server and the bridge.

    python -m broker_plane.embedded.supervisor --data DIR --bridge-command '["/usr/bin/bridge"]'

It imports little, because the first call waits for it, and is single-threaded, because its children die with the
thread that started them. It reports one JSON line on standard output: `{"ready": true}`, `{"another": true}` if a
supervisor is already alive, or `{"error": "<code>", "message": "<sentence>"}`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from broker_plane.embedded.data_dir import DataDir, prepare, unusable
from broker_plane.embedded.logs import RotatingLog
from broker_plane.embedded.supervision import Options, Supervisor
from broker_plane.embedded.takeover import end_previous, take_over
from broker_plane.errors import EmbeddedError

DONE, FAILED = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Supervise until asked to stop, or idle. The exit code is 0 unless the start failed."""
    parsed = _parser().parse_args(arguments)
    # The first process exits, so that the supervisor is not a child of its caller: it would remain there as a
    # zombie, and some hosts wait for all of their children.
    if parsed.detach and os.fork():
        return DONE
    os.umask(0o077)
    data_dir = DataDir(Path(parsed.data).absolute())
    try:
        return _supervise(data_dir, _options(parsed), quiet=parsed.detach)
    except EmbeddedError as error:
        _report({"error": error.code, "message": str(error), "reason": error.reason})
    except OSError as error:
        refusal = unusable(data_dir.root, error)
        _report({"error": refusal.code, "message": str(refusal), "reason": repr(error)})
    except Exception:
        # Nobody reads the standard error of a detached process, so the cause goes to the log.
        RotatingLog(data_dir.log / "supervisor.log").note(traceback.format_exc())
        raise
    return FAILED


def _supervise(data_dir: DataDir, options: Options, *, quiet: bool) -> int:
    prepare(data_dir)
    lock = take_over(data_dir)
    if lock is None:
        _report({"another": True})
        return DONE
    try:
        _run(data_dir, options, quiet=quiet)
    finally:
        lock.close()  # Before the error is reported: its reader must not find a running supervisor.
    # If it was idle, the attached lock is still held, and released when this process ends.
    return DONE


def _run(data_dir: DataDir, options: Options, *, quiet: bool) -> None:
    os.chdir(data_dir.root)  # Do not keep other file systems from being unmounted.
    end_previous(data_dir)
    supervisor = Supervisor(data_dir, options)
    try:
        supervisor.start()
        _report({"ready": True})
        if quiet:
            _leave_standard_streams()
        supervisor.run()
    finally:
        supervisor.stop()


def _report(line: dict[str, object]) -> None:
    with suppress(BrokenPipeError):  # The caller has exited; later ones find the state.
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def _leave_standard_streams() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


def _options(parsed: argparse.Namespace) -> Options:
    return Options(
        bridge_command=json.loads(parsed.bridge_command),
        port=parsed.port,
        idle_stop_seconds=parsed.idle_stop_seconds,
        store_bytes=parsed.store_bytes,
        obeyed=parsed.obeyed,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="broker_plane.embedded.supervisor")
    parser.add_argument("--data", required=True, help="the data directory")
    parser.add_argument("--bridge-command", required=True, help="a JSON list; `--port N` is appended")
    parser.add_argument("--port", type=int, default=0, help="port of the bridge; 0: the previous one, or any")
    parser.add_argument("--idle-stop-seconds", type=float, default=900)
    parser.add_argument("--store-bytes", type=int, default=0, help="0: half of the free disk space, up to 64 GiB")
    parser.add_argument("--obeyed", default="{}", help="settings of the caller, as a JSON object")
    parser.add_argument("--detach", action="store_true", help="run in the background, silent once ready")
    return parser


if __name__ == "__main__":
    sys.exit(main())
