"""`broker-plane install`: what is written into a client's file, and what stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker_plane.cli.client_config import entry_for, install_into
from broker_plane.cli.main import app_of
from broker_plane.errors import ConfigError

OTHERS = {
    "theme": "dark",
    "mcpServers": {
        "files": {"command": "npx", "args": ["-y", "files"], "env": {"KEY": "v"}},
        "far": {"type": "http", "url": "http://127.0.0.1:8000/mcp"},
        "keyed": {"type": "http", "url": "https://example.com/mcp", "headers": {"X-Key": "${KEY}"}},
    },
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(OTHERS))
    return path


def test_a_server_comes_in_and_the_rest_stays(file: Path) -> None:
    install_into(file, "new", entry_for(["uvx", "server", "--flag"]), dry_run=False)
    written = json.loads(file.read_text())
    assert written["mcpServers"].pop("new")["args"][-5:] == ["proxy", "--", "uvx", "server", "--flag"]
    assert written == OTHERS
    assert json.loads(file.with_name("config.json.bak").read_text()) == OTHERS


def test_a_server_that_is_there_goes_behind_the_proxy_once(file: Path) -> None:
    for _ in range(2):
        install_into(file, "files", None, dry_run=False)
    install_into(file, "far", None, dry_run=False)
    servers = json.loads(file.read_text())["mcpServers"]
    assert servers["files"]["args"][-5:] == ["proxy", "--", "npx", "-y", "files"]
    assert servers["files"]["env"] == {"KEY": "v"}
    assert servers["far"]["args"][-2:] == ["--", "http://127.0.0.1:8000/mcp"]


def test_headers_of_a_url_move_into_the_environment_of_the_proxy(file: Path) -> None:
    made = install_into(file, "keyed", None, dry_run=False).entry
    assert made["args"][-5:] == ["proxy", "--header-env", "X-Key=UPSTREAM_X_KEY", "--", "https://example.com/mcp"]
    assert made["env"] == {"UPSTREAM_X_KEY": "${KEY}"}
    assert not {"url", "type", "headers"} & set(made)


def test_a_file_that_is_no_configuration_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    for text in ("{broken", "[]", '{"mcpServers": []}'):
        file.write_text(text)
        with pytest.raises(ConfigError):
            install_into(file, "new", entry_for([]), dry_run=False)
        assert file.read_text() == text
    with pytest.raises(ConfigError, match="has no server"):
        install_into(tmp_path / "none.json", "absent", None, dry_run=False)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "new" / "config.json"
    command = ["install", "claude-desktop", "--config", str(file), "--dry-run", "--", "uvx", "it"]
    done = CliRunner().invoke(app_of(), command)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["mcpServers"]["broker-plane"]["args"][-2:] == ["uvx", "it"]
    assert not file.parent.exists()


def test_an_unknown_client_is_an_error_of_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app_of(), ["install", "netscape"])
    assert done.exit_code == 1
    assert "claude-desktop" in done.stderr
