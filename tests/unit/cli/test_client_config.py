"""Entries that `broker-plane install` writes: they start wherever the client stands, and replace nothing that works."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from broker_plane.cli.client_config import entry_for, install_into
from broker_plane.errors import ConfigError


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
    entry = entry_for(upstream)
    command = [entry["command"], *entry["args"][: entry["args"].index("--") if upstream else None], "--help"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: broker-plane" in done.stdout


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
        {"type": "http"},
        {"command": ["npx", "it"]},
        {"command": "npx", "args": [1]},
        {},
        [],
        "npx it",
    ],
)
def test_an_entry_that_the_proxy_cannot_stand_before_is_refused(tmp_path: Path, found: Any) -> None:
    file = tmp_path / ".mcp.json"
    text = json.dumps({"mcpServers": {"legacy": found}})
    file.write_text(text)
    with pytest.raises(ConfigError):
        install_into(file, "legacy", None, dry_run=False)
    assert file.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == [".mcp.json"]


@pytest.mark.parametrize("kind", [None, "http", "streamable-http", "streamableHttp", "HTTP"])
def test_a_streamable_http_entry_goes_behind_the_proxy(tmp_path: Path, kind: str | None) -> None:
    file = tmp_path / ".mcp.json"
    file.write_text(json.dumps({"mcpServers": {"far": {"url": "http://h/mcp", **({"type": kind} if kind else {})}}}))
    made = install_into(file, "far", None, dry_run=False).entry
    assert made["args"][-2:] == ["--", "http://h/mcp"]


@pytest.mark.parametrize(
    "args",
    [
        ["-m", "broker_plane.cli.main", "proxy", "--", "npx", "it"],
        ["-P", "-m", "broker_plane.cli.main", "proxy", "--threshold", "1MB", "--", "npx", "it"],
    ],
)
def test_an_entry_behind_the_proxy_stays_behind_one_proxy(tmp_path: Path, args: list[str]) -> None:
    file = tmp_path / ".mcp.json"
    file.write_text(json.dumps({"mcpServers": {"it": {"command": "/old/python", "args": args}}}))
    made = install_into(file, "it", None, dry_run=False).entry
    assert made["args"] == ["-P", *(word for word in args if word != "-P")]
    file.write_text(json.dumps({"mcpServers": {"it": {"command": "/bin/broker-plane", "args": ["proxy", "--", "x"]}}}))
    assert install_into(file, "it", None, dry_run=False).entry["args"] == ["proxy", "--", "x"]


def test_the_original_is_kept_however_often_install_runs(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"mcpServers": {}, "original": true}')
    for number in range(4):
        install_into(file, f"server{number}", entry_for(["it"]), dry_run=False)
    assert json.loads(file.with_name("config.json.bak").read_text()) == {"mcpServers": {}, "original": True}
    copies = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("config.json.bak*"))]
    assert [len(copy["mcpServers"]) for copy in copies] == [0, 1, 2, 3]


def test_what_the_file_had_keeps_every_digit_and_letter(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    kept = {"big": 2**70 + 1, "negative": -(2**65), "é": "日本", "half": "\ud83d", "none": None, "list": [], "0": 0.5}
    file.write_text(json.dumps({"mcpServers": {"a": {"command": "a", "env": {"ID": str(2**70)}, **kept}}, **kept}))
    before = json.loads(file.read_text())
    install_into(file, "b", entry_for(["it"]), dry_run=False)
    after = json.loads(file.read_text())
    del after["mcpServers"]["b"]
    assert after == before
    file.write_text(json.dumps({"é": "日本"}, ensure_ascii=False))
    install_into(file, "b", entry_for(["it"]), dry_run=False)
    assert '"é": "日本"' in file.read_text()


def test_a_file_with_a_server_twice_is_left_as_it_is(tmp_path: Path) -> None:
    """Only one of the two could be written back."""
    file = tmp_path / "config.json"
    text = '{"mcpServers": {"a": {"command": "first"}, "a": {"command": "second"}}}'
    file.write_text(text)
    with pytest.raises(ConfigError, match="two values for 'a', of which only one could be kept"):
        install_into(file, "b", entry_for(["it"]), dry_run=False)
    assert file.read_text() == text
