"""The data directory: where each file of the embedded broker lies, and how a private file is written."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker_plane.errors import DamagedFileError, EmbeddedError

HARMLESS = {"log", "attached.lock", "lost+found"}
"""What may lie in a directory that is about to become ours: what another process has just made, or mkfs did."""


@dataclass(frozen=True)
class DataDir:
    """Names of the files below one absolute directory; nothing is touched by making one."""

    root: Path

    @property
    def store(self) -> Path:
        """JetStream's own files."""
        return self.root / "jetstream"

    @property
    def state(self) -> Path:
        """What runs now; there only while both children are or were ready."""
        return self.root / "state.json"

    @property
    def retired_state(self) -> Path:
        """What ran before: the only trace of children that may have outlived their supervisor."""
        return self.root / "retired.json"

    @property
    def kept(self) -> Path:
        """What outlives a supervisor: passwords, ports, size of the store."""
        return self.root / "kept.json"

    @property
    def supervisor_lock(self) -> Path:
        """Held exclusively by the supervisor for its whole life; its text is the holder's pid, or nothing."""
        return self.root / "supervisor.lock"

    @property
    def attached_lock(self) -> Path:
        """Shared by every attached process; exclusive for a supervisor that ends for idleness."""
        return self.root / "attached.lock"

    @property
    def nats_conf(self) -> Path:
        """The generated configuration, passwords included."""
        return self.root / "nats.conf"

    @property
    def ports(self) -> Path:
        """Where nats-server writes the port that it got, once it is ready."""
        return self.root / "ports"

    @property
    def damaged(self) -> Path:
        """Files of the store that nats-server could not start with."""
        return self.root / "damaged"

    @property
    def log(self) -> Path:
        """Rotated, redacted logs of the three processes."""
        return self.root / "log"


def place_of(root: Path) -> DataDir:
    """The data directory at `root`.

    Raises:
        EmbeddedError: there is none to be had: this user has no home directory, and the setting names no other.
    """
    if root.parts[:1] == ("~",):
        raise EmbeddedError(
            "This user has no home directory for the private broker: set HOME, set BROKER_PLANE_DATA_DIR to a "
            "directory of its own, or set BROKER_PLANE_NATS_URL to use an existing NATS"
        )
    return DataDir(root.absolute())


def prepare(data_dir: DataDir) -> None:
    """Make the directory, for this user alone. A directory that is there and not ours is never changed.

    Raises:
        EmbeddedError: it cannot be made or written, or holds other things, or other users could change what is in it.
    """
    root = data_dir.root
    try:
        try:
            root.parent.mkdir(parents=True, exist_ok=True)
            root.mkdir(mode=0o700)
        except FileExistsError:
            _check_shared(root)
        data_dir.log.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise unusable(root, error) from error


def _check_shared(root: Path) -> None:
    """Accept a directory that was there before, and close it to other users where we made it."""
    status = root.stat()
    open_to = status.st_mode & 0o077
    if not open_to:
        return
    names = {path.name for path in root.iterdir()}
    ours = "supervisor.lock" in names
    if not ours and names - HARMLESS:
        raise EmbeddedError(
            f"The data directory {root} holds other things and is open to other users: "
            f"set BROKER_PLANE_DATA_DIR to a directory of its own, such as {root / 'broker-plane'}, or `chmod 700` it"
        )
    if ours and status.st_uid == os.geteuid():
        root.chmod(0o700)
    elif open_to & 0o002 or (open_to & 0o020 and status.st_uid == os.geteuid()):
        # A volume of Kubernetes belongs to another user and to a group of ours (fsGroup); that is its only way in.
        raise EmbeddedError(
            f"Other users can write to the data directory {root}: `chmod 700` it, or set BROKER_PLANE_DATA_DIR to a "
            "directory of its own"
        )


_AGAIN = "`broker-plane down` ends what runs there, then start again"
_WRITABLE = "make it writable for this user"
_REMEDIES = {
    errno.ENOSPC: "free space on its disk",
    errno.EDQUOT: "free some of this user's quota",
    errno.EROFS: "mount its disk writable",
    errno.EIO: "look after its disk",
}


def unusable(path: Path, error: OSError) -> EmbeddedError:
    """The error for a data directory that the file system refuses."""
    return EmbeddedError(
        f"The data directory {path} cannot be used ({error.strerror}): {_REMEDIES.get(error.errno or 0, _WRITABLE)}, "
        "or set BROKER_PLANE_DATA_DIR to another directory"
    )


def write_private(path: Path, text: str, *, durable: bool = False) -> None:
    """Replace the file in one step, readable by this user only: a reader sees the old text or the new one.

    Only for the holder of the supervisor's lock: two writers at once would share one draft. With `durable`
    the text outlives a power loss; without, the file may then be empty.
    """
    draft = path.with_name(path.name + ".tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    draft.replace(path)


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in the file; None if there is no file.

    Raises:
        DamagedFileError: there is a file, and it holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{path} cannot be read: {_AGAIN}", reason=str(error)) from error
    if not isinstance(value, dict):
        raise DamagedFileError(f"{path} holds no JSON object: {_AGAIN}")
    return value
