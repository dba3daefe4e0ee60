"""Attacks with processes: starting them, staying alive, and harming those of others."""

from __future__ import annotations

from tests.sandbox.attacks.attack import SYSCALL, Attack

_NEIGHBOUR = "import os, signal\nneighbour = TARGET['neighbour']\n"

PROCESSES = [
    Attack("processes", "fork", "import os\nif os.fork() == 0: os._exit(0)\nos.wait()\nemit(b'GOT a child')"),
    Attack(
        "processes",
        "fork bomb",
        "import os, time\nmade = 0\ntry:\n    for _ in range(60):\n        if os.fork() == 0:\n"
        "            time.sleep(3)\n"
        "            os._exit(0)\n        made += 1\nfinally:\n    if made > 20: emit(b'GOT %d processes' % made)",
    ),
    Attack(
        "processes",
        "thread bomb",
        "import threading, time\nmade = 0\ntry:\n    for _ in range(200):\n"
        "        threading.Thread(target=time.sleep, args=(2,), daemon=True).start()\n        made += 1\n"
        "finally:\n    if made > 100: emit(b'GOT %d threads' % made)",
    ),
    Attack(
        "processes",
        "run a shell",
        "import subprocess\nemit(b'GOT ' + subprocess.check_output('echo a shell', shell=True))",
    ),
    Attack(
        "processes",
        "run another interpreter",
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', \"open(%r, 'w')\" % TARGET['left']])",
    ),
    Attack(
        "processes",
        "exec from memory",
        SYSCALL + "import sys\nfile = syscall('memfd_create', b'program', 0)\n"
        "os.write(file, open('/bin/true', 'rb').read())\npid = os.fork()\n"
        "if pid == 0: os.execve(file, ['true'], {})\nif os.waitpid(pid, 0)[1] == 0: emit(b'GOT it run')",
    ),
    Attack(
        "processes",
        "stay by a double fork",
        "import os, time\nif os.fork() == 0:\n"
        "    if os.fork() == 0:\n        os.closerange(0, 64)\n        time.sleep(8)\n    os._exit(0)\nos.wait()",
    ),
    Attack(
        "processes",
        "stay in a session of its own",
        "import os, time, signal\nif os.fork() == 0:\n    os.setsid()\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    if os.fork() == 0:\n        os.closerange(0, 64)\n        time.sleep(8)\n    os._exit(0)\nos.wait()",
    ),
    Attack(
        "processes",
        "signal to the host",
        "import os, signal\nos.kill(TARGET['host'], signal.SIGUSR1)",
    ),
    Attack("processes", "signal to the parent", "import os, signal\nos.kill(os.getppid(), signal.SIGUSR1)"),
    Attack("processes", "kill a neighbour", _NEIGHBOUR + "os.kill(neighbour, signal.SIGKILL)"),
    Attack("processes", "kill the group of a neighbour", _NEIGHBOUR + "os.killpg(neighbour, signal.SIGKILL)"),
    Attack("processes", "signal to everybody", "import os, signal\nos.kill(-1, signal.SIGWINCH)"),
    Attack(
        "processes",
        "signal through a pidfd",
        SYSCALL + "other = syscall('pidfd_open', TARGET['neighbour'], 0)\n"
        "syscall('pidfd_send_signal', other, 28, 0, 0)",
    ),
    Attack(
        "processes",
        "signal by the owner of a pipe",
        "import fcntl, os, signal\nreading, writing = os.pipe()\n"
        "fcntl.fcntl(reading, fcntl.F_SETOWN, TARGET['neighbour'])\n"
        "fcntl.fcntl(reading, 10, signal.SIGWINCH)  # F_SETSIG\n"
        "fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)\nos.write(writing, b'x')",
    ),
    Attack("processes", "priority of a neighbour", _NEIGHBOUR + "os.setpriority(os.PRIO_PROCESS, neighbour, 19)"),
    Attack(
        "processes",
        "limits of a neighbour",
        _NEIGHBOUR + "import resource\nresource.prlimit(neighbour, resource.RLIMIT_NOFILE, (7, 7))",
    ),
    Attack(
        "processes",
        "a neighbour's processors",
        _NEIGHBOUR + "mine = os.sched_getaffinity(neighbour)\nos.sched_setaffinity(neighbour, {min(mine)})",
    ),
]
