"""A process of a fork server in the place of this one: `python -I -S launch.py SOCKET MODULE ARGUMENTS…`."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys


def main(path: str, module: str, *arguments: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(path)
        except OSError:  # nobody started it
            os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606  # the same program
        told = {"module": module, "arguments": arguments, "env": {**os.environ}, "cwd": os.getcwd()}  # noqa: PTH109
        socket.send_fds(connection, [json.dumps(told).encode()], [0, 1, 2])
        pid = int(connection.recv(16))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: os.kill(pid, number))
        for descriptor in range(3):
            os.close(descriptor)  # the other process has them, and closes them
        code = int(connection.recv(16) or b"1")
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(*sys.argv[1:])
