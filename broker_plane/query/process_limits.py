"""What the process of one query may do: die with its parent, use so much, and open nothing. Linux and other POSIX."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from math import ceil
from pathlib import Path

from broker_plane.query.limits import QueryLimits

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_GRACE_SECONDS = 2
"""The bridge ends a query at its deadline; the kernel ends it this much later if the bridge does not."""

_SLACK_BYTES = 256 << 20
"""Address space that is reserved and not used: stacks of threads, arenas of allocators."""


def die_with(parent: int) -> None:
    """Have the kernel end this process when `parent` dies, and never give it privileges (prctl(2))."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)


def confine(limits: QueryLimits) -> None:
    """Limit this process for good. It can open no file and no socket any more, not even to import a module."""
    size = _address_space()
    if size:
        _limit(resource.RLIMIT_AS, size + limits.memory_bytes + _SLACK_BYTES)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 3)  # the lowest number that is not open: 0, 1 and 2 are the pipes


def begin_deadline(limits: QueryLimits) -> None:
    """From now on the clock and the CPU time count."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = ceil(used.ru_utime + used.ru_stime + limits.seconds * limits.threads) + _GRACE_SECONDS
    _limit(resource.RLIMIT_CPU, cpu)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.seconds + _GRACE_SECONDS)


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(what, (most, most))


def _address_space() -> int:
    """Bytes of address space in use; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 0
