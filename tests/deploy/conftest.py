"""The checkout, the variables of its deployment files, and the package as somebody else would have installed it."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from tests.interop.conftest import alone, cached

ROOT = Path(__file__).resolve().parents[2]
INSTALL_SECONDS = 600
Command = list[str | Path]


@dataclass(frozen=True)
class Installed:
    """An environment elsewhere into which the wheel was installed, and the two files that were built."""

    bin: Path
    sdist: Path
    wheel: Path
    directory: Path
    """Empty; programs are started in here."""
    env: dict[str, str]
    """Nothing of this process's environment but the path to system programs."""

    def run(self, *command: str | Path, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, as its user would."""
        return subprocess.run(
            [self.bin / command[0], *command[1:]],
            env=self.env,
            cwd=self.directory,
            timeout=seconds,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Installed:
    """The wheel, built from the source distribution, in a fresh environment with what the demos need.

    The processes of one run share it, and each has a directory and a broker of its own.
    """
    here = tmp_path_factory.mktemp("wheel")
    root = tmp_path_factory.getbasetemp()
    root = (root if worker_id == "master" else root.parent) / "installed"
    with alone(root):
        if not (root / "done").exists():
            install_wheel(root)
            (root / "done").touch()
    (sdist,) = (root / "dist").glob("*.tar.gz")
    (wheel,) = (root / "dist").glob("*.whl")
    (here / "elsewhere").mkdir()
    env = {"PATH": os.defpath, "HOME": str(here), "BROKER_PLANE_DATA_DIR": str(here / "data")}
    return Installed(root / "venv" / "bin", sdist, wheel, here / "elsewhere", env)


def install_wheel(root: Path) -> None:
    """Build the wheel, and install it into a new environment over what it requires."""
    build: Command = [sys.executable, "-m", "build", "--outdir", root / "dist", ROOT]
    subprocess.run(build, check=True, timeout=INSTALL_SECONDS, stdout=subprocess.DEVNULL)
    (wheel,) = (root / "dist").glob("*.whl")
    required = requirements_of(wheel)
    venv.create(root / "venv", symlinks=True)
    bin_, (packages,) = root / "venv" / "bin", (root / "venv" / "lib").glob("*/site-packages")
    (theirs,) = (required / "lib").glob("*/site-packages")
    (packages / "required.pth").write_text(f"import site; site.addsitedir({str(theirs)!r})\n")
    for program in (required / "bin").iterdir():
        if not (bin_ / program.name).exists():
            (bin_ / program.name).symlink_to(program)
    pip: Command = [sys.executable, "-m", "pip", "--python", bin_ / "python", "install", "--no-deps"]
    subprocess.run([*pip, "--quiet", "--no-compile", wheel], check=True, timeout=INSTALL_SECONDS)


def requirements_of(wheel: Path) -> Path:
    """An environment with what pip installs for the wheel with its demos, made once for the same requirements."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        required = [line for line in archive.read(name).decode().splitlines() if line.startswith("Requires-Dist: ")]
    mark = sha256("\n".join([sys.version, *sorted(required)]).encode()).hexdigest()[:12]
    directory = cached(f"wheel-{mark}")
    with alone(directory):
        if not (directory / "installed").exists():
            venv.create(directory, clear=True)
            pip: Command = [sys.executable, "-m", "pip", "--python", directory / "bin" / "python"]
            # Half of an installation's time goes into compiling what is hardly used.
            install: Command = [*pip, "install", "--quiet", "--no-compile", f"{wheel}[demos]"]
            subprocess.run(install, check=True, timeout=INSTALL_SECONDS)
            subprocess.run([*pip, "uninstall", "--quiet", "--yes", "broker-plane"], check=True, timeout=INSTALL_SECONDS)
            (directory / "installed").touch()
    return directory


@pytest.fixture(scope="session")
def written_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of the file that `broker-plane env FILE` writes."""
    path = tmp_path_factory.mktemp("env") / ".env"
    subprocess.run([sys.executable, "-m", "broker_plane.cli.main", "env", path], check=True, timeout=60)
    assert path.stat().st_mode & 0o777 == 0o600
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


@pytest.fixture(scope="session")
def bare_env() -> dict[str, str]:
    """This process's environment without any of our variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("BROKER_PLANE_", "BP_"))}
