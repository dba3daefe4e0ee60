"""What an attack may go for, and how it is seen from outside that it got there.

One of everything is on the stage: files, sockets, a neighbour process, secrets in memory, in the environment and in an
open file. The host of the attacked rung sets it up, and asks it afterwards.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import socket
import stat
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import psutil

from tests.sandbox.attacks.attack import NUMBERS
from tests.sandbox.attacks.endpoint import Endpoint

_PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/root")  # where attacks leave files, not we
_POLL_SECONDS = 0.05
_MOST_PROCESSES = 8
"""Processes that a rung may have for one run, beside the neighbour."""


class Stage:
    """Everything that attacks go for. Attacks know `token`, and no secret."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.contacts: list[str] = []
        self.emitted = bytearray()
        self.most_processes = 0
        self.secret = f"{token}-secret".encode()
        self._ports: set[int] = set()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._make_files()
        self._make_secrets()
        self._start_neighbour()
        self._make_sockets()
        self.endpoint = Endpoint(self.contacts)
        self._neighbour_of_endpoint()

    async def write(self, piece: bytes) -> None:
        """Take what the code emits, as its sink."""
        self.emitted += piece
        for line in piece.split(b"\n", 1)[:1]:
            if line.startswith(b"PORT "):
                self._ports.add(int(line[5:]))

    def target(self) -> dict[str, Any]:
        """What the attacks know of the stage: everything but the secrets."""
        machine = {"x86_64": 0, "aarch64": 1}.get(platform.machine())
        return {
            **self.addresses,
            "token": self.token,
            "endpoint": self.endpoint.url,
            "port": self.endpoint.port,
            "file": str(self.file),
            "folder": str(self.folder),
            "left": str(self.folder / f"{self.token}-left"),
            "host": os.getpid(),
            "neighbour": self.neighbour,
            "address": ctypes.addressof(self._memory),
            "scratch": ctypes.addressof(self._scratch),
            "length": len(self.secret),
            "descriptor": self._descriptor,
            "refused": f"http://127.0.0.1:{self.addresses['tcp']}/",
            "numbers": {} if machine is None else {name: found[machine] for name, found in NUMBERS.items()},
        }

    def evidence(self) -> list[str]:
        """What an attack reached, each as a short text; empty if nothing."""
        found = [*dict.fromkeys(self.contacts), *self._files_left(), *self._file_changed(), *self._neighbour_harmed()]
        if self.secret in self.emitted or self.secret.replace(b"-", b"\\x2d") in self.emitted:
            found.append("a secret came out")
        if b"root:x:0:" in self.emitted:
            found.append("/etc/passwd came out")
        if self._listed.encode() in self.emitted:
            found.append("a name in a folder came out")
        if (at := self.emitted.find(b"GOT")) >= 0:
            found.append(self.emitted[at : at + 60].split(b"\n")[0].decode(errors="replace"))
        if self._scratch.raw[:11] == b"overwritten":
            found.append("the host's memory was overwritten")
        if self.signals:
            found.append("a signal reached the host")
        if self.most_processes > _MOST_PROCESSES:
            found.append(f"{self.most_processes} processes at once")
        return found

    def processes_left(self) -> int:
        """Processes that outlived the run; the neighbour is not one of them."""
        deadline = time.monotonic() + 1.0  # what was killed may take a moment to end
        while True:
            left = [each for each in psutil.Process().children(recursive=True) if each.pid != self.neighbour]
            left = [each for each in left if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
            if not left or time.monotonic() > deadline:
                for each in left:
                    with suppress(psutil.Error):
                        each.kill()
                return len(left)
            time.sleep(_POLL_SECONDS)

    def watch(self) -> None:
        """Look on from another thread while the attack goes on, until `leave`."""
        self._threads.append(threading.Thread(target=self._look_on, daemon=True))
        self._threads[-1].start()

    def leave(self) -> None:
        """Clear the stage."""
        self._ended.set()
        self.endpoint.close()
        with suppress(ProcessLookupError):
            os.kill(self.neighbour, signal.SIGKILL)
        for thread in self._threads:
            thread.join(5)
        for place in self._left():
            with suppress(OSError):
                place.rmdir() if place.is_dir() and not place.is_symlink() else place.unlink()
        self._folder.cleanup()

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _make_files(self) -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self.folder.chmod(0o777)
        self._listed = f"listed-{token_hex(8)}"
        (self.folder / self._listed).touch()
        self.file = self.folder / "private"
        self.file.write_bytes(self.secret)
        self.file.chmod(0o644)
        os.utime(self.file, (10**9, 10**9))
        self._was = self._state()
        self._descriptor = os.open(self.file, os.O_RDONLY)
        os.set_inheritable(self._descriptor, True)

    def _state(self) -> tuple[object, ...]:
        with suppress(OSError):
            found = self.file.stat()
            names = os.listxattr(self.file) if hasattr(os, "listxattr") else []
            return found.st_ino, stat.S_IMODE(found.st_mode), found.st_mtime, found.st_size, found.st_nlink, names
        return ()

    def _file_changed(self) -> list[str]:
        return [] if self._state() == self._was else ["a file was changed"]

    def _left(self) -> list[Path]:
        places = {*map(Path, _PLACES), self.folder, Path.cwd(), Path.home()}
        found = []
        for place in places:
            with suppress(OSError):
                found += [each for each in place.iterdir() if each.name.startswith(f"{self.token}-")]
        return found

    def _files_left(self) -> list[str]:
        left = self._left()
        return [f"{len(left)} files were left, {left[0].parent}"] if left else []

    # ── sockets ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _make_sockets(self) -> None:
        tcp = socket.create_server(("", 0))
        port = tcp.getsockname()[1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        self.addresses: dict[str, Any] = {"tcp": port, "udp": udp.getsockname()[1], "own": own_address()}
        self.addresses |= {name: str(self.folder / f"{name}.socket") for name in ("unix", "unix_datagram")}
        self.addresses["abstract"] = f"{self.token}-abstract"
        self.addresses["tcp6"] = port
        unix, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        unix.bind(self.addresses["unix"])
        datagram.bind(self.addresses["unix_datagram"])
        abstract.bind("\0" + self.addresses["abstract"])
        for name in ("unix", "unix_datagram"):
            Path(self.addresses[name]).chmod(0o777)
        listeners = [tcp, unix, abstract]
        with suppress(OSError):  # a machine without IPv6
            tcp6 = socket.create_server(("::1", 0), family=socket.AF_INET6)
            self.addresses["tcp6"] = tcp6.getsockname()[1]
            listeners.append(tcp6)
        for listener in listeners:
            if listener.family == socket.AF_UNIX:
                listener.listen()
            self._serve(listener, datagrams=False)
        for receiver in (udp, datagram):
            self._serve(receiver, datagrams=True)

    def _neighbour_of_endpoint(self) -> None:
        """A server at the port of the endpoint, and another address."""
        self._serve(socket.create_server(("127.0.0.2", self.endpoint.port)), datagrams=False)

    def _serve(self, server: socket.socket, *, datagrams: bool) -> None:
        name = f"{server.family.name} {server.type.name}"
        server.settimeout(_POLL_SECONDS)

        def take() -> None:
            with server:
                while not self._ended.is_set():
                    with suppress(TimeoutError):
                        if datagrams:
                            server.recv(1000)
                        else:
                            server.accept()[0].close()
                        self.contacts.append(f"contact over {name}")

        self._threads.append(threading.Thread(target=take, daemon=True))
        self._threads[-1].start()

    def _look_on(self) -> None:
        me = psutil.Process()
        while not self._ended.wait(_POLL_SECONDS):
            with suppress(psutil.Error):
                self.most_processes = max(self.most_processes, len(me.children(recursive=True)) - 1)
            for port in list(self._ports):
                self._visit(socket.AF_INET, ("127.0.0.1", port))
                self._visit(socket.AF_INET6, ("::1", port))
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, suppress(OSError):
                    udp.sendto(self.secret, ("127.0.0.1", port))
            self._visit(socket.AF_UNIX, f"\0{self.token}-bound")

    def _visit(self, family: socket.AddressFamily, address: Any) -> None:
        with socket.socket(family) as visitor, suppress(OSError):
            visitor.settimeout(1)
            visitor.connect(address)
            self.contacts.append("it was reachable from outside")

    # ── secrets and the neighbour ────────────────────────────────────────────────────────────────────────────────

    def _make_secrets(self) -> None:
        os.environ["TOKEN"] = self.secret.decode()
        self._memory = ctypes.create_string_buffer(self.secret)
        self._scratch = ctypes.create_string_buffer(64)
        self.signals: list[int] = []
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
            signal.signal(number, lambda found, _: self.signals.append(found))

    def _start_neighbour(self) -> None:
        """A process of the same user, with the same memory, in a group of its own. It ends at SIGWINCH and SIGTERM."""
        self.neighbour = os.fork()
        if self.neighbour == 0:
            os.setpgid(0, 0)
            for number in (signal.SIGWINCH, signal.SIGUSR1, signal.SIGUSR2):
                signal.signal(number, lambda *_: os._exit(3))
            signal.alarm(120)
            while True:
                time.sleep(60)
        self._limit = resource.prlimit(self.neighbour, resource.RLIMIT_NOFILE)
        self._processors = os.sched_getaffinity(self.neighbour)
        self._priority = os.getpriority(os.PRIO_PROCESS, self.neighbour)

    def _neighbour_harmed(self) -> list[str]:
        time.sleep(0.02)
        try:
            state = psutil.Process(self.neighbour).status()
        except psutil.Error:
            state = "gone"
        if state in (psutil.STATUS_ZOMBIE, "gone"):
            return ["the neighbour was killed"]
        now = (
            resource.prlimit(self.neighbour, resource.RLIMIT_NOFILE),
            os.sched_getaffinity(self.neighbour),
            os.getpriority(os.PRIO_PROCESS, self.neighbour),
        )
        return [] if now == (self._limit, self._processors, self._priority) else ["the neighbour was changed"]


def own_address() -> str:
    """An address of this machine that is not loopback, if it has one. Nothing is sent to find it."""
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family == socket.AF_INET and not each.address.startswith("127."):
                return str(each.address)
    return "127.1.2.3"
