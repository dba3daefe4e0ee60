"""The two child processes: how each is started, and how it reports that it is ready."""

from __future__ import annotations

import json
import selectors
import time
from collections.abc import Sequence

from broker_plane.embedded.accounts import ASKER
from broker_plane.embedded.child import Child
from broker_plane.embedded.damaged_blocks import named_block, set_aside
from broker_plane.embedded.data_dir import DataDir
from broker_plane.embedded.disk import why_unwritable
from broker_plane.embedded.nats_server import ANY_PORT, find_binary, read_port, render_config
from broker_plane.embedded.state import Kept
from broker_plane.errors import EmbeddedError, PortInUseError
from broker_plane.files.private import write_private
from broker_plane.wire.plane_names import Names

_FAILED_WRITE = "ritical write error"
_FIRST_PAUSE_SECONDS = 2.0
_MAX_PAUSE_SECONDS = 60.0
_STEADY_SECONDS = 60.0
ROOM_BYTES = 4 << 20
"""Free space required before a restart: more than the threshold of a full disk, so that it does not fail again."""

PORT_TAKEN = 3
"""Exit code of a bridge whose port is in use."""


class NatsServerChild(Child):
    """nats-server on loopback: a free port at the first start, and the same one afterwards."""

    name = "nats-server"

    def __init__(
        self, data_dir: DataDir, kept: Kept, port: int, selector: selectors.BaseSelector, names: Names
    ) -> None:
        super().__init__(data_dir.log, selector)
        self._data_dir = data_dir
        self._kept = kept
        self._names = names
        self.port = port
        self._environment["GOMEMLIMIT"] = "384MiB"
        self._binary = find_binary()
        self.failed_write = False
        """A write failed. Until it is restarted, nats-server rejects all writes to that stream."""
        self._unreadable: tuple[str, str] | None = None
        self._restart_at = 0.0
        self._pause = 0.0

    def recover(self, now: float) -> None:
        """Restart it after a failed write, once the disk has space again.

        If it fails again soon, it is restarted less and less often.
        """
        if not self.failed_write or not self.ready or now < self._restart_at:
            return
        if why_unwritable(self._data_dir.root, ROOM_BYTES):
            return
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE_SECONDS), _MAX_PAUSE_SECONDS)
        self._restart_at = now + self._pause
        self.log.note("the disk has space again: restarting nats-server, which rejects writes until then")
        self.terminate()

    def _read_log(self, line: str) -> None:
        super()._read_log(line)
        self._unreadable = named_block(line) or self._unreadable
        if _FAILED_WRITE in line and not self.failed_write:
            self.failed_write = True
            if time.monotonic() > self._restart_at + _STEADY_SECONDS:
                self._pause = 0.0

    def set_damaged_file_aside(self) -> bool:
        """Set a block file aside if nats-server ended because it could not read it. Returns whether it did."""
        if self.pid or self.exit_code in (None, 0) or self._unreadable is None:
            return False
        named, self._unreadable = self._unreadable, None
        for path in set_aside(self._data_dir.store, *named, self._data_dir.damaged):
            self.log.note(f"nats-server cannot start with a damaged file of {named[0]}; moved it to {path}")
            self.exit_code = None
            return True
        return False

    @property
    def url(self) -> str:
        """URL with the password of the user `plane`."""
        return self._url("plane", self._kept.plane_password)

    @property
    def asker_url(self) -> str:
        """URL with the password of the user `asker`."""
        return self._url(ASKER, self._kept.asker_password)

    def _url(self, user: str, password: str) -> str:
        return f"nats://{user}:{password}@127.0.0.1:{self.port}"

    def _command(self) -> Sequence[str]:
        conf = render_config(self._data_dir, self._kept, port=self.port or ANY_PORT, names=self._names)
        write_private(self._data_dir.nats_conf, conf.encode())
        self.failed_write = False
        self._unreadable = None
        self._empty_ports()
        return [str(self._binary), "-c", str(self._data_dir.nats_conf)]

    def _empty_ports(self) -> None:
        # A killed server leaves its file behind, and a later one may get the same pid.
        self._data_dir.ports.mkdir(exist_ok=True)
        for file in self._data_dir.ports.iterdir():
            file.unlink()

    def _is_ready(self, pid: int) -> bool:
        port = read_port(self._data_dir.ports, pid)
        self.port = port or self.port
        return port is not None

    def _read_line(self, line: str) -> None:
        self.log.write(line)


class Bridge(Child):
    """The HTTP bridge. It reports `{"bridge": "<url>"}` on standard output when it is ready.

    It starts together with nats-server, because its imports take longer than the start of the broker, and receives the
    broker's URL on standard input.
    """

    name = "bridge"

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        data_dir: DataDir,
        kept: Kept,
        selector: selectors.BaseSelector,
    ) -> None:
        super().__init__(data_dir.log, selector)
        self._base_command = command
        self._environment |= {
            "BROKER_PLANE_DATA_DIR": str(data_dir.root),
            "BROKER_PLANE_CALLOUT_PASSWORD": kept.callout_password,
            "BROKER_PLANE_CALLOUT_SEED": kept.callout_seed,
            "BROKER_PLANE_NATS_PROBE_PASSWORD": kept.probe_password,
            "BROKER_PLANE_ROLE": "plane",
            # These are for an external NATS.
            **{f"BROKER_PLANE_NATS_{name}": "" for name in ("CREDS", "NKEY", "CA", "CERT", "KEY", "DOMAIN")},
        }
        self.port = port
        self.url = ""
        self._informed = 0

    def use_broker(self, nats_url: str) -> None:
        """Pass the URL of the ready broker to the bridge, once per process."""
        if self.pid and self.pid != self._informed:
            self._informed = self.pid
            self.write_line(nats_url)

    def failure(self) -> EmbeddedError:
        if self.exit_code == PORT_TAKEN:
            return PortInUseError(
                f"Port {self.port} is in use by another program: choose another port, or stop that program"
            )
        return super().failure()

    def _command(self) -> Sequence[str]:
        self.url = ""
        return [*self._base_command, "--port", str(self.port)]

    def _is_ready(self, pid: int) -> bool:
        return bool(self.url)

    def _read_line(self, line: str) -> None:
        url = bridge_url(line)
        if url is None:
            self.log.write(line)
        else:
            self.url, self.port = url, int(url.rpartition(":")[2])


def bridge_url(line: str) -> str | None:
    """The URL if the line is a bridge's report of readiness, otherwise None."""
    try:
        url = json.loads(line)["bridge"]
    except (ValueError, KeyError, TypeError):
        return None
    host, _, port = str(url).rpartition(":")
    return str(url) if host.startswith("http://") and port.isdecimal() else None
