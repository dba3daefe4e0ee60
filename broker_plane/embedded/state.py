"""The records of the running broker (state.json) and of what outlives it (kept.json)."""

from __future__ import annotations

import base64
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from broker_plane.embedded.data_dir import DataDir, read_object
from broker_plane.errors import DamagedFileError, EmbeddedError
from broker_plane.files.private import write_private
from broker_plane.wire.nkey import account_of, account_seed

GIB = 1 << 30
MOST_STORE_BYTES = 64 * GIB
LEAST_FREE_BYTES = 32 << 20
"""Free disk space that a first start needs: half of it becomes the store."""

FSYNC_BEFORE_ACK = "fsync before ack"

Record = TypeVar("Record", "Running", "Kept")


@dataclass(frozen=True)
class Running:
    """A supervisor whose children are both ready. The repr, and so every log, is free of passwords."""

    nats_url: str = field(repr=False)
    """URL for the user `plane`."""
    asker_url: str = field(repr=False)
    """URL for the user `asker` in GUEST, which pulls."""
    bridge_url: str
    pid: int
    """Process id of the supervisor."""
    nats_pid: int
    bridge_pid: int
    durability: str
    data_dir: str
    probe_password: str = field(repr=False)
    """Password of the user `probe` in the account SYS, which may only read the server's variables."""
    nats_birth: str
    """Start time of the process, which identifies it together with its pid (`processes.birth_of`)."""
    bridge_birth: str
    obeyed: str
    """The settings of the process that started it, as `bridge_settings.as_text` writes them."""


@dataclass(frozen=True)
class Kept:
    """Data that the next supervisor reuses, so that connected processes and existing URLs keep working."""

    plane_password: str = field(repr=False)
    probe_password: str = field(repr=False)
    asker_password: str = field(repr=False)
    callout_password: str = field(repr=False)
    callout_seed: str = field(repr=False)
    """Seed that signs the permissions of clients that connect with a grant."""
    callout_issuer: str
    """Public key of that seed, for the server's configuration."""
    store_bytes: int
    nats_port: int
    bridge_port: int


def signature(path: Path) -> tuple[int, int, int] | None:
    """A value that changes whenever the file is replaced or written; None if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def write_state(data_dir: DataDir, running: Running) -> None:
    """Publish the running broker."""
    write_private(data_dir.state, json.dumps(asdict(running)).encode())


def read_state(path: Path) -> Running | None:
    """The record in the file; None if there is no file.

    Raises:
        EmbeddedError: another version wrote it.
    """
    return _read(path, Running)


def retire_state(data_dir: DataDir) -> None:
    """Withdraw the state, but keep a copy that identifies the children."""
    with suppress(FileNotFoundError):
        data_dir.state.replace(data_dir.retired_state)


def load_kept(data_dir: DataDir, *, store_bytes: int) -> Kept:
    """The data of the last supervisor, or new passwords, with the size of the store for this run."""
    kept = _kept_before(data_dir)
    free = free_bytes(data_dir.root)
    if not data_dir.store.exists() and free < LEAST_FREE_BYTES:
        raise EmbeddedError(
            f"{data_dir.root} has {free >> 20} MB free, but the broker needs at least {LEAST_FREE_BYTES >> 20} MB: "
            "free space there, or set BROKER_PLANE_DATA_DIR to a directory on another disk"
        )
    kept = replace(kept, store_bytes=store_bytes or store_share(free, before=kept.store_bytes))
    save_kept(data_dir, kept)
    return kept


def _kept_before(data_dir: DataDir) -> Kept:
    """The data of the last supervisor. A damaged file is set aside and created again.

    The store does not depend on them: processes find new passwords and ports in state.json.
    """
    try:
        value = read_object(data_dir.kept) or {}
    except DamagedFileError:
        data_dir.kept.replace(data_dir.kept.with_name("kept.damaged.json"))
        return replace(_as_record(data_dir.kept, _fresh({}), Kept), store_bytes=_used_bytes(data_dir.store))
    return _as_record(data_dir.kept, _fresh(value) | value, Kept)


def _used_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _fresh(value: dict[str, Any]) -> dict[str, Any]:
    """New passwords, for a first start and for users that an earlier version did not have."""
    made: dict[str, Any] = {f"{user}_password": new_password() for user in ("plane", "probe", "asker", "callout")}
    if "callout_seed" not in value:
        seed = account_seed(os.urandom(32))
        made |= {"callout_seed": seed, "callout_issuer": account_of(seed)}
    return made | {"store_bytes": 0, "nats_port": 0, "bridge_port": 0}


def store_bytes_of(root: Path) -> int:
    """The size of the store in this directory; -1 if unknown."""
    with suppress(EmbeddedError):
        size = (read_object(DataDir(root).kept) or {}).get("store_bytes")
        return size if isinstance(size, int) and size > 0 else -1
    return -1


def save_kept(data_dir: DataDir, kept: Kept) -> None:
    """Store the data for the next supervisor."""
    write_private(data_dir.kept, json.dumps(asdict(kept)).encode(), durable=True)


def store_share(free: int, *, before: int) -> int:
    """Half of the free disk, at most 64 GiB, and never less than `before`.

    Streams reserve their max_bytes out of it. If it shrank because the store itself has filled the disk,
    nats-server would bring the old streams back and refuse every new one.
    """
    return max(min(free // 2, MOST_STORE_BYTES), before)


def free_bytes(directory: Path) -> int:
    """Free space for this user on the directory's file system, in bytes."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def new_password() -> str:
    """A letter and 32 base32 characters: nats-server parses a word of digits as a number (decision 0041)."""
    return "p" + base64.b32encode(os.urandom(20)).decode().lower()


def _read(path: Path, record: type[Record]) -> Record | None:
    value = read_object(path)
    if value == {}:
        raise DamagedFileError(f"{path} is empty: run `broker-plane down`, then start again")
    return None if value is None else _as_record(path, value, record)


def _as_record(path: Path, value: dict[str, Any], record: type[Record]) -> Record:
    try:
        return record(**{each.name: _typed(value[each.name], each.type) for each in fields(record)})
    except (KeyError, TypeError) as error:
        raise EmbeddedError(
            f"{path} was written by another version: run `broker-plane down`, delete the file if it is "
            "still there, and start again",
            reason=repr(error),
        ) from error


def _typed(value: Any, name: object) -> Any:
    # Annotations are strings here, and these records contain only text and whole numbers.
    if type(value).__name__ != name:
        raise TypeError(f"{value!r} is not of type {name}")
    return value
