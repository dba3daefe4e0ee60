"""Gives up what code does not need, then runs a script: `python -I -S -B filtered.py FILTER SCRIPT`.

FILTER is a program for seccomp (`seccomp.py`) in base64. Descriptors above 2, all capabilities and all system calls
that the filter does not allow are gone for good. Standard library only.
"""

from __future__ import annotations

import base64
import ctypes
import os
import runpy
import struct
import sys

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, _PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 22, 2, 38, 24
_CAPABILITY_VERSION_3 = 0x20080522
_SETS_BYTES = 24
_MAX_CAPABILITIES = 64
_MAX_DESCRIPTORS = 1 << 20
_INSTRUCTION_BYTES = 8


def main(code: str, script: str) -> None:
    """Raises OSError if the kernel refuses any of it; the script is not run then."""
    os.closerange(3, _MAX_DESCRIPTORS)
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _drop_capabilities(libc)
    _install(libc, base64.b64decode(code))
    runpy.run_path(script, run_name="__main__")


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    for capability in range(_MAX_CAPABILITIES):  # fails without CAP_SETPCAP: then there is nothing to lose
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    _check(libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(_SETS_BYTES)), "capset")


def _install(libc: ctypes.CDLL, code: bytes) -> None:
    instructions = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // _INSTRUCTION_BYTES, ctypes.addressof(instructions))
    _check(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0), "seccomp")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
