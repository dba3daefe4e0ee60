"""Small file systems for a test, which are unmounted with it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


class Mounts:
    """Mounts over directories, until `close`."""

    def __init__(self) -> None:
        self._over: list[Path] = []

    def tmpfs(self, directory: Path, *, megabytes: int, options: str = "") -> None:
        """A file system in memory, with mount options of its own."""
        more = f",{options}" if options else ""
        self._mount(directory, "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700{more}", "none")

    def ext4(self, directory: Path, *, megabytes: int) -> None:
        """A file system on a file beside the directory."""
        image = directory.with_name(directory.name + ".ext4")
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True)
        self._mount(directory, "-o", "loop", str(image))

    def resize(self, directory: Path, *, megabytes: int) -> None:
        """Another size for a tmpfs."""
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(directory)], check=True)

    def read_only(self, directory: Path) -> bool:
        """Make it so; False while somebody has a file open there for writing."""
        return not subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=False).returncode

    def remount_ext4(self, directory: Path) -> None:
        """As after a restart of the machine: what the disk has is there, and nothing else."""
        subprocess.run(["umount", str(directory)], check=True)
        image = str(directory.with_name(directory.name + ".ext4"))
        subprocess.run(["mount", "-o", "loop", image, str(directory)], check=True)

    def close(self) -> None:
        while self._over:
            subprocess.run(["umount", "-l", str(self._over.pop())], check=False)

    def _mount(self, directory: Path, *arguments: str) -> None:
        directory.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", *arguments, str(directory)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            if os.environ.get("CI") == "true" and os.geteuid() == 0:
                pytest.fail(f"cannot mount: {done.stderr}")
            pytest.skip(f"this user cannot mount: {done.stderr.strip()}")
        self._over.append(directory)
