"""The file of a client: what `install` and `uninstall` write into it, and what stays as it was."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker_plane.cli.clients.edits import ClientFile
from broker_plane.cli.clients.entries import entry_for
from broker_plane.cli.clients.json_members import plain_json
from broker_plane.cli.clients.launcher import Launcher
from broker_plane.cli.clients.records import Records
from broker_plane.cli.clients.registry import CLIENTS
from broker_plane.errors import ConfigError

LAUNCHER = Launcher("broker-plane", ())
IT = {"command": "broker-plane", "args": ["proxy", "--", "it"]}
PLAIN = """{
    "theme": "dark",
    "mcpServers": {
        "files": {"command": "npx", "args": ["-y", "files"], "env": {"KEY": "v"}},
        "far": {
            "type": "http",
            "url": "http://127.0.0.1:8000/mcp"
        }
    },
    "big": 1180591620717411303425, "half": "\\ud83d", "é": "日本", "0": 0.50
}
"""
JSONC = """// shared by the team
{
\t"inputs": [], /* none yet */
\t"servers": {
\t\t// the files, "quoted" and http://with.slashes
\t\t"files": {
\t\t\t"type": "stdio",
\t\t\t"command": "npx", // with a comment
\t\t\t"args": ["-y", "files",],
\t\t}, // the last one
\t},
}
"""
TOML = """# the user's
model = "o" # a comment

[mcp_servers.files]
command = "npx"   # runs it
args = ["-y", "files"]

[mcp_servers.files.env]
KEY = "v"

[profiles.deep]
model = "p"
"""
FILES = {"claude-code": PLAIN, "vscode": JSONC, "codex": TOML}


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> ClientFile:
    path = tmp_path / "config"
    path.write_bytes(FILES[request.param].encode())
    return ClientFile(CLIENTS[request.param], path, Records(tmp_path / "data"))


def text_of(file: ClientFile) -> str:
    return file._path.read_bytes().decode()


def servers_of(file: ClientFile) -> dict[str, Any]:
    text, client = text_of(file), file._client
    value = tomllib.loads(text) if client.format == "toml" else json.loads(plain_json(text))
    return dict(value.get(client.servers, {}))


def comments_of(text: str) -> list[str]:
    return re.findall(r"//[^\n]*|/\*.*?\*/|#[^\n]*", text)


def entry(file: ClientFile, *upstream: str) -> dict[str, Any]:
    return entry_for(file._client, LAUNCHER, upstream)


def test_a_server_is_added_and_everything_else_keeps_its_bytes(file: ClientFile) -> None:
    before, servers = text_of(file), servers_of(file)
    file.install("new", entry(file, "uvx", "server"))
    assert servers_of(file) == {**servers, "new": entry(file, "uvx", "server")}
    added = text_of(file)
    removed = [line for line in before.splitlines() if line not in added.splitlines()]
    assert all(line + "," in added.splitlines() for line in removed)  # a comma at most
    assert comments_of(added) == comments_of(before)
    assert file._path.with_name("config.bak").read_bytes() == before.encode()
    file.uninstall("new")
    assert servers_of(file) == servers
    assert text_of(file).split() == before.split()


def test_a_server_is_wrapped_once_and_restored_exactly(file: ClientFile) -> None:
    before, servers = text_of(file), servers_of(file)
    for _ in range(2):
        file.wrap("files", LAUNCHER)
    behind = servers_of(file)["files"]
    assert behind["args"] == ["proxy", "--", "npx", "-y", "files"]
    assert behind.get("env") == servers["files"].get("env")
    assert {name: server for name, server in servers_of(file).items() if name != "files"} == {
        name: server for name, server in servers.items() if name != "files"
    }
    file.uninstall("files")
    assert servers_of(file) == servers
    assert text_of(file) == before.replace('"files",],', '"files"],')


@pytest.mark.parametrize(
    "start",
    [
        "broker-plane",
        "/opt/venv/bin/broker-plane",
        "uvx broker-plane[query]==0.4",
        "uvx --from broker-plane[query] broker-plane",
        "uv run --with broker-plane broker-plane",
    ],
)
def test_a_proxy_written_by_hand_stays_and_is_unwrapped_at_once(start: str, tmp_path: Path) -> None:
    path, records = tmp_path / "config", Records(tmp_path / "data")
    command, *args = f"{start} proxy --threshold 5k -- node a".split()
    by_hand = {"command": command, "args": args}
    text = '{\n  "mcpServers": {"files": ' + json.dumps(by_hand) + "}\n}\n"
    path.write_text(text)
    records.note(path, "files", {"command": "node", "args": ["old"]})  # of an entry that was there before
    file = ClientFile(CLIENTS["cursor"], path, records)
    change = file.wrap("files", LAUNCHER)
    assert (change.made, change.entry, change.text, text_of(file)) == (False, by_hand, text, text)
    assert not path.with_name("config.bak").exists()
    file.unwrap("files")
    assert servers_of(file) == {"files": {"command": "node", "args": ["a"]}}


FORMS = {
    "cursor": """{
  "mcpServers": {
    "files": {"command": "node", "args": ["a"]}, // on one line
    "more": {
      // before the command
      "command": "node", // runs it
      "args": [
        "a"
      ]
      // after the arguments
    }
  }
}
""",
    "codex": """[mcp_servers.files]
