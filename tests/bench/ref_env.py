"""Where each side of a comparison runs: an interpreter, and a directory that has its code beside this bench.

Both sides are made alike: a virtual environment without packages of its own, which sees the packages of the present
one, and a tree of links to the side's code and to the present tests. So only the code differs. They are kept by commit
in the user's cache directory, `broker-plane/bench/against`; delete it whenever you like.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import platformdirs

from tests.bench.lines import ROOT

CODE = ("broker_plane", "servers", "demos")
OWN_BENCH = Path("tests/bench/our_driver.py")


class RefError(Exception):
    """There is nothing to compare with; the message says what to do."""


@dataclass(frozen=True)
class Side:
    """Code that can be driven. `root` has it beside the present bench; `code` is as it was committed."""

    name: str
    python: Path
    root: Path
    code: Path

    @property
    def has_own_bench(self) -> bool:
        return (self.code / OWN_BENCH).is_file()


def present() -> Side:
    """The working tree, with what is not committed."""
    return _made("now", ROOT, _kept("now"))


def past(ref: str) -> Side:
    """The code of a git ref.

    Raises:
        RefError: git does not know it here, or it has no broker_plane.
    """
    commit = commit_of(ref)
    kept = _kept(commit[:12])
    code = kept / "code"
    if not code.is_dir():
        _extract(commit, code)
    if not (code / "broker_plane").is_dir():
        raise RefError(f"{ref} ({commit[:12]}) has no package broker_plane: name a later commit")
    return _made(commit[:12], code, kept)


def commit_of(ref: str, root: Path = ROOT) -> str:
    """The commit that `ref` names.

    Raises:
        RefError: there is no git, this is no checkout, or it has no such ref.
    """
    if not (root / ".git").exists():
        raise RefError(f"{root} is not a git checkout, so it has no {ref}: clone the repository and run this there")
    done = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", root=root)
    if done.returncode != 0:
        raise RefError(
            f"git does not know {ref!r} in {root}. Fetch it first: `git fetch origin {ref}` (then compare with "
            "FETCH_HEAD), `git fetch --tags origin`, or `git fetch --unshallow` in a shallow clone. "
            "`git log --oneline` and `git branch --all` show what is here."
        )
    return done.stdout.decode().strip()


def _git(*arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True)
    except FileNotFoundError as error:
        raise RefError("git was not found: install it, --against reads the other version out of the repository") from (
            error
        )


def _kept(name: str) -> Path:
    """A directory for this code seen from this checkout and with these packages."""
    key = sha256("\0".join([str(ROOT), sys.version, *packages()]).encode()).hexdigest()[:8]
    return Path(platformdirs.user_cache_dir("broker-plane")) / "bench" / "against" / f"{name}-{key}"


def packages() -> list[str]:
    """Where the present interpreter finds packages; no checkout that is installed to be edited."""
    stdlib = sysconfig.get_path("stdlib")
    found = [
        path for path in sys.path if path and Path(path).is_dir() and path not in (stdlib, f"{stdlib}/lib-dynload")
    ]
    return [path for path in found if Path(path).name in ("site-packages", "dist-packages") or not _is_checkout(path)]


def _is_checkout(path: str) -> bool:
    return (Path(path) / "broker_plane").is_dir()


def _extract(commit: str, code: Path) -> None:
    """The files of a commit, all of them or none."""
    code.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=code.parent) as scratch:
        archive, made = Path(scratch) / "archive.tar", Path(scratch) / "code"
        made.mkdir()
        done = _git("archive", "--format=tar", f"--output={archive}", commit)
        if done.returncode != 0:
            raise RefError(f"git archive {commit}: {done.stderr.decode(errors='replace').strip()}")
        shutil.unpack_archive(archive, made, filter="data")
        with suppress(OSError):  # another run was faster
            made.rename(code)


def _made(name: str, code: Path, kept: Path) -> Side:
    """The side of this code; what it needs is made anew in a moment, so that nothing of it grows old."""
    root = kept / "tree"
    root.mkdir(parents=True, exist_ok=True)
    for part in CODE:
        if (code / part).is_dir():
            _link(root / part, code / part)
    _link(root / "tests", ROOT / "tests")
    python = kept / "venv" / "bin" / "python"
    if not python.exists():
        venv.EnvBuilder(symlinks=True, with_pip=False).create(kept / "venv")
    (site,) = (kept / "venv" / "lib").glob("python*/site-packages")
    (site / "side.pth").write_text("\n".join([str(root), *packages(), ""]))
    return Side(name, python, root, code)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target, target_is_directory=True)
