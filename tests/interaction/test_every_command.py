"""Every command with broken settings, a broken broker and a broken bridge: one sentence, and never a traceback.

The commands are those of the application, so that a new one is tried as well; it needs words here if it takes any.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from broker_plane.cli.main import app_of
from broker_plane.testing.server import NatsServer
from tests.interaction.conftest import Forked

BODY = "A" * 22
GRANT = "AQ" + "z-_8" * 25
SECONDS = 30
WORDS: dict[str, list[str]] = {
    "up": ["--detach"],
    "bridge": ["--port", "0"],
    "publish": ["{file}"],
    "pull": ["{url}"],
    "read": ["{url}"],
    "describe": ["{url}"],
    "query": ["SELECT 1 FROM a", "a={url}"],
    "delete": [BODY],
    "grant": [BODY],
    "upload": ["{file}", "{upload}"],
    "chain": ["{chain}"],
    "levels run": ["{descriptor}", "--output", "{new}/rows"],
    "levels show": ["a" * 16],
    "levels forget": ["a" * 16],
    "protocols publish": ["{descriptor}"],
    "protocols get": ["owner/name"],
    "protocols unpublish": ["owner/name@1.0.0"],
    "protocols compose": ["owner/name", "owner/other"],
    "agents announce": ["--id", "agent", "--consumes", "https"],
    "revoke": ["{url}"],
    "audit": [BODY],
    "env": ["{new}/env"],
    "owners add": ["someone"],
    "install": ["claude-code", "--config", "{new}/mcp.json"],
    "uninstall": ["claude-code", "--config", "{new}/none.json", "--name", "files"],
    "proxy": ["--", "{python}", "-c", "pass"],
    "feeds grant": ["a.feed"],
    "session join": [GRANT],
    "session show": [GRANT],
    "session log": [GRANT],
    "session diff": [GRANT, "1"],
    "session rollback": [GRANT, "1"],
    "session undo": [GRANT, "--intent", "fix"],
    "session accept": [GRANT, "proposal"],
    "session close": [BODY],
    "webhooks add": ["a.feed", "https://receiver.example/"],
    "webhooks log": ["ep_" + "A" * 22],
    "webhooks rotate": ["ep_" + "A" * 22],
    "webhooks enable": ["ep_" + "A" * 22],
    "webhooks remove": ["ep_" + "A" * 22],
    "accounts": ["--user", "desk", "--server", "weather"],
    "serve": ["--nats", "weather", "{server}"],
    "exchanges show": ["A" * 24],
    "exchanges cancel": ["A" * 24],
    "tasks show": ["A" * 24],
    "tasks cancel": ["A" * 24],
    "demo": ["fanout", "--consumers", "2"],
    "bench": ["--quick"],
}
SOME = {
    "up",
    "down",
    "bridge",
    "publish",
    "pull",
    "upload",
    "session show",
    "tasks show",
    "webhooks ls",
    "protocols get",
}
"""Of each way to the broker, for what is done by the same lines in all of them; `-m full` tries every command."""
SHARES = pytest.mark.parametrize("of", [SOME, pytest.param(set(), marks=pytest.mark.full)], ids=["some", "all"])
ALONE = {"docs", "config", "env", "accounts", "install", "uninstall", "proxy", "down", "mcp", "demo", "bench"}
"""They need no plane, or not at once, or bring one of their own."""


def commands() -> list[str]:
    found: list[str] = []

    def walk(command: Any, path: list[str]) -> None:
        members = getattr(command, "commands", None)
        if members is None:
            found.append(" ".join(path))
            required = [each for each in command.params if each.required]
            assert not required or found[-1] in WORDS, f"{found[-1]} needs words in this test"
        for name, member in (members or {}).items():
            walk(member, [*path, name])

    walk(get_command(app_of()), [])
    return found


class Shop:
    """The files that commands are given, and the run of all of them."""

    def __init__(self, root: Path, forked: Forked) -> None:
        self.root = root
        self._forked = forked
        (root / "table.csv").write_text("id,n\n1,a\n")
        (root / "server.py").write_text("from mcp.server.mcpserver import MCPServer\n\nmcp = MCPServer('weather')\n")
        step = {"$schema": "mcp/transfer-descriptor/v1", "mode": "fetch", "protocol": "https"}
        step |= {
            "transfer_id": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
            "endpoint": "https://127.0.0.1:1/a.png",
            "format": "image/png",
        }
        (root / "chain.json").write_text(json.dumps([step]))
        (root / "step.json").write_text(json.dumps(step))

    def run(self, env: dict[str, str], *more: str, of: Collection[str] = ()) -> dict[str, dict[str, Any]]:
        """What each command (`of` these) said and how it ended, with `env` and these further words."""
        cases = []
        bridge = "http://127.0.0.1:1"
        names = [command for command in commands() if not of or command in of]
        for number, command in enumerate(names):
            new = self.root / f"new-{number}-{len(list(self.root.iterdir()))}"
            new.mkdir()
            named = {"file": self.root / "table.csv", "chain": self.root / "chain.json", "python": sys.executable}
            named |= {"descriptor": self.root / "step.json", "server": self.root / "server.py"}
            named |= {"new": new, "url": f"{bridge}/s2sp/data/{GRANT}", "upload": f"{bridge}/s2sp/upload/{GRANT}"}
            words = [word.format(**named) for word in WORDS.get(command, [])]
            place = words.index("--") if "--" in words else len(words)
            words[place:place] = [] if command in ("bridge", "mcp") else more
            quick = {"BROKER_PLANE_REQUEST_TIMEOUT_SECONDS": "1", "BROKER_PLANE_PULL_TIMEOUT_SECONDS": "1"}
            data = {"BROKER_PLANE_DATA_DIR": str(new / "data")}
            case = {"words": [*command.split(), *words], "env": quick | data | env}
            cases.append({**case, "cwd": str(new), "seconds": SECONDS})
        return dict(zip(names, self._forked(cases), strict=True))


@pytest.fixture
def shop(tmp_path: Path, forked: Forked) -> Shop:
    return Shop(tmp_path, forked)


def check(said: dict[str, dict[str, Any]], *needed: str, spared: frozenset[str] | set[str] = frozenset()) -> None:
    """No traceback, no hang, an exit code that is documented, one sentence, and `needed` in it."""
    wrong = []
    for command, done in said.items():
        lines = [line for line in done["err"].splitlines() if line.strip()]
        problems = [
            "hangs" * (done["code"] is None),
            f"code {done['code']}" * (done["code"] not in (None, 0, 1, 2)),
            "traceback" * ("Traceback" in done["err"] + done["out"]),
            "unexpected" * ("Unexpected error" in done["err"]),
            "many lines" * (len(lines) > 2),
            "a grant" * (GRANT in done["err"]),
            "no error" * (command not in spared and done["code"] == 0),
            *(f"no {text}" for text in needed if command not in spared and text not in done["err"] + done["out"]),
        ]
        wrong += [f"{command}: {', '.join(filter(None, problems))}: {done['err'][-400:]}"] * any(problems)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("variable", "text", "spared"),
    [
        ("ROLE", "admin", {"env", "install", "uninstall", "proxy", "docs"}),
        pytest.param("TTL_SECONDS", '"60"', {"env", "install", "uninstall", "proxy", "docs"}, marks=pytest.mark.full),
        pytest.param("LOG_LEVEL", "loud", set(), marks=pytest.mark.full),
    ],
)
def test_a_broken_setting_is_one_sentence_with_its_name(shop: Shop, variable: str, text: str, spared: set[str]) -> None:
    check(shop.run({f"BROKER_PLANE_{variable}": text}), f"BROKER_PLANE_{variable}", spared=spared)


def test_a_setting_of_the_log_is_read_by_commands_that_need_no_plane_as_well(shop: Shop) -> None:
    check(shop.run({"BROKER_PLANE_LOG_LEVEL": "loud"}, of=SOME | ALONE), "BROKER_PLANE_LOG_LEVEL")


@pytest.mark.full
@pytest.mark.parametrize(
    ("variable", "text"),
    [
        *(("NATS_URL", "'nats://127.0.0.1:4222'"), ("BRIDGE_URL", "bridge:8787"), ("MAX_STORE_BYTES", "20 apples")),
        *(("DELETE_WHEN_USED", "perhaps"), ("OWNER", "a b"), ("FEED_RETENTION_DAYS", "nan"), ("DATA_DIR", "$HOME/bp")),
        *(("PULLER_NAME", "a\nb"), ("LOG_FORMAT", "xml"), ("WEBHOOK_RETRY_DELAYS_SECONDS", "5,soon")),
        *(("GRANT_USES", "-1"), ("REQUEST_TIMEOUT_SECONDS", "0"), ("TTL", "60")),
    ],
)
def test_more_broken_settings(shop: Shop, variable: str, text: str) -> None:
    said = shop.run({f"BROKER_PLANE_{variable}": text})
    check(
        said,
        f"BROKER_PLANE_{variable}",
        spared=set() if variable == "LOG_FORMAT" else {"env", "install", "uninstall", "proxy", "docs"},
    )


@SHARES
def test_errors_are_json_objects_where_results_are(shop: Shop, of: set[str]) -> None:
    said = shop.run({"BROKER_PLANE_ROLE": "admin"}, "--json", of=of)
    for command, done in said.items():
        if done["code"] and command not in ("bridge", "mcp", "demo", "config", "docs"):
            error = json.loads(done["err"].splitlines()[-1])["error"]
            assert error["code"] == "bad_config", command
            assert "plane, source, guest" in error["message"]
            assert done["out"] == ""


@SHARES
def test_a_data_directory_that_is_none_is_one_sentence(shop: Shop, of: set[str]) -> None:
    place = shop.root / "a-file"
    place.write_text("")
    said = shop.run(
        {"BROKER_PLANE_DATA_DIR": str(place)}, of=of or {*commands()} - {"bench"}
    )  # which has one of its own
    check(said, str(place), spared=ALONE | {"bridge", "owners add"})


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server on a port of its own, which does this with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with ExitStack() as kept, suppress(OSError):
                while True:
                    connection = kept.enter_context(listener.accept()[0])
                    with suppress(OSError):
                        answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def silent(connection: socket.socket) -> None:
    """It takes the connection and says nothing."""


def http(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        *(("closed", set()), ("silent", SOME), ("http", SOME), ("no jetstream", SOME)),
        *(pytest.param(kind, set(), marks=pytest.mark.full) for kind in ("silent", "http", "no jetstream")),
    ],
    ids=lambda value: f"of {len(value) or 'all'}" if isinstance(value, set) else value,
)
def test_a_broken_broker_is_one_sentence_with_its_address(shop: Shop, tmp_path: Path, kind: str, of: set[str]) -> None:
    with ExitStack() as stack:
        if kind == "closed":
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
        elif kind == "no jetstream":
            port = stack.enter_context(plain_nats(tmp_path))
        else:
            port = stack.enter_context(answering(silent if kind == "silent" else http))
        address = f"127.0.0.1:{port}"
        said = shop.run({"BROKER_PLANE_NATS_URL": f"nats://user:S3cret@{address}"}, of=of)
        check(said, address, spared=ALONE)
        assert not [command for command, done in said.items() if "S3cret" in done["err"] + done["out"]]


@contextmanager
def plain_nats(root: Path) -> Iterator[int]:
    """nats-server as it starts by itself: without JetStream."""
    from broker_plane.embedded.nats_server import find_binary

    ports = root / "ports"
    ports.mkdir()
    config = root / "plain.conf"
    config.write_text(f'listen: "127.0.0.1:-1"\nports_file_dir: "{ports}"\n')
    with subprocess.Popen([find_binary(), "-c", str(config)], stderr=subprocess.DEVNULL) as process:
        try:
            yield wait_for_port(ports)
        finally:
            process.kill()


def wait_for_port(ports: Path) -> int:
    for _ in range(3000):
        for file in ports.glob("*.ports"):
            with suppress(ValueError, KeyError, IndexError):
                return int(re.findall(r":(\d+)", json.loads(file.read_text())["nats"][0])[0])
        threading.Event().wait(0.01)
    raise TimeoutError("nats-server has no port")


class Failing(BaseHTTPRequestHandler):
    """A web server that is no bridge."""

    def _fail(self) -> None:
        page = b"<html><h1>Internal Server Error</h1></html>"
        self.send_response(500)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_GET = do_POST = do_PUT = do_HEAD = do_PATCH = do_OPTIONS = _fail

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.mark.parametrize("kind", ["closed", "html"])
def test_a_broken_bridge_is_one_sentence_with_its_address(
    shop: Shop, forked: Forked, tmp_path: Path, nats_server: NatsServer, kind: str
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        address = f"127.0.0.1:{server.server_address[1]}"
        if kind == "closed":
            server.server_close()
        else:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {"BROKER_PLANE_NATS_URL": nats_server.url, "BROKER_PLANE_BRIDGE_URL": f"http://{address}"}
        env |= {"BROKER_PLANE_DATA_DIR": str(tmp_path / "data"), "BROKER_PLANE_PULL_TIMEOUT_SECONDS": "1"}

        def run(*commands: list[str]) -> list[dict[str, Any]]:
            return forked([{"words": words, "env": env, "cwd": str(tmp_path), "seconds": 90} for words in commands])

        file = str(shop.root / "table.csv")
        url, upload = (done["out"].strip() for done in run(["publish", file, "--uses", "unlimited"], ["upload-grant"]))
        asking = {
            "pull": ["pull", url, "--via", "http"],
            **({"upload": ["upload", file, upload]} if kind != "closed" else {}),  # it tries for a minute
            "demo": ["demo", "fanout", "--consumers", "2"],
        }
        said = dict(zip(asking, run(*asking.values()), strict=True))
        if kind != "closed":
            server.shutdown()
    check(said, address)