command = "node" # runs it
args = ["a"]
# after the entry

[mcp_servers.more]
command = "node"
args = [
  "a",
]

[other]
x = 1
""",
}


@pytest.mark.parametrize("client", FORMS)
def test_a_wrapped_entry_keeps_its_lines_and_comments(client: str, tmp_path: Path) -> None:
    path, before = tmp_path / "config", FORMS[client]
    path.write_text(before)
    file = ClientFile(CLIENTS[client], path, Records(tmp_path / "data"))
    for name in ("files", "more"):
        file.wrap(name, LAUNCHER)
    behind = text_of(file)
    assert comments_of(behind) == comments_of(before)
    assert before.splitlines()[-1] in behind and "type" not in behind
    assert [server["args"] for server in servers_of(file).values()] == [["proxy", "--", "node", "a"]] * 2
    for name in ("files", "more"):
        ClientFile(CLIENTS[client], path, Records(tmp_path / "other")).unwrap(name)
    expected = before.replace('[\n  "a",\n]', '["a"]')  # a changed array of TOML is on one line
    assert text_of(file) == expected


def test_a_url_with_headers_in_toml_keeps_the_comments_around_it(tmp_path: Path) -> None:
    path = tmp_path / "config"
    before = '[mcp_servers.far]\nurl = "http://h/mcp"\nhttp_headers = { X-Key = "k" }\n# after\n\n[other]\nx = 1\n'
    path.write_text(before)
    file = ClientFile(CLIENTS["codex"], path, Records(tmp_path / "data"))
    file.wrap("far", LAUNCHER)
    assert servers_of(file)["far"]["env"] == {"UPSTREAM_X_KEY": "k"}
    assert sum(not line for line in text_of(file).splitlines()) == 1
    file.unwrap("far")
    assert sorted(text_of(file).replace("{X", "{ X").replace('"}', '" }').split()) == sorted(before.split())


def test_without_a_record_a_server_is_restored_from_its_entry(file: ClientFile, tmp_path: Path) -> None:
    """As in a clone of a project, in which somebody else ran install."""
    servers = servers_of(file)
    file.wrap("files", LAUNCHER)
    file.install("tools", entry(file))
    other = ClientFile(file._client, file._path, Records(tmp_path / "other"))
    other.unwrap("files")
    other.uninstall("tools")
    assert servers_of(file) == servers


def test_a_record_of_a_server_that_somebody_removed_since_is_not_used(file: ClientFile) -> None:
    servers = servers_of(file)
    original = text_of(file)
    file.wrap("files", LAUNCHER)
    file._path.write_bytes(original.replace("files", "other").encode())  # by hand
    file.install("files", entry(file, "it"))
    file.uninstall("files")
    assert set(servers_of(file)) == {name.replace("files", "other") for name in servers}


def test_what_is_not_ours_is_neither_replaced_nor_removed(file: ClientFile) -> None:
    before = text_of(file)
    with pytest.raises(ConfigError, match="another server 'files'"):
        file.install("files", entry(file, "it"))
    with pytest.raises(ConfigError, match="does not start broker-plane"):
        file.uninstall("files")
    with pytest.raises(ConfigError, match="is not behind the proxy"):
        file.unwrap("files")
    with pytest.raises(ConfigError, match="has no server 'none'; it has: files"):
        file.uninstall("none")
    assert text_of(file) == before
    assert not file._path.with_name("config.bak").exists()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_file_is_made_and_emptied(client: str, tmp_path: Path) -> None:
    file = ClientFile(CLIENTS[client], tmp_path / "new" / "config", Records(tmp_path / "data"))
    file.install("it", entry(file, "it"))
    assert servers_of(file) == {"it": entry(file, "it")}
    file.uninstall("it")
    assert servers_of(file) == {}


DAMAGED = {
    "claude-code": [
        "{broken",
        "[]",
        '{"mcpServers": []}',
        "{ // no\n}",
        '{"a": 1, "a": 2}',
        "\xff",
    ],
    "vscode": ["{broken", "[]", '{"servers": []}', "/* open {", '{"servers": {"a": {}, "a": {}}}'],
    "codex": ["[broken", "mcp_servers = 7", "a = 1\na = 2", "mcp_servers = []"],
}


@pytest.mark.parametrize(("client", "text"), [(name, text) for name, texts in DAMAGED.items() for text in texts])
def test_a_damaged_or_foreign_file_is_refused_and_untouched(client: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(text.encode("latin-1"))
    file = ClientFile(CLIENTS[client], path, Records(tmp_path / "data"))
    changes: list[Callable[[], Any]] = [
        lambda: file.install("it", IT),
        lambda: file.wrap("a", LAUNCHER),
        lambda: file.uninstall("a"),
    ]
    for change in changes:
        with pytest.raises(ConfigError, match="nothing was written"):
            change()
    assert path.read_bytes() == text.encode("latin-1")
    assert [each.name for each in tmp_path.iterdir()] == ["config"]


@pytest.mark.parametrize(
    "text",
    [
        '{"mcpServers": {}}',
        '{\n  "mcpServers": {}\n}',
        '{\n  "mcpServers": {\n  }\n}\n',
        "{\n}\n",
        '{\r\n\t"mcpServers": {\r\n\t\t"a": {"command": "a"}\r\n\t}\r\n}\r\n',
        '{\n  "a": 1, "mcpServers": {"a": {"command": "a"}, "b": {"command": "b"}}\n}',
        "\n",
        '{"mcpServers": {"tools": {"command": "broker-plane", "args": ["mcp"]}}, "x": [1,\n2]}',
    ],
)
def test_files_of_any_form(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(text.encode())
    file = ClientFile(CLIENTS["claude-code"], path, Records(tmp_path / "data"))
    before = servers_of(file) if text.strip() else {}
    file.install("it", IT)
    assert servers_of(file) == before | {"it": IT}
    assert ("\r\n" in text_of(file)) == ("\r\n" in text)
    assert ("\n" in text_of(file).replace("\r\n", "")) == ("\r\n" not in text)
    file.uninstall("it")
    assert servers_of(file) == {name: server for name, server in before.items() if name != "it"}


def test_the_first_content_is_kept_however_often_install_runs(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"mcpServers": {}, "original": true}')
    for number in range(4):
        ClientFile(CLIENTS["claude-code"], path, Records(tmp_path)).install(f"server{number}", IT)
    assert json.loads(path.with_name("config.json.bak").read_text()) == {"mcpServers": {}, "original": True}
    copies = [json.loads(copy.read_text()) for copy in sorted(tmp_path.glob("config.json.bak*"))]
    assert [len(copy["mcpServers"]) for copy in copies] == [0, 1, 2, 3]
