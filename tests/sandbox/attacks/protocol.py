"""Attacks on the host over the pipes of a process rung: frames that the host's functions would never send."""

from __future__ import annotations

from tests.sandbox.attacks.attack import BRIEF, Attack

_EVERYWHERE = """
import os, stat
def everywhere(data):
    for descriptor in range(64):
        try:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode) or stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, data)
        except OSError:
            pass
"""


def _frames(name: str, source: str) -> Attack:
    return Attack("protocol", name, _EVERYWHERE + source, BRIEF, processes_only=True)


PROTOCOL = [
    _frames("a length of 4 GiB", "everywhere(b'\\xff\\xff\\xff\\xff')\nwhile True: everywhere(bytes(60000))"),
    _frames("a length of 4 GiB, then silence", "everywhere(b'\\xff\\xff\\xff\\xff')\nwhile True: pass"),
    _frames("half a frame, then silence", "everywhere(b'\\x00\\x00')\nwhile True: pass"),
    _frames("half a frame, then the end", "everywhere(b'\\x00\\x00\\x01\\x00ab')\nos._exit(0)"),
    _frames("empty frames", "while True: everywhere(bytes(65536))"),
    _frames("frames of random bytes", "while True: everywhere(os.urandom(4096))"),
    _frames(
        "frames of nested JSON",
        "nested = b'[' * 100000\nwhile True: everywhere(len(nested).to_bytes(4, 'big') + nested)",
    ),
    _frames(
        "frames of an unknown kind",
        "import json, struct\nvalue = {'name': 'system', 'values': ['id'], 'named': {}}\n"
        "text = json.dumps({'mark': '$bytes', 'sizes': [], 'value': value}).encode()\n"
        "for kind in range(256): everywhere(struct.pack('>BII', kind, len(text), 0) + text)\nwhile True: pass",
    ),
    _frames(
        "closed pipes",
        "for descriptor in range(64):\n    try: os.close(descriptor)\n    except OSError: pass\nwhile True: pass",
    ),
    _frames(
        "calls without reading the answers",
        "import threading\nimport sys\nwhile True:\n    for each in (fetch, now):\n"
        "        try: each(TARGET['refused'])\n        except Exception: pass",
    ),
]
