"""`broker-plane install` and `uninstall` as commands: files, names, options of the proxy, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from broker_plane.cli.clients.server_names import name_of
from broker_plane.cli.main import app_of


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `broker-plane` in a project and a home directory of its own."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("CODEX_HOME", raising=False)
    monkeypatch.setenv("BROKER_PLANE_DATA_DIR", str(tmp_path / "data"))
    return lambda *words: CliRunner().invoke(app_of(*words[:1]), words)


@pytest.mark.parametrize(
    ("client", "scope", "where", "portable"),
    [
        ("claude-desktop", "", ".config/Claude/claude_desktop_config.json", False),
        ("claude-code", "", "project/.mcp.json", True),
        ("claude-code", "user", ".claude.json", False),
        ("cursor", "", "project/.cursor/mcp.json", True),
        ("cursor", "user", ".cursor/mcp.json", False),
        ("vscode", "", "project/.vscode/mcp.json", True),
        ("vscode", "user", ".config/Code/User/mcp.json", False),
        ("codex", "", ".codex/config.toml", False),
        ("codex", "project", "project/.codex/config.toml", True),
    ],
)
def test_each_client_and_scope_has_its_file(
    command: Any, tmp_path: Path, client: str, scope: str, where: str, portable: bool
) -> None:
    words = [client, *(["--scope", scope] if scope else [])]
    done = command("install", *words, "--json", "--", "uvx", "it")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert (Path(said["file"]), said["written"]) == (tmp_path / where, True)
    assert (str(tmp_path) in json.dumps(said["entry"]) or "python" in said["entry"]["command"]) != portable
    assert command("uninstall", *words, "--name", "it").exit_code == 0
    assert "uvx" not in (tmp_path / where).read_text()


def test_a_dry_run_writes_nothing(command: Any, tmp_path: Path) -> None:
    done = command("install", "claude-desktop", "--dry-run", "--", "uvx", "it")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["mcpServers"]["it"]["args"][-2:] == ["uvx", "it"]
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["netscape"], "claude-desktop"),
        (["claude-desktop", "--scope", "project"], "has no file of the scope project; it has: user"),
        (["codex", "--scope", "team"], "--scope is user or project"),
        (["codex", "--wrap", "a", "--", "it"], "Use one of --wrap, --unwrap"),
        (["cursor", "--", "--consumer", "a:b", "--", "node", "y"], "begin with '--consumer'. Put options of the proxy"),
        (["cursor", "--consumer", "a:b"], "--consumer is an option of the proxy: it needs --wrap or a server"),
        (["cursor", "--consumer", "a", "--", "it"], "--consumer is TOOL:ARGUMENT"),
        (["cursor", "--shape", "a:b", "--", "it"], "shape"),
        (["cursor", "--threshold", "x", "--", "it"], "threshold"),
        (["cursor", "--header-env", "x", "--", "http://h/mcp"], "--header-env is NAME=VARIABLE"),
        (["cursor", "--header-env", "X=Y", "--", "it"], "--header-env needs a URL"),
    ],
)
def test_wrong_usage_is_an_error_of_one_line(command: Any, words: list[str], said: str) -> None:
    done = command("install", *words)
    assert done.exit_code == 1
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_each_command_has_its_own_name_and_replaces_no_other(command: Any, tmp_path: Path) -> None:
    for name in "ab":
        assert command("install", "claude-code", "--", "node", f"/srv/{name}.js").exit_code == 0
    servers = json.loads((tmp_path / "project" / ".mcp.json").read_text())["mcpServers"]
    assert {name: server["args"][-1] for name, server in servers.items()} == {"a": "/srv/a.js", "b": "/srv/b.js"}
    again = command("install", "claude-code", "--threshold", "5k", "--", "node", "/srv/a.js")
    assert again.exit_code == 0, again.stderr
    for words in (["--", "node", "/other/a.js"], ["--name", "a"]):
        other = command("install", "claude-code", *words)
        assert other.exit_code == 1
        assert "has a server 'a' already, which runs 'node /srv/a.js'" in other.stderr


PROXY_OPTIONS = ["--threshold", "5k", "--consumer", "draw:rows", "--shape", "read:text", "--no-reading-tools"]


def test_options_of_the_proxy_go_into_the_entry(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "project" / ".mcp.json"
    file.write_text('{"mcpServers": {"files": {"command": "npx", "args": ["files"]}}}')
    done = command("install", "claude-code", *PROXY_OPTIONS, "--json", "--", "uvx", "it")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["entry"]["args"] == ["proxy", *PROXY_OPTIONS, "--", "uvx", "it"]
    words = ["claude-code", *PROXY_OPTIONS, "--wrap", "files"]
    done = command("install", *words, "--json")
    assert json.loads(done.stdout)["entry"]["args"] == ["proxy", *PROXY_OPTIONS, "--", "npx", "files"]
    again = command("install", *words)
    assert again.exit_code == 1 and "is already behind the proxy. To change options" in again.stderr
    done = command("install", "claude-code", "--wrap", "files")
    assert (done.exit_code, "already behind the proxy; nothing was written" in done.stdout) == (0, True)


def test_a_file_of_the_user_says_which_scope_was_assumed(command: Any, tmp_path: Path) -> None:
    file = ["--config", str(tmp_path / "c")]
    said = command("install", "cursor", *file).stderr
    assert "Assumed --scope project: others share the file" in said and "--scope user" in said
    assert "Assumed --scope user" in command("install", "codex", "--config", str(tmp_path / "d")).stderr
    assert "Assumed" not in command("install", "cursor", "--scope", "user", *file).stderr
    assert "Assumed" not in command("install", "claude-desktop", "--config", str(tmp_path / "e")).stderr


@pytest.mark.parametrize(
    ("upstream", "name"),
    [
        ("npx -y @acme/server-files@1.2", "server-files"),
        ("uvx mcp-server-git==2.0", "mcp-server-git"),
        ("uv run --quiet server.py", "server"),
        ("python3.11 -m my_server", "my_server"),
        ("/opt/bin/it.sh --flag", "it"),
        ("docker run -i --rm mcp/git:latest", "git-latest"),
        ("https://mcp.example.com/mcp", "mcp-example-com"),
        ("node", "node"),
    ],
)
def test_the_name_of_a_server_is_that_of_its_program_or_package(upstream: str, name: str) -> None:
    assert name_of(upstream.split()) == name
