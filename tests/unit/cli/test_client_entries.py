"""Entries that `broker-plane install` writes: they start in any directory, and replace nothing that works."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest

from broker_plane.cli.clients.edits import ClientFile
from broker_plane.cli.clients.entries import entry_for, unwrapped, wrapped
from broker_plane.cli.clients.launcher import Launcher, launcher_of
from broker_plane.cli.clients.records import Records
from broker_plane.cli.clients.registry import CLIENTS
from broker_plane.errors import ConfigError

HERE = launcher_of(portable=False)
CODE, VSCODE, CODEX = CLIENTS["claude-code"], CLIENTS["vscode"], CLIENTS["codex"]
ON_PATH = Launcher("broker-plane", ())


class Installed(Distribution):
    """A distribution with these files in its metadata."""

    def __init__(self, **files: str) -> None:
        self._files = {name.replace("direct_url", "direct_url.json"): text for name, text in files.items()}

    def read_text(self, filename: str) -> str | None:
        return self._files.get(filename)

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose files have the names of modules that every Python program needs."""
    root = tmp_path_factory.mktemp("project")
    taken = "secrets email json logging types typing random string queue select signal socket orjson typer rich nats"
    for name in taken.split():
        (root / f"{name}.py").write_text(f"raise SystemExit('{name} is the project's')\n")
    for name in ("mcp", "broker_plane", "asyncio", "collections", "anyio"):
        (root / name).mkdir()
        (root / name / "__init__.py").write_text(f"raise SystemExit('{name} is the project')\n")
    return root


@pytest.mark.parametrize("upstream", [[], ["true"], ["http://127.0.0.1:1/mcp"]])
def test_an_entry_starts_in_any_directory(project: Path, upstream: list[str]) -> None:
    entry = entry_for(CODE, HERE, upstream)
    command = [entry["command"], *entry["args"][: entry["args"].index("--") if upstream else None], "--help"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: broker-plane" in done.stdout


@pytest.mark.parametrize(
    ("portable", "prefix", "found", "command"),
    [
        (False, "/usr/lib/venv", Installed(INSTALLER="pip"), HERE.command),
        (False, "/home/ann/.cache/uv/archive-v0/x", Installed(INSTALLER="uv"), "uvx"),
        (False, "/home/ann/.cache/uv/archive-v0/x", Installed(INSTALLER="uv", direct_url="{}"), None),
        (True, "/usr/lib/venv", Installed(INSTALLER="pip"), "broker-plane"),
        (True, "/usr/lib/venv", Installed(INSTALLER="uv"), "uvx"),
        (True, "/usr/lib/venv", Installed(INSTALLER="uv", direct_url="{}"), "broker-plane"),
        (True, "/home/ann/.cache/uv/environments-v2/x", Installed(INSTALLER="uv", direct_url="{}"), "broker-plane"),
    ],
)
def test_which_command_starts_it(portable: bool, prefix: str, found: Installed, command: str | None) -> None:
    if command is None:
        with pytest.raises(ConfigError, match="cache of uv"):
            launcher_of(portable=portable, prefix=Path(prefix), found=found)
        return
    launcher = launcher_of(portable=portable, prefix=Path(prefix), found=found)
    assert launcher.command == command
    if portable:
        assert "/" not in " ".join([launcher.command, *launcher.args])


@pytest.mark.parametrize(
    "found",
    [
        {"type": "sse", "url": "http://h/sse"},
        {"type": "SSE", "url": "http://h/sse", "headers": {"a": "b"}},
        {"transport": "sse", "url": "http://h/mcp"},
        {"type": "ws", "url": "ws://h/mcp"},
        {"type": "websocket", "url": "http://h/mcp"},
        {"type": "stdio", "url": "http://h/mcp"},
        {"type": 7, "url": "http://h/mcp"},
        {"type": None, "url": "http://h/mcp"},
        {"type": "http", "url": None},
        {"url": ["http://h/mcp"]},
        {"url": "http://h/mcp", "bearer_token_env_var": "TOKEN"},
        {"type": "http"},
        {"command": ["npx", "it"]},
        {"command": "npx", "args": [1]},
        {},
        [],
        "npx it",
    ],
)
def test_an_entry_that_the_proxy_cannot_be_in_front_of_is_refused(tmp_path: Path, found: Any) -> None:
    file = tmp_path / ".mcp.json"
    text = json.dumps({"mcpServers": {"legacy": found}})
    file.write_text(text)
    with pytest.raises(ConfigError, match=str(file)):
        ClientFile(CODE, file, Records(tmp_path / "data")).wrap("legacy", HERE)
    assert file.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == [".mcp.json"]


SERVERS: dict[str, Any] = {
    "a command": {"command": "npx", "args": ["-y", "files"], "env": {"KEY": "v"}, "cwd": "/w"},
    "a command without arguments": {"command": "files", "args": []},
    "a URL": {"type": "http", "url": "http://127.0.0.1:8000/mcp"},
    "a URL with headers": {"type": "http", "url": "https://example.com/mcp", "headers": {"X-Key": "${KEY}"}},
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_goes_behind_the_proxy_once_and_comes_back(name: str) -> None:
    found = SERVERS[name]
    behind = wrapped(CODE, HERE, name, found)
    assert wrapped(CODE, HERE, name, behind) == behind
    assert behind["args"][3] == "proxy" and not {"url", "headers"} & set(behind)
    assert unwrapped(CODE, name, behind) == found


def test_headers_of_a_url_move_into_the_environment_of_the_proxy() -> None:
    made = wrapped(CODE, ON_PATH, "keyed", SERVERS["a URL with headers"])
    assert made["args"] == ["proxy", "--header-env", "X-Key=UPSTREAM_X_KEY", "--", "https://example.com/mcp"]
    assert made["env"] == {"UPSTREAM_X_KEY": "${KEY}"}


@pytest.mark.parametrize("kind", [None, "http", "streamable-http", "streamableHttp", "HTTP"])
def test_a_streamable_http_entry_goes_behind_the_proxy(kind: str | None) -> None:
    made = wrapped(CODE, HERE, "far", {"url": "http://h/mcp", **({"type": kind} if kind else {})})
    assert made["args"][-2:] == ["--", "http://h/mcp"]


def test_each_client_gets_the_members_that_it_needs() -> None:
    assert entry_for(VSCODE, ON_PATH, ["it"])["type"] == "stdio"
    assert "type" not in entry_for(CODEX, ON_PATH, ["it"])
    codex = {"url": "https://example.com/mcp", "http_headers": {"X-Key": "k"}}
    behind = wrapped(CODEX, ON_PATH, "far", codex)
    assert behind["env"] == {"UPSTREAM_X_KEY": "k"}
    assert unwrapped(CODEX, "far", behind) == codex


@pytest.mark.parametrize(
    "args",
    [
        ["-m", "broker_plane.cli.main", "proxy", "--", "npx", "it"],
        ["-P", "-m", "broker_plane.cli.main", "proxy", "--threshold", "1MB", "--", "npx", "it"],
    ],
)
def test_an_entry_of_an_earlier_version_stays_behind_one_proxy(args: list[str]) -> None:
    made = wrapped(CODE, HERE, "it", {"command": "/old/python", "args": args})
    assert made["args"] == ["-P", *(word for word in args if word != "-P")]
    assert made["command"] == HERE.command
