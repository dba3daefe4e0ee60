"""Imports point one way, and each foreign package has one door. The contracts stand in pyproject.toml."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    """lint-imports in `directory`, on the package that stands there."""
    command = [sys.executable, "-c", LINT, "--no-cache"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)


def test_the_contracts_are_kept() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("plane/bodies/publish.py", "import broker_plane.storage.bodies", "Imports point one way"),
        ("plane/grants/state.py", "import broker_plane.plane.bodies.pull", "Imports point one way within plane"),
        ("bridge/app.py", "import broker_plane.client.http", "Imports point one way"),
        ("plane/bodies/publish.py", "import nats", "nats comes in through broker"),
        ("runtime/wiring.py", "from nats.aio.client import Client", "nats comes in through broker"),
        ("client/http.py", "import starlette.requests", "starlette comes in through web, bridge and transports"),
        ("runtime/connect.py", "import httpx2", "httpx2 comes in through client"),
        ("cli/bodies.py", "from mcp import Client", "mcp comes in through mcp_server"),
        ("newroom/__init__.py", "", "Imports point one way"),
    ],
)
def test_a_stray_import_breaks_its_contract(tmp_path: Path, module: str, line: str, broken: str) -> None:
    shutil.copytree(ROOT / "broker_plane", tmp_path / "broker_plane", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "broker_plane" / module
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as text:
        text.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode != 0
    said = [text for text in done.stdout.splitlines() if text.endswith("BROKEN") or "BROKEN (" in text]
    assert [text for text in said if text.startswith(broken)] == said, done.stdout


def test_a_bridge_starts_without_what_it_does_not_need() -> None:
    program = "import sys, broker_plane.cli.bridge; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert "uvicorn" in loaded
    assert not loaded & {"mcp", "typer", "rich", "httpx2", "duckdb", "altair", "hypothesis", "pytest"}
