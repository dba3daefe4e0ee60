"""Start a process that cannot outlive its parent, and end one that nevertheless did."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from broker_plane.errors import EmbeddedError

ORPHAN_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
# Looked up before any fork: between fork and exec a child may take no lock, and loading a library takes one.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def spawn(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a child whose three standard streams are pipes; on Linux the kernel kills it when this process dies.

    Only for a process of one thread: code runs between fork and exec, and the death of the *thread* that
    started a child counts as its parent's death (prctl(2)).
    """
    parent = os.getpid()
    return subprocess.Popen(  # noqa: S603 - the command is ours and the bridge's, never a text from outside
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        preexec_fn=lambda: die_with(parent),
    )


def die_with(parent: int) -> None:
    """Run in a child before exec: have the kernel kill it when `parent` dies."""
    # SIGKILL, so that no nats-server still writes when the next supervisor opens the store. No acknowledged data
    # is lost: every ack follows an fsync.
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It died before the request reached the kernel.
        os._exit(1)


def end_orphans(children: Mapping[int, str]) -> None:
    """End these processes (pid to birth). An unrelated process that got the same pid is left alone.

    Raises:
        EmbeddedError: one of them does not die.
    """
    for pid, birth in children.items():
        if sys.platform == "linux" and birth:
            _end_orphan(pid, birth)


def _end_orphan(pid: int, birth: str) -> None:
    try:
        # From here on the descriptor means this process, even if it ends and its pid is given to another.
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if birth_of(pid) != birth:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        # Readable once all threads have ended: a killed one may still be in the middle of a write.
        if not select.select([process], [], [], ORPHAN_SECONDS)[0]:
            raise EmbeddedError(f"Process {pid} of an earlier broker does not end: kill it and start again")
    finally:
        os.close(process)


def birth_of(pid: int) -> str:
    """Boot id and clock tick of the start of a process, which identify it together with its pid.

    Empty if there is no such process, or the system does not say (proc(5)). It can be read until the process
    is reaped, unlike its command line and environment, which are gone while it still ends.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The second field is the name, in parentheses; it may contain spaces and parentheses.
    return f"{boot}/{stat.rpartition(')')[2].split()[19]}"
