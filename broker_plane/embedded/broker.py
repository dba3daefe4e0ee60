"""The embedded broker for callers: find it, attach to it, stop it. All functions block; none needs a thread."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from broker_plane.embedded.bridge_settings import as_text, variables
from broker_plane.embedded.data_dir import DataDir, place_of, prepare, unusable
from broker_plane.embedded.launch import Launch
from broker_plane.embedded.state import Running, read_state
from broker_plane.errors import DamagedFileError, EmbeddedError
from broker_plane.files.locks import FileLock, LockWatch, holder_of, is_held_alone

if TYPE_CHECKING:
    from typing import Self

    from broker_plane.config import Settings

POLL_SECONDS = 0.005
REWRITE_SECONDS = 1.0
"""Time in which a supervisor rewrites a damaged state file."""

BRIDGE_COMMAND = (sys.executable, "-m", "broker_plane.cli.bridge", "--supervised")


class Attachment:
    """This process's use of a running broker, which does not stop when idle while it is attached."""

    def __init__(self, running: Running, *, started: bool, lock: FileLock) -> None:
        self.running = running
        self.started = started
        """True if the broker was started for this attachment."""
        self._lock = lock

    def close(self) -> None:
        """Detach. The end of the process, even by a crash, has the same effect."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def find(data_dir: Path) -> Running | None:
    """The broker that runs on this directory; None if none does, or if it is not ready yet.

    Raises:
        EmbeddedError: the directory cannot be read, or the broker of another version runs there.
    """
    place = place_of(data_dir)
    deadline = time.monotonic() + REWRITE_SECONDS
    while (found := _shown_soon(place, deadline)) is None and _is_alive(place) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return found


class SupervisorWatch:
    """Whether a supervisor is alive on a directory, ready or not. Only the kernel is consulted."""

    def __init__(self, data_dir: Path) -> None:
        self._place = DataDir(data_dir.absolute())
        self._lock = LockWatch(self._place.supervisor_lock)

    def is_alive(self) -> bool:
        """Raises EmbeddedError if the directory cannot be read."""
        try:
            return self._lock.is_held_alone()
        except OSError as error:
            raise unusable(self._place.root, error) from error

    def close(self) -> None:
        self._lock.close()


def _shown_soon(place: DataDir, deadline: float) -> Running | None:
    """The published state. Until `deadline` a missing or damaged state file counts as not yet written."""
    try:
        found = _shown(place)
    except DamagedFileError:
        if time.monotonic() > deadline:
            raise
        found = None
    if found is None and _is_alive(place):
        _nudge(place)
    return found


def _nudge(place: DataDir) -> None:
    """Have the supervisor check its state file, which it rewrites if the file changed.

    The signal looks like the end of a child to a supervisor, and is harmless before it listens.
    """
    pid = _supervisor_pid(place)
    if pid:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGCHLD)


def _shown(place: DataDir) -> Running | None:
    # In this order, because a state that is read while the lock is held never belongs to a dead supervisor.
    return read_state(place.state) if _is_alive(place) else None


def attach(settings: Settings, *, bridge_command: Sequence[str], port: int = 0, wait_seconds: float = 15) -> Attachment:
    """Attach to the broker of `settings.data_dir`, and start one if none is running.

    `bridge_command` runs in the data directory with `--port` appended. `port` is that of the bridge; 0 is its
    previous one, or any. Both matter only if this call starts the broker.

    Raises:
        PortInUseError: another program uses the port.
        EmbeddedError: the directory cannot be used, or the broker was not ready in time.
    """
    place = place_of(settings.data_dir)
    prepare(place)
    try:
        lock = FileLock(place.attached_lock)
    except OSError as error:
        raise unusable(place.root, error) from error
    try:
        deadline = time.monotonic() + wait_seconds
        _hold_shared(lock, deadline, place)
        arguments = _arguments(settings, bridge_command, port)
        running, started = _running(place, arguments, variables(settings), deadline)
    except BaseException:
        lock.close()
        raise
    return Attachment(running, started=started, lock=lock)


def stop(data_dir: Path, *, wait_seconds: float = 10) -> bool:
    """Stop nats-server and bridge of this directory and keep their data. Returns False if none was running.

    The supervisor itself may exit a few milliseconds later, without doing anything else.

    Raises:
        EmbeddedError: it did not stop in time.
    """
    place = place_of(data_dir)
    if not _is_alive(place):
        return False
    deadline = time.monotonic() + wait_seconds
    signalled = 0
    while _is_alive(place):
        pid = _supervisor_pid(place)
        if pid and pid != signalled:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            signalled = pid
        _pause(
            deadline,
            f"The broker of {place.root} (process {signalled}) did not stop in time: try again, or end the process",
        )
    return True


def _running(
    place: DataDir, arguments: Sequence[str], environment: Mapping[str, str | None], deadline: float
) -> tuple[Running, bool]:
    """The running broker, and whether this call started it. If several processes start one, the lock admits one."""
    started = False
    rewritten = time.monotonic() + REWRITE_SECONDS
    while (running := _shown_soon(place, rewritten)) is None:
        started = not _is_alive(place) and _launch(place, arguments, environment, deadline)
        if not started:
            _pause(deadline, _late(place))
    return running, started


def _launch(place: DataDir, arguments: Sequence[str], environment: Mapping[str, str | None], deadline: float) -> bool:
    """True once the new supervisor is ready; False if another one was there first."""
    launch = Launch(place, arguments, environment)
    try:
        ready = launch.is_ready(deadline - time.monotonic())
    finally:
        launch.close()
    if ready is None:
        raise EmbeddedError(_late(place))
    return ready


def _hold_shared(lock: FileLock, deadline: float, place: DataDir) -> None:
    # A supervisor that stops because it is idle holds this lock exclusively until it exits.
    while not lock.try_shared():
        _pause(deadline, _late(place))


def _pause(deadline: float, late: str) -> None:
    # flock has no timeout other than a signal, and signals belong to the program that uses this library.
    if time.monotonic() > deadline:
        raise EmbeddedError(late)
    time.sleep(POLL_SECONDS)


def _late(place: DataDir) -> str:
    return f"The broker of {place.root} was not ready in time: try again, or look into {place.log}"


def _is_alive(place: DataDir) -> bool:
    try:
        return is_held_alone(place.supervisor_lock)
    except OSError as error:
        raise unusable(place.root, error) from error


def _supervisor_pid(place: DataDir) -> int:
    # The holder of the lock has written its pid there. The kernel is more reliable than a file that may be damaged.
    text = place.supervisor_lock.read_bytes()
    return holder_of(place.supervisor_lock) or (int(text) if text.isdigit() else 0)


def _arguments(settings: Settings, bridge_command: Sequence[str], port: int) -> list[str]:
    return [
        *("--bridge-command", json.dumps(list(bridge_command))),
        *("--port", str(port)),
        *("--idle-stop-seconds", str(settings.idle_stop_seconds)),
        *("--store-bytes", str(settings.max_store_bytes or 0)),
        *("--obeyed", as_text(settings)),
    ]
