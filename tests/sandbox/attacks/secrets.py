"""Attacks on secrets of the host: its environment, its command line, its memory, and what it has open."""

from __future__ import annotations

from tests.sandbox.attacks.attack import OPEN, SYSCALL, Attack

_VECTORS = (
    SYSCALL
    + """
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
"""
)


def _attack(name: str, source: str) -> Attack:
    return Attack("secrets", name, OPEN + source)


SECRETS = [
    _attack("own environment", "import os\nemit(repr(dict(os.environ)).encode())"),
    _attack("/proc/self/environ", "emit(open('/proc/self/environ', 'rb').read())"),
    _attack(
        "environment and arguments of every process",
        "import os\nfor process in range(1, TARGET['host'] + 200):\n    for file in ('environ', 'cmdline'):\n"
        "        try: content = open('/proc/%d/%s' % (process, file), 'rb').read()\n"
        "        except OSError: continue\n"
        "        if TARGET['token'].encode() in content: emit(content[:100000])",
    ),
    _attack(
        "/proc/<host>/mem",
        "file = open('/proc/%d/mem' % TARGET['host'], 'rb', 0)\nfile.seek(TARGET['address'])\n"
        "emit(file.read(TARGET['length']))",
    ),
    _attack(
        "process_vm_readv",
        _VECTORS + "buffer = ctypes.create_string_buffer(TARGET['length'])\n"
        "mine = Vector(ctypes.addressof(buffer), TARGET['length'])\n"
        "its = Vector(TARGET['address'], TARGET['length'])\n"
        "syscall('process_vm_readv', TARGET['host'], ctypes.byref(mine), 1, ctypes.byref(its), 1, 0)\n"
        "emit(buffer.raw)",
    ),
    _attack(
        "process_vm_writev",
        _VECTORS + "buffer = ctypes.create_string_buffer(b'overwritten')\n"
        "mine = Vector(ctypes.addressof(buffer), 11)\nits = Vector(TARGET['scratch'], 11)\n"
        "syscall('process_vm_writev', TARGET['host'], ctypes.byref(mine), 1, ctypes.byref(its), 1, 0)",
    ),
    _attack(
        "ptrace",
        SYSCALL + "neighbour = TARGET['neighbour']\nsyscall('ptrace', 0x4206, neighbour, 0, 0)  # PTRACE_SEIZE\n"
        "syscall('ptrace', 0x4207, neighbour, 0, 0)  # PTRACE_INTERRUPT\nos.waitpid(neighbour, 0x40000000)\n"
        "found = b''\nword = ctypes.c_long()\nfor at in range(0, TARGET['length'] + 8, 8):\n"
        "    syscall('ptrace', 2, neighbour, TARGET['address'] + at, ctypes.byref(word))\n"
        "    found += bytes(word)\nemit(found)",
    ),
    _attack(
        "take an open file with pidfd_getfd",
        SYSCALL + "other = syscall('pidfd_open', TARGET['neighbour'], 0)\n"
        "file = syscall('pidfd_getfd', other, TARGET['descriptor'], 0)\nemit(os.pread(file, 1000, 0))",
    ),
    _attack(
        "an open file in /proc/<host>/fd",
        "emit(open('/proc/%d/fd/%d' % (TARGET['host'], TARGET['descriptor']), 'rb').read())",
    ),
    _attack(
        "descriptors that the host left inheritable",
        "import os\nfor descriptor in range(3, 256):\n"
        "    try: emit(os.pread(descriptor, 1000, 0))\n    except OSError: pass",
    ),
    _attack(
        "own memory, for what the host had there",
        "needle = TARGET['token'].encode() + b'-'\nfor line in open('/proc/self/maps'):\n"
        "    span, flags = line.split()[:2]\n    if flags[0] != 'r' or '[v' in line: continue\n"
        "    start, end = (int(each, 16) for each in span.split('-'))\n"
        "    with open('/proc/self/mem', 'rb', 0) as memory:\n        memory.seek(start)\n"
        "        while start < end:\n            piece = memory.read(min(end - start, 1 << 20))\n"
        "            if not piece: break\n            start += len(piece)\n"
        "            at = piece.find(needle)\n            while at >= 0:\n"
        "                emit(piece[at:at + 100])\n                at = piece.find(needle, at + 1)",
    ),
    _attack(
        "own objects, for the secret of hmac",
        "import gc\nfor each in gc.get_objects():\n    if isinstance(each, dict):\n"
        "        for value in list(each.values()):\n            if isinstance(value, (bytes, str)): "
        "emit(repr(value)[:500].encode())",
    ),
]
