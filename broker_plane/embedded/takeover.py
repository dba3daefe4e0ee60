"""How a new supervisor becomes the only one, and what it does about the children of the last."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress

from broker_plane.embedded.data_dir import DataDir
from broker_plane.embedded.processes import end_orphans
from broker_plane.embedded.state import read_state, retire_state
from broker_plane.errors import EmbeddedError
from broker_plane.files.locks import FileLock


def take_over(data_dir: DataDir) -> FileLock | None:
    """Hold the supervisor's lock, with no earlier state in sight; None if another supervisor lives.

    The earlier state is set aside under the *shared* lock, which nobody gets while a supervisor lives. So
    whoever finds the lock held alone never reads the state of a dead supervisor, and the pid in the lock's
    file is the holder's or is not there.
    """
    lock = FileLock(data_dir.supervisor_lock)
    while lock.try_shared():
        lock.write("")
        retire_state(data_dir)
        if lock.try_exclusive():
            lock.write(str(os.getpid()))
            return lock
        # Somebody else holds it shared: one who looks, or one who wants what we want. A random pause, so that
        # two of those do not stay in step.
        time.sleep(random.uniform(0.001, 0.01))  # noqa: S311 - a pause, no secret
    lock.close()
    return None


def end_previous(data_dir: DataDir) -> None:
    """No child of the last supervisor uses the store any more.

    Raises:
        EmbeddedError: one of them does not die.
    """
    previous = None
    with suppress(EmbeddedError):  # Of another version: its children cannot be known, and died with it.
        previous = read_state(data_dir.retired_state)
    if previous:
        end_orphans({previous.bridge_pid: previous.bridge_birth, previous.nats_pid: previous.nats_birth})
    data_dir.retired_state.unlink(missing_ok=True)
