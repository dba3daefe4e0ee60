"""The environments of others. Each is made once from its registry, and kept in a cache directory.

`BROKER_PLANE_TEST_CACHE` names another directory; without it, mcp-sd's environment is the one of the benchmark.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import orjson
import platformdirs
import pytest

from tests.bench.peer_env import PEER, default_dir, peer_python
from tests.tools import need

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
NODE_PACKAGES = ("@nats-io/obj@3.4.0", "@nats-io/transport-node@3.4.0")
NPM_SECONDS = 300
ANSWER_SECONDS = 180

Ask = Callable[..., Awaitable[Any]]
"""`await ask(**question)`: the JSON that the other side answers."""


def cache(name: str) -> Path | None:
    chosen = os.environ.get("BROKER_PLANE_TEST_CACHE")
    return Path(chosen) / name if chosen else None


def cached(name: str) -> Path:
    """Where what the tests fetch is kept: `BROKER_PLANE_TEST_CACHE`, or a directory in the user's cache."""
    return cache(name) or Path(platformdirs.user_cache_dir("broker-plane")) / "tests" / name


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Whoever makes the same directory waits until this one is done."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f".{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def their_python() -> Path:
    """The interpreter of an environment with mcp-sd, and with it mcp 1.x."""
    directory = cache(PEER.replace("==", "-")) or default_dir()
    with alone(directory):
        return peer_python(directory)


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """A `node_modules` with the object store of NATS's JavaScript client."""
    return npm_installed("nats-js", *NODE_PACKAGES)


def npm_installed(name: str, *packages: str) -> Path:
    """A `node_modules` with these packages; the first one's version names its directory."""
    need("node", "npm", why="whose NATS client reads our bodies")
    directory = cached(name) / packages[0].rpartition("@")[2]
    with alone(directory):
        if not (directory / "installed").exists():
            npm_install(directory, *packages)
            (directory / "installed").touch()
    return directory / "node_modules"


def npm_install(directory: Path, *packages: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(directory), *packages]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=NPM_SECONDS, check=False)
    assert done.returncode == 0, f"npm install: {done.stderr[-500:]}"


@pytest.fixture
def ask_theirs(their_python: Path, tmp_path: Path) -> Ask:
    """`await ask_theirs(program, **question)` runs a program of this directory in their environment."""

    async def ask(program: str, **question: Any) -> Any:
        return await answer([their_python, HERE / program], question, {}, tmp_path)

    return ask


@pytest.fixture
def ask_node(node_modules: Path, tmp_path: Path) -> Ask:
    async def ask(program: str, **question: Any) -> Any:
        return await answer(["node", HERE / program], question, {"NODE_PATH": str(node_modules)}, tmp_path)

    return ask


async def answer(command: Sequence[str | Path], question: dict[str, Any], env: dict[str, str], cwd: Path) -> Any:
    """What a program prints on standard output for a question on standard input, both JSON."""
    ours = ("BROKER_PLANE_", "PYTHON")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | env
    return await answer_in(command, question, env, cwd)


async def answer_in(command: Sequence[str | Path], question: dict[str, Any], env: dict[str, str], cwd: Path) -> Any:
    """As `answer`, in exactly the environment `env`."""
    with anyio.fail_after(ANSWER_SECONDS):
        done = await anyio.run_process(
            [str(word) for word in command], input=orjson.dumps(question), env=env, cwd=cwd, check=False
        )
    assert done.returncode == 0, done.stderr.decode()
    return orjson.loads(done.stdout)
