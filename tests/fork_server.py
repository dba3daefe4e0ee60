"""Forks processes that run a module of ours with everything imported: `python -m tests.fork_server PATH MODULE…`.

A connection to the Unix socket PATH is one process. Its first message is JSON, `{"module", "arguments", "env", "cwd"}`,
with three descriptors: standard input, output and error. It is answered with the pid, and at the end with the exit
code. The process runs the module as `python -m` does, and is killed when its connection is closed. The server ends
with its own standard input, and all processes with it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

MOST_BYTES = 1 << 18


def main(path: str, *preloaded: str) -> None:
    """Serve until the standard input ends; in a child, be what was asked for."""
    for module in preloaded:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    asked = None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(100)
        ends, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the children, who get it as well
        print(flush=True)
        asked = serve(listener, ends)
        for each in (ends, wakes):
            os.close(each)
    if asked is not None:
        become(*asked)


def serve(listener: socket.socket, ends: int) -> tuple[dict[str, Any], list[int]] | None:
    """In the server, None at its end. In a child, what it is to be and its descriptors."""
    processes: dict[socket.socket, int] = {}
    while True:
        ready, _, _ = select.select([sys.stdin, ends, listener, *processes], [], [])
        if sys.stdin in ready:
            return None
        if ends in ready:
            os.read(ends, 4096)
            tell_ends(processes)
        for connection in [each for each in ready if each in processes]:
            pid = processes.pop(connection)  # whose connection was closed
            connection.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if listener in ready:
            connection, _ = listener.accept()
            message, standard, _, _ = socket.recv_fds(connection, MOST_BYTES, 3)
            if pid := os.fork():
                processes[connection] = pid
                connection.send(str(pid).encode())
                for descriptor in standard:
                    os.close(descriptor)
            else:
                for each in (connection, *processes):
                    each.close()
                return json.loads(message), standard


def tell_ends(processes: dict[socket.socket, int]) -> None:
    """Tell of each process that has ended, and forget it."""
    for connection, pid in list(processes.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with connection, suppress(OSError):
                connection.send(str(os.waitstatus_to_exitcode(status)).encode())
            del processes[connection]


def become(told: dict[str, Any], standard: list[int]) -> None:
    """Run the module in this process."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for place, descriptor in enumerate(standard):
        os.dup2(descriptor, place)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(told["env"])
    os.chdir(told["cwd"])
    sys.argv = ["", *told["arguments"]]
    sys.modules.pop(told["module"], None)
    runpy.run_module(told["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
