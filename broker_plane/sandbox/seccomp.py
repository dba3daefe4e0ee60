"""The system calls that code in a process rung may make, as a filter for the kernel (seccomp(2), in classic BPF).

The list has what Python needs to start, to import from a read-only standard library, to compute, and to use the pipes
that it was given. Every other call fails with EPERM: processes, threads, sockets of any family, signals to others,
namespaces, mounts, keys, tracing, io_uring, bpf, userfaultfd, and whatever later kernels add.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

_NUMBERS: Final = """
read 0 63|write 1 64|readv 19 65|writev 20 66|pread64 17 67|lseek 8 62|close 3 57|dup 32 23
fstat 5 80|newfstatat 262 79|stat 4|lstat 6|statx 332 291|access 21|faccessat 269 48|faccessat2 439 439
readlink 89|readlinkat 267 78|getdents64 217 61|getcwd 79 17|fadvise64 221 223
mmap 9 222|mprotect 10 226|munmap 11 215|mremap 25 216|brk 12 214|madvise 28 233|membarrier 324 283
rt_sigaction 13 134|rt_sigprocmask 14 135|rt_sigreturn 15 139|sigaltstack 131 132|restart_syscall 219 128
poll 7|ppoll 271 73|select 23|pselect6 270 72
clock_gettime 228 113|clock_getres 229 114|clock_nanosleep 230 115|nanosleep 35 101|gettimeofday 96 169
getpid 39 172|gettid 186 178|getuid 102 174|geteuid 107 175|getgid 104 176|getegid 108 177|uname 63 160
sysinfo 99 179|getrusage 98 165|getrlimit 97 163|setrlimit 160 164|sched_yield 24 124|sched_getaffinity 204 123
getrandom 318 278|getcpu 309 168|futex 202 98|set_robust_list 273 99|set_tid_address 218 96|rseq 334 293
arch_prctl 158|execve 59 221|wait4 61 260|exit 60 93|exit_group 231 94
open 2|openat 257 56|ioctl 16 29|fcntl 72 25|prlimit64 302 261|clone3 435 435
"""
"""Name, number on x86-64 and number on 64-bit ARM, which lacks some. wait4 is for bubblewrap's own process."""


class _Check(NamedTuple):
    """The values that an argument may have, after a mask."""

    argument: int
    mask: int
    values: Sequence[int]


_WRITING: Final = 0o3 | 0o100 | 0o1000 | 0o20000000  # O_ACCMODE, O_CREAT, O_TRUNC, __O_TMPFILE
_CHECKS: Final[Mapping[str, _Check]] = {
    "open": _Check(1, _WRITING, [0]),
    "openat": _Check(2, _WRITING, [0]),
    "ioctl": _Check(1, 0xFFFFFFFF, [0x5401, 0x5450, 0x5451]),  # TCGETS, FIONCLEX, FIOCLEX
    "fcntl": _Check(1, 0xFFFFFFFF, [0, 1, 2, 3, 1030]),  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC
    "prlimit64": _Check(0, 0xFFFFFFFF, [0]),  # of the caller itself
}
_NOT_KNOWN: Final = "clone3"
"""Fails as if the kernel did not know it: then the C library tries clone, which fails as forbidden."""

_ARCHITECTURES: Final[Mapping[str, tuple[int, int]]] = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_LOAD, _AND, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_X32: Final = 0x40000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16


def filter_program(machine: str = "") -> bytes:
    """The filter for a machine, by default this one, as an array of `struct sock_filter`.

    Raises:
        ValueError: there is no table of system calls for it.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise ValueError(f"there is no list of system calls for {machine}")
    architecture, column = _ARCHITECTURES[machine]
    return b"".join(struct.pack("=HBBI", *each) for each in _instructions(architecture, column))


def allowed_calls(machine: str = "") -> dict[str, int]:
    """The numbers of the calls on a machine, by name."""
    column = _ARCHITECTURES[machine or platform.machine()][1]
    rows = (entry.split() for line in _NUMBERS.split("\n") for entry in line.split("|") if entry)
    return {name: int(numbers[column]) for name, *numbers in rows if column < len(numbers)}


def _instructions(architecture: int, column: int) -> Iterator[tuple[int, int, int, int]]:
    machine = next(name for name, known in _ARCHITECTURES.items() if known == (architecture, column))
    yield _LOAD, 0, 0, _ARCHITECTURE_AT
    yield _IF_EQUAL, 1, 0, architecture
    yield _RETURN, 0, 0, _KILL
    yield _LOAD, 0, 0, _NUMBER_AT
    if machine == "x86_64":
        yield _IF_AT_LEAST, 0, 1, _X32  # the same calls under other numbers
        yield _RETURN, 0, 0, _KILL
    for name, number in allowed_calls(machine).items():
        if name == _NOT_KNOWN:
            yield from _if_equal(number, [(_RETURN, 0, 0, _FAIL | errno.ENOSYS)])
        elif name in _CHECKS:
            yield from _if_equal(number, list(_checked(_CHECKS[name])))
        else:
            yield from _if_equal(number, [(_RETURN, 0, 0, _ALLOW)])
    yield _RETURN, 0, 0, _FAIL | errno.EPERM


def _if_equal(number: int, then: Sequence[tuple[int, int, int, int]]) -> Iterator[tuple[int, int, int, int]]:
    yield _IF_EQUAL, 0, len(then), number
    yield from then


def _checked(check: _Check) -> Iterator[tuple[int, int, int, int]]:
    yield _LOAD, 0, 0, _ARGUMENTS_AT + 8 * check.argument  # the low half: these arguments are ints
    yield _AND, 0, 0, check.mask
    for value in check.values:
        yield _IF_EQUAL, 0, 1, value
        yield _RETURN, 0, 0, _ALLOW
    yield _RETURN, 0, 0, _FAIL | errno.EPERM
