"""An environment with our dependencies and the agent frameworks: made once from PyPI, kept in the cache directory.

Our own code comes from the checkout, by PYTHONPATH.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from tests.interop.conftest import ROOT, alone, cached
from tests.interop.environments import make_environment, pip_for, pip_install

PIP_SECONDS = 900
FOR_TESTS = ["pytest>=8.4", "pytest-asyncio>=1", "pytest-timeout>=2.2", "httpx>=0.27"]
FOR_DEMOS = ["matplotlib>=3.10", "langchain-openai>=1.0"]
SHARED = ("mcp", "pydantic", "anyio", "starlette", "uvicorn", "httpx2", "nats-py", "orjson", "msgpack")
"""In the version that this environment has, so that what is tested is tested with the same."""
PINNED = ("claude-agent-sdk==0.2.187", "openai-agents==0.24.0", "langgraph==1.2.22", "langchain-core==1.7.2")


def requirements(*extras: str) -> list[str]:
    """What our package needs, with `extras`, as pyproject.toml says it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = list(project["dependencies"])
    for extra in extras:
        needed += project["optional-dependencies"][extra]
    return needed


def python_with(name: str, *extras: str, more: Sequence[str] = ()) -> Path:
    """The interpreter of an environment `name` that has what our package needs with `extras`, pytest, and `more`."""
    wanted = [*requirements(*extras), *FOR_TESTS, *more]
    ours = [f"{found}=={version(found)}" for found in SHARED]
    mark = sha256("\n".join([sys.version, *wanted, *ours, *PINNED]).encode()).hexdigest()[:12]
    directory = cached(f"{name}-{mark}")
    with alone(directory):
        if not (directory / "installed").exists():
            make_environment(directory)
            (directory / "constraints.txt").write_text("\n".join([*ours, *PINNED]))
            _pip([*pip_install(directory / "bin/python"), "-c", str(directory / "constraints.txt"), *wanted])
            (directory / "installed").touch()
    return directory / "bin/python"


def python_beside(name: str, *others: str) -> Path:
    """The interpreter of an environment that has `others` and what our package needs, as pip resolves them together."""
    wanted = [*requirements(), *others]
    mark = sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()[:12]
    directory = cached(f"{name}-{mark}")
    with alone(directory):
        if not (directory / "installed").exists():
            make_environment(directory)
            _pip([*pip_install(directory / "bin/python"), *wanted])
            (directory / "installed").touch()
    return directory / "bin/python"


def source_of(requirement: str) -> Path:
    """The unpacked source distribution of `name==version`, from PyPI."""
    directory = cached(requirement.replace("==", "-") + "-source")
    with alone(directory):
        if not (directory / "PKG-INFO").exists():
            directory.mkdir(parents=True, exist_ok=True)
            package = ["--no-deps", "--no-binary", requirement.partition("==")[0], requirement]
            _pip([*pip_for(Path(sys.executable)), "download", "-q", "-d", str(directory), *package])
            (archive,) = directory.glob("*.tar.gz")
            strip = ["--strip-components=1", "--file", str(archive), "-C", str(directory)]
            subprocess.run(["tar", "--extract", *strip], check=True)
    return directory


def their_environment(nats_url: str, data_dir: Path, *paths: Path) -> dict[str, str]:
    """Of a process in such an environment: our checkout, and a NATS of the test's."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    path = os.pathsep.join(str(part) for part in (*paths, ROOT))
    ours = {"BROKER_PLANE_NATS_URL": nats_url, "BROKER_PLANE_DATA_DIR": str(data_dir), "HOME": str(data_dir)}
    return kept | ours | {"PYTHONPATH": path, "PYTHONPYCACHEPREFIX": str(cached("bytecode"))}


def _pip(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    assert done.returncode == 0, f"{' '.join(command[4:7])}: {done.stderr[-1500:]}"
