"""The peers' own tests, out of their source distributions, run unchanged on our compatibility modules."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from broker_plane.testing.server import NatsServer

from .environment import source_of, their_environment

ALIAS = Path(__file__).parent / "alias"
THEIR_SECONDS = 300


def run(python: Path, environment: dict[str, str], cwd: Path, *arguments: str) -> str:
    """What `python` with these arguments prints; it must end well."""
    command = [str(python), *arguments]
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=THEIR_SECONDS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


@pytest.mark.parametrize(
    ("package", "module", "passed"),
    [
        ("mcp-sd==0.1.2", "mcp_sd", "68 passed"),
        pytest.param("mcp-s2sp==0.1.0", "mcp_s2sp", "23 passed", marks=pytest.mark.full),
    ],
)
def test_their_tests_pass_unchanged(
    agents_python: Path, nats_server: NatsServer, tmp_path: Path, package: str, module: str, passed: str
) -> None:
    source = source_of(package)
    environment = their_environment(nats_server.url, tmp_path, ALIAS)
    program = f"import {module}.server as it, pytest, sys; print(it.__file__); sys.exit(pytest.main(sys.argv[1:]))"
    options = ["-c", str(source / "pyproject.toml"), "-p", "no:cacheprovider", "-p", "no:anyio", "-q", "-rs"]
    said = run(agents_python, environment, tmp_path, "-c", program, *options, str(source / "tests"))
    where, *_, last = said.strip().splitlines()
    assert where.endswith(f"broker_plane/compat/{module}/server.py")
    assert last.startswith(passed), last
    assert "skipped" not in said
