"""Attacks on resources: memory, CPU time, wall-clock time, disk, and what the host keeps of the output."""

from __future__ import annotations

from tests.sandbox.attacks.attack import BRIEF, OPEN, Attack

_HELD = "emit(b'GOT 512 MiB')"

RESOURCES = [
    Attack("resources", "memory bomb", f"kept = []\nfor _ in range(32): kept.append(b'x' * (16 << 20))\n{_HELD}"),
    Attack(
        "resources",
        "memory bomb of small objects",
        "kept = []\nfor i in range(7000000): kept.append([i, i])\n" + _HELD,
        BRIEF,
    ),
    Attack(
        "resources",
        "memory bomb by mmap",
        "import mmap\nkept = mmap.mmap(-1, 512 << 20)\nfor at in range(0, 512 << 20, 4096): kept[at] = 1\n" + _HELD,
    ),
    Attack("resources", "huge string", "kept = 'ab' * (256 << 20)\n" + _HELD),
    Attack("resources", "huge integer", "kept = 1 << (512 << 23)\n" + _HELD, BRIEF),
    Attack("resources", "slow integers", "n = 3\nfor _ in range(60): n = n * n", BRIEF),
    Attack("resources", "wide format", 'kept = f"{1:{512 << 20}}"\n' + _HELD, BRIEF),
    Attack("resources", "old wide format", "kept = '%0536870912d' % 1\n" + _HELD, BRIEF),
    Attack("resources", "slow regular expression", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')", BRIEF),
    Attack("resources", "deep recursion", "def f(n): return f(n + 1) + 1\nf(0)"),
    Attack(
        "resources",
        "deep nesting",
        "kept = []\nfor _ in range(1000000): kept = [kept]\nprint(repr(kept)[:10])\nemit(b'ended')",
        BRIEF,
    ),
    Attack("resources", "CPU bomb", "while True: pass", BRIEF),
    Attack(
        "resources",
        "CPU bomb that handles errors",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        BRIEF,
    ),
    Attack(
        "resources",
        "CPU bomb that ignores signals",
        "import signal\nfor number in range(1, 32):\n    try: signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass",
        BRIEF,
    ),
    Attack("resources", "sleep for ever", "sleep(1000000000)", BRIEF),
    Attack("resources", "sleep without the host", "import time\ntime.sleep(1000000)", BRIEF),
    Attack(
        "resources",
        "stop itself",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nwhile True: pass",
        BRIEF,
    ),
    Attack(
        "resources",
        "file bomb",
        OPEN + "import os\nfor folder in (TARGET['folder'], '/tmp', '/dev/shm', '.'):\n    try:\n"
        "        with open(os.path.join(folder, TARGET['token'] + '-bomb'), 'wb') as file:\n"
        "            for _ in range(16): file.write(bytes(1 << 20))\n    except OSError as error: print(error)",
    ),
    Attack(
        "resources",
        "many files",
        OPEN + "import os\nfor i in range(500): open(os.path.join(TARGET['folder'], TARGET['token'] + '-%d' % i), 'w')",
    ),
    Attack(
        "resources",
        "many descriptors",
        "import os\nmade = 0\ntry:\n    while made < 500:\n        os.dup(2)\n        made += 1\n"
        "finally:\n    if made > 256: emit(b'GOT %d descriptors' % made)",
    ),
    Attack("resources", "output bomb", "while True: emit(b'x' * 100000)"),
    Attack("resources", "output bomb of small pieces", "while True: emit(b'x')", BRIEF),
    Attack("resources", "output bomb of empty pieces", "while True: emit(b'')", BRIEF),
    Attack("resources", "output in one piece", "emit(b'x' * (64 << 20))"),
    Attack("resources", "print bomb", "while True: print('x' * 1000)"),
    Attack("resources", "print bomb without a newline", "while True: print('x', end='')", BRIEF),
    Attack("resources", "bomb on standard error", "import sys\nwhile True: sys.stderr.write('x' * 1000)", BRIEF),
    Attack(
        "resources",
        "bomb on descriptors 1 and 2",
        "import os\nwhile True:\n    for n in (1, 2): os.write(n, b'x' * 65536)",
        BRIEF,
    ),
    Attack("resources", "error with a huge message", "raise ValueError('x' * (16 << 20))"),
    Attack(
        "resources",
        "flood of requests",
        "while True:\n    try: fetch(TARGET['refused'])\n    except PermissionError: pass",
    ),
]
