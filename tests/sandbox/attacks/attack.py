"""What an attack is: a short program that goes for something on the stage (`stage.py`), and the limits of its run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from broker_plane.sandbox.ports import RunLimits

Kind = Literal["files", "secrets", "network", "processes", "kernel", "resources", "interpreter", "protocol", "door"]

LIMITS = RunLimits(seconds=5.0, memory_bytes=128 << 20, output_bytes=4 << 20, printed_bytes=64 << 10, requests=50)
BRIEF = RunLimits(seconds=1.0, memory_bytes=128 << 20, output_bytes=4 << 20, printed_bytes=64 << 10, requests=50)
"""For attacks that end only with their time."""


@dataclass(frozen=True, slots=True)
class Attack:
    """`source` finds the stage in TARGET. It calls `emit(b"GOT …")` where nobody else can see that it succeeded."""

    kind: Kind
    name: str
    source: str
    limits: RunLimits = LIMITS
    harmless: bool = True
    """Whether it may run unconfined, to show that it works there."""

    processes_only: bool = False
    """Whether it goes for the pipes of a process."""


OPEN = """
try:
    from io import open  # the real one, where a rung put another in its place
except ImportError:
    pass
"""

SYSCALL = (
    OPEN
    + """
import ctypes, os
_libc = ctypes.CDLL(None, use_errno=True)
def syscall(name, *arguments):
    number = TARGET["numbers"].get(name)
    if number is None:
        raise OSError(38, "no such system call on this machine")
    values = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = _libc.syscall(ctypes.c_long(number), *values)
    if result < 0:
        raise OSError(ctypes.get_errno(), name + ": " + os.strerror(ctypes.get_errno()))
    return result
"""
)
"""Defines `syscall(name, …)` in an attack."""

NUMBERS = {  # on x86-64, on arm64
    "ptrace": (101, 117), "wait4": (61, 260), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "add_key": (248, 217),
    "keyctl": (250, 219), "io_uring_setup": (425, 425), "bpf": (321, 280), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241), "mount": (165, 40), "unshare": (272, 97), "setns": (308, 268),
    "fsopen": (430, 430), "open_tree": (428, 428), "syslog": (103, 116),
    "shmget": (29, 194), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27), "fanotify_init": (300, 262),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "kcmp": (312, 272), "memfd_create": (319, 279),
    "mq_open": (240, 180), "clone3": (435, 435), "personality": (135, 92),
}  # fmt: skip
