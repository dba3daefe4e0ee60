"""The loop that keeps nats-server and bridge running, publishes their state, and stops when idle."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from broker_plane.embedded.bridge_settings import prefix_of
from broker_plane.embedded.child import read_ready
from broker_plane.embedded.children import Bridge, NatsServerChild
from broker_plane.embedded.data_dir import DataDir
from broker_plane.embedded.idle import IdleWatch, stores_nothing
from broker_plane.embedded.logs import RotatingLog
from broker_plane.embedded.state import (
    FSYNC_BEFORE_ACK,
    Running,
    load_kept,
    retire_state,
    save_kept,
    signature,
    write_state,
)
from broker_plane.embedded.tcp_ports import if_free
from broker_plane.embedded.wakeup import Wakeup
from broker_plane.errors import EmbeddedError
from broker_plane.files.locks import FileLock
from broker_plane.wire.plane_names import Names

BRIDGE_STOP_SECONDS = 5.0
NATS_STOP_SECONDS = 3.0
PORTS_FILE_POLL_SECONDS = 0.002
DISK_POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Options:
    """Command-line options of a supervisor."""

    bridge_command: Sequence[str]
    port: int
    """Port of the bridge; 0: the previous one, or any."""
    idle_stop_seconds: float
    store_bytes: int
    """Size of the store; 0: half of the free disk space, up to 64 GiB."""
    obeyed: str
    """Settings of the process that starts it (`bridge_settings.as_text`), for later processes to compare."""


class Supervisor:
    """Runs both children. Only for the holder of the supervisor's lock."""

    def __init__(self, data_dir: DataDir, options: Options) -> None:
        self._data_dir = data_dir
        self._obeyed = options.obeyed
        self._kept = load_kept(data_dir, store_bytes=options.store_bytes)
        self._log = RotatingLog(data_dir.log / "supervisor.log")
        self._selector = selectors.DefaultSelector()
        self._wakeup = Wakeup(self._selector)
        nats_port = if_free(self._kept.nats_port)
        self._nats = NatsServerChild(data_dir, self._kept, nats_port, self._selector, Names(prefix_of(options.obeyed)))
        port = options.port or if_free(self._kept.bridge_port)
        self._bridge = Bridge(options.bridge_command, port, data_dir, self._kept, self._selector)
        attached = FileLock(data_dir.attached_lock)
        self._idle = IdleWatch(attached, seconds=options.idle_stop_seconds, now=time.monotonic())
        self._shown: Running | None = None
        self._signature: tuple[int, int, int] | None = None

    def start(self) -> None:
        """Start both children, wait until they are ready, and publish them.

        Raises:
            PortInUseError: another program uses the requested port.
            EmbeddedError: a child ended, or this process was asked to stop, before both were ready.
        """
        while self._shown is None:
            self._step()
            for child in (self._nats, self._bridge):
                if child.exit_code is not None:
                    raise child.failure()
            if self._wakeup.stop:
                raise EmbeddedError("The broker was stopped before it was ready: start again")

    def run(self) -> None:
        """Keep both running until asked to stop, or until idle."""
        while not self._wakeup.stop:
            self._step()
            if self._idle.is_over(time.monotonic(), lambda: stores_nothing(self._bridge.url)):
                self._log.note("no process is attached and nothing is stored: stopping")
                return

    def stop(self) -> None:
        """Withdraw the published state and stop both children, the bridge first."""
        retire_state(self._data_dir)
        self._bridge.stop(BRIDGE_STOP_SECONDS)
        self._nats.stop(NATS_STOP_SECONDS)
        self._data_dir.retired_state.unlink(missing_ok=True)

    def _step(self) -> None:
        read_ready(self._selector, self._timeout(time.monotonic()))
        now = time.monotonic()
        self._nats.tend(now)
        self._nats.set_damaged_file_aside()
        self._nats.recover(now)
        self._bridge.tend(now)
        # Afterwards the bridge reconnects by itself.
        if self._nats.ready:
            self._bridge.use_broker(self._nats.url)
        if self._nats.ready and self._bridge.ready:
            self._show(self._running())

    def _timeout(self, now: float) -> float:
        """Seconds until something is due; output and signals end the wait early."""
        if not self._nats.ready:
            return PORTS_FILE_POLL_SECONDS if self._nats.pid else max(0.0, self._nats.due - now)
        if not self._bridge.pid:
            return max(0.0, self._bridge.due - now)
        return min(self._idle.interval, DISK_POLL_SECONDS) if self._nats.failed_write else self._idle.interval

    def _show(self, running: Running) -> None:
        if running == self._shown and signature(self._data_dir.state) == self._signature:
            return
        try:
            self._keep_ports()
            write_state(self._data_dir, running)
            self._signature = signature(self._data_dir.state)
        except OSError:
            # After the first time, a full disk is no reason to stop: the old pids remain until a later step.
            if self._shown is None:
                raise
            return
        self._log.note(f"ready: nats-server {running.nats_pid}, bridge {running.bridge_pid}")
        self._shown = running

    def _keep_ports(self) -> None:
        kept = replace(self._kept, nats_port=self._nats.port, bridge_port=self._bridge.port)
        if kept != self._kept:
            save_kept(self._data_dir, kept)
            self._kept = kept

    def _running(self) -> Running:
        return Running(
            nats_url=self._nats.url,
            asker_url=self._nats.asker_url,
            bridge_url=self._bridge.url,
            pid=os.getpid(),
            nats_pid=self._nats.pid,
            bridge_pid=self._bridge.pid,
            durability=FSYNC_BEFORE_ACK,
            data_dir=str(self._data_dir.root),
            probe_password=self._kept.probe_password,
            nats_birth=self._nats.birth,
            bridge_birth=self._bridge.birth,
            obeyed=self._obeyed,
        )
