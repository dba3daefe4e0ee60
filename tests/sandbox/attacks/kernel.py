"""Attacks on what the kernel offers: interfaces with a history of holes, and changes of the machine."""

from __future__ import annotations

from tests.sandbox.attacks.attack import SYSCALL, Attack


def _call(name: str, call: str, *, harmless: bool = True) -> Attack:
    """A system call that computing Python never needs. It is an attack if the kernel carries it out."""
    return Attack("kernel", name, f"{SYSCALL}{call}\nemit(b'GOT {name}')", harmless=harmless)


_NEEDS_BUFFER = "import ctypes\nbuffer = ctypes.create_string_buffer(256)\n"

KERNEL = [
    _call("io_uring", _NEEDS_BUFFER + "syscall('io_uring_setup', 4, buffer)"),
    _call("bpf", "syscall('bpf', 0, (ctypes.c_uint32 * 18)(2, 4, 8, 1), 72)"),
    _call("userfaultfd", "syscall('userfaultfd', 0)"),
    _call(
        "perf_event_open",
        "event = (ctypes.c_uint32 * 32)(1, 128)\nsyscall('perf_event_open', event, 0, -1, -1, 0)",
    ),
    _call("add_key", "syscall('add_key', b'user', b'a key', b'x', 1, -2)"),
    _call("keyctl", "syscall('keyctl', 0, -3, 1)"),
    _call("kcmp", "syscall('kcmp', TARGET['host'], TARGET['neighbour'], 1, 0, 0)"),
    _call("mount", "syscall('mount', b'none', TARGET['folder'].encode(), b'tmpfs', 0, 0)", harmless=False),
    _call("new mount interface", "syscall('fsopen', b'tmpfs', 0)"),
    _call("open_tree", "syscall('open_tree', -100, b'/', 1)"),
    _call("user namespace", "syscall('unshare', 0x10000000)"),
    _call("mount namespace", "syscall('unshare', 0x00020000)"),
    _call("network namespace", "syscall('unshare', 0x40000000)"),
    _call("setns", "syscall('setns', syscall('pidfd_open', TARGET['neighbour'], 0), 0x04000000)"),
    _call("chroot", "os.chroot('/usr')"),
    _call("setuid", "os.setuid(0)"),
    _call("device file", "os.mknod(TARGET['left'], 0o020666, os.makedev(1, 3))"),
    _call(
        "open_by_handle_at",
        "handle = ctypes.create_string_buffer(b'\\x80\\0\\0\\0', 256)\nmount = ctypes.c_int()\n"
        "syscall('name_to_handle_at', -100, b'/', handle, ctypes.byref(mount), 0)\n"
        "syscall('open_by_handle_at', -100, handle, 0)",
    ),
    _call("clock of the machine", "import time\ntime.clock_settime(time.CLOCK_REALTIME, time.time())", harmless=False),
    _call("log of the kernel", _NEEDS_BUFFER + "syscall('syslog', 3, buffer, 255)"),
    _call("name of the machine", "import socket\nsocket.sethostname(socket.gethostname())", harmless=False),
    _call("shared memory of System V", "syscall('shmget', 0, 4096, 0o1600)", harmless=False),
    _call("message queue", "syscall('mq_open', TARGET['token'].encode(), 0o102, 0o600, 0)", harmless=False),
    _call("watch files with inotify", "syscall('inotify_add_watch', syscall('inotify_init1', 0), b'/tmp', 2)"),
    _call("watch files with fanotify", "syscall('fanotify_init', 0, 0)"),
    _call("no address randomisation", "syscall('personality', 0x0040000)"),
    _call(
        "raise a limit",
        "import resource\nhard = resource.getrlimit(resource.RLIMIT_CPU)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    ),
]
