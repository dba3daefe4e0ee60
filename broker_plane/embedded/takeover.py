"""Make a new supervisor the only one, and end the children of its predecessor."""

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
    """Acquire the supervisor's lock and withdraw earlier state; None if another supervisor is alive.

    The earlier state is withdrawn under the *shared* lock, which is not available while a supervisor is alive. So a
    process that finds the lock held exclusively never reads the state of a dead supervisor, and the pid in the lock
    file is the holder's or missing.
    """
    lock = FileLock(data_dir.supervisor_lock)
    while lock.try_shared():
        lock.write("")
        retire_state(data_dir)
        if lock.try_exclusive():
            lock.write(str(os.getpid()))
            return lock
        # Another process holds it shared: it checks for a supervisor, or competes with us. The pause is random, so
        # that two competitors do not stay in step.
        time.sleep(random.uniform(0.001, 0.01))  # noqa: S311 - not a secret
    lock.close()
    return None


def end_previous(data_dir: DataDir) -> None:
    """End all children of the last supervisor, so that none of them uses the store.

    Raises:
        EmbeddedError: one of them does not end.
    """
    previous = None
    with suppress(EmbeddedError):  # Another version wrote it: its children are unknown, and died with it.
        previous = read_state(data_dir.retired_state)
    if previous:
        end_orphans({previous.bridge_pid: previous.bridge_birth, previous.nats_pid: previous.nats_birth})
    data_dir.retired_state.unlink(missing_ok=True)
