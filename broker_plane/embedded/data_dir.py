"""The data directory: the paths of the embedded broker's files."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker_plane.errors import DamagedFileError, EmbeddedError

HARMLESS = {"log", "attached.lock", "lost+found"}
"""Entries that a new data directory may have: those of another starting process, or of mkfs."""


@dataclass(frozen=True)
class DataDir:
    """Paths below one absolute directory. Creating an instance does not touch the file system."""

    root: Path

    @property
    def store(self) -> Path:
        """JetStream's own files."""
        return self.root / "jetstream"

    @property
    def state(self) -> Path:
        """The running broker; exists only after both children were ready."""
        return self.root / "state.json"

    @property
    def retired_state(self) -> Path:
        """The previous broker: the only trace of children that may have outlived their supervisor."""
        return self.root / "retired.json"

    @property
    def kept(self) -> Path:
        """Data that outlives a supervisor: passwords, ports, size of the store."""
        return self.root / "kept.json"

    @property
    def supervisor_lock(self) -> Path:
        """Held exclusively by the supervisor while it lives; contains its pid, or nothing."""
        return self.root / "supervisor.lock"

    @property
    def attached_lock(self) -> Path:
        """Held shared by every attached process; held exclusively by a supervisor that stops because it is idle."""
        return self.root / "attached.lock"

    @property
    def nats_conf(self) -> Path:
        """The generated configuration, including passwords."""
        return self.root / "nats.conf"

    @property
    def ports(self) -> Path:
        """Directory in which nats-server writes its port once it is ready."""
        return self.root / "ports"

    @property
    def damaged(self) -> Path:
        """Damaged files of the store that kept nats-server from starting."""
        return self.root / "damaged"

    @property
    def log(self) -> Path:
        """Rotated, redacted logs of the three processes."""
        return self.root / "log"


def place_of(root: Path) -> DataDir:
    """The data directory at `root`.

    Raises:
        EmbeddedError: this user has no home directory, and no other directory is set.
    """
    if root.parts[:1] == ("~",):
        raise EmbeddedError(
            "This user has no home directory for the private broker: set HOME, set BROKER_PLANE_DATA_DIR to a "
            "directory of its own, or set BROKER_PLANE_NATS_URL to use an existing NATS"
        )
    return DataDir(root.absolute())


def prepare(data_dir: DataDir) -> None:
    """Create the directory for this user only. An existing directory of somebody else is never changed.

    Raises:
        EmbeddedError: it cannot be created or written, contains other files, or other users can write to it.
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
    """Accept an existing directory, and close it to other users if it is a data directory of ours."""
    status = root.stat()
    open_to = status.st_mode & 0o077
    if not open_to:
        return
    names = {path.name for path in root.iterdir()}
    ours = "supervisor.lock" in names
    if not ours and names - HARMLESS:
        raise EmbeddedError(
            f"The data directory {root} contains other files and is accessible to other users: "
            f"set BROKER_PLANE_DATA_DIR to a directory of its own, such as {root / 'broker-plane'}, or `chmod 700` it"
        )
    if ours and status.st_uid == os.geteuid():
        root.chmod(0o700)
    elif open_to & 0o002 or (open_to & 0o020 and status.st_uid == os.geteuid()):
        # A Kubernetes volume belongs to another user and to one of our groups (fsGroup), which is our only access.
        raise EmbeddedError(
            f"Other users can write to the data directory {root}: `chmod 700` it, or set BROKER_PLANE_DATA_DIR to a "
            "directory of its own"
        )


_AGAIN = "run `broker-plane down`, then start again"
_WRITABLE = "make it writable for this user"
_REMEDIES = {
    errno.ENOSPC: "free disk space",
    errno.EDQUOT: "free some of this user's quota",
    errno.EROFS: "mount its disk writable",
    errno.EIO: "check its disk",
}


def unusable(path: Path, error: OSError) -> EmbeddedError:
    """The error for a data directory that the operating system rejects."""
    return EmbeddedError(
        f"The data directory {path} cannot be used ({error.strerror}): {_REMEDIES.get(error.errno or 0, _WRITABLE)}, "
        "or set BROKER_PLANE_DATA_DIR to another directory"
    )


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in the file; None if there is no file.

    Raises:
        DamagedFileError: the file contains something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{path} cannot be read: {_AGAIN}", reason=str(error)) from error
    if not isinstance(value, dict):
        raise DamagedFileError(f"{path} does not contain a JSON object: {_AGAIN}")
    return value
