"""What commands show: names as they are, ids whole, one value or one row a line in a pipe, and help that is not cut."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from broker_plane import Plane
from broker_plane.cli.main import app_of
from broker_plane.config import load_settings
from broker_plane.testing.server import NatsServer
from tests.forked import Forked as ForkedProcess
from tests.interaction.conftest import Forked
from tests.interaction.test_every_command import commands
from tests.levels.api import GOOD, paged_api
from tests.ports import free_port

NAMES = [
    *("[slug].tsx", "[bold]x[/bold]", "[/]", "[red", "[link=http://a]b[/link]", ":smile:", "[fd00::5]", "\\[x]"),
    *("a [b] c", "[[x]]", "[#ff0000]", "100%.pdf", "résumé.pdf", "x" * 60),
]
NO_MORE: Mapping[str, str] = {}
GRANT = "bp.pull.AQ" + "A" * 78
BRIDGE = "http://[fd00::5]:8787"
BOXES = re.compile("[\u2500-\u257f]")


class Shell:
    """Runs commands in a directory, with the settings of one broker, into a pipe or on a terminal."""

    def __init__(self, root: Path, forked: Forked, **settings: str) -> None:
        self._forked = forked
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
        given = {f"BROKER_PLANE_{name.upper()}": value for name, value in settings.items()}
        self.root = root
        self.env = kept | given | {"BROKER_PLANE_DATA_DIR": str(root / "data")}

    def pipe(self, *words: str, code: int = 0) -> str:
        """What it wrote on standard output."""
        done = self.run(*words)
        assert done.returncode == code, done.stderr
        return done.stdout

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        case = {"words": words, "env": self.env | env, "cwd": str(self.root), "seconds": 60}
        (done,) = self._forked([case])
        return subprocess.CompletedProcess(words, done["code"], done["out"], done["err"])

    def terminal(
        self, *words: str, columns: int = 80, code: int = 0, errors: bool = False, env: Mapping[str, str] = NO_MORE
    ) -> str:
        """What it wrote on a terminal of this width, without the colours: on standard output, or `errors`."""
        ours, theirs = pty.openpty()
        env = self.env | {"COLUMNS": str(columns), "TERM": "xterm"} | dict(env)
        with open(os.devnull, "r+b") as none:  # noqa: PTH123
            standard = (none.fileno(), *((none.fileno(), theirs) if errors else (theirs, none.fileno())))
            process = ForkedProcess("broker_plane.cli.main", words, env, self.root, standard)
        os.close(theirs)
        said = b""
        with suppress(OSError):  # the other end of a terminal that nobody has open any more
            while select.select([ours], [], [], 60)[0] and (piece := os.read(ours, 1 << 16)):
                said += piece
        assert process.wait(60) == code
        os.close(ours)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.decode()).replace("\r\n", "\n")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, nats_server: NatsServer, forked: Forked) -> Iterator[Shell]:
    root = tmp_path_factory.mktemp("shell")
    (root / "table.csv").write_text("id,event\n1,[bold]flood[/bold]\n")
    yield Shell(root, forked, nats_url=nats_server.url, bridge_url=BRIDGE, owner="shown")


@pytest.mark.anyio
async def test_names_are_shown_as_they_are_and_ids_are_whole(shell: Shell, nats_server: NatsServer) -> None:
    settings = load_settings(nats_url=nats_server.url, bridge_url=BRIDGE, owner="shown", data_dir=shell.root / "ours")
    async with Plane.connect(settings) as plane:
        ids = {(await plane.publish([{"a": 1}], name=name)).body.id: name for name in NAMES}
    rows = [line.split("\t") for line in shell.pipe("ls").splitlines()]
    assert ids.items() <= {row[0]: row[-1] for row in rows}.items()
    assert all(len(row) == 7 for row in rows)
    for columns in (40, 300):
        shown = shell.terminal("ls", columns=columns)
        assert all(body_id in shown for body_id in ids)
        assert "…" not in shown
        if columns == 300:
            assert all(name in shown for name in NAMES)


def test_a_control_character_in_a_name_is_shown_by_its_escape(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "\x1b[31mred\x07\nline\ttab.csv"
    file.write_text("id\n1\n")
    done = shell.run("publish", str(file) + "missing")
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert "\\x1b[31mred\\x07" in done.stderr


def test_an_address_of_ipv6_is_printed_whole(shell: Shell) -> None:
    assert shell.pipe("publish", "table.csv").startswith(f"{BRIDGE}/s2sp/data/")
    assert f"resource_url  {BRIDGE}/s2sp/data/" in shell.terminal("publish", "table.csv")
    nothing = {"BROKER_PLANE_BRIDGE_URL": "http://[::1]:1"}
    in_pipe = shell.run("doctor", **nothing).stdout
    assert "bridge\thttp://[::1]:1\n" in in_pipe
    assert not BOXES.search(in_pipe)
    assert "http://[::1]:1" in shell.terminal("doctor", code=1, env=nothing)


def test_a_pipe_gets_one_value_and_a_terminal_labels(shell: Shell) -> None:
    url = shell.pipe("publish", "table.csv", "--abstract", "event", "--ttl", "10m", "--uses", "unlimited")
    assert re.fullmatch(r"http://\[fd00::5\]:8787/s2sp/data/[\w-]+\n", url)
    narrowed = shell.pipe("grant", url.strip(), "--ttl", "5m", "--max-bytes", "10MB")
    assert re.fullmatch(r"http://\[fd00::5\]:8787/s2sp/data/[\w-]+\n", narrowed)
    upload = shell.pipe("upload-grant", "--ttl", "1h", "--complete-within", "10m", "--max-bytes", "1GiB")
    assert re.fullmatch(r"http://\[fd00::5\]:8787/s2sp/upload/[\w-]+\n", upload)
    shown = shell.terminal("upload-grant")
    assert [line.split()[0] for line in shown.splitlines()] == ["body", "expires", "upload_url"]
    assert re.search(r"expires +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", shown)
    assert "[bold]flood[/bold]" in shell.terminal("publish", "table.csv", "--abstract", "event")


def test_tables_in_a_pipe_are_rows_of_tabs(shell: Shell) -> None:
    shell.pipe("publish", "table.csv", "--feed", "shown.feed", "--key", "id")
    (feed,) = [line.split("\t") for line in shell.pipe("feeds", "ls").splitlines() if line.startswith("shown.feed")]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", feed[2])
    body = json.loads(shell.pipe("publish", "table.csv", "--json"))["body_id"]
    grant_id = shell.pipe("audit", body).split("\t")[0]
    assert grant_id == json.loads(shell.pipe("audit", body, "--json"))[0]["grant_id"]
    assert grant_id in shell.terminal("audit", body)
    for words in (("ls",), ("audit", body), ("feeds", "ls"), ("webhooks", "ls"), ("dlq", "ls")):
        assert not BOXES.search(shell.pipe(*words))


ODD_IDS = ["-MPJUOvn94H-t7IUz9BGpw", "-h" + "A" * 20, "-" * 22, "--" + "A" * 20, "-_" + "b" * 20, "--json-" + "c" * 15]


@pytest.mark.parametrize("body_id", ODD_IDS)
@pytest.mark.parametrize("command", ["delete", "grant", "audit", "revoke"])
def test_an_id_that_begins_with_a_dash_is_no_option(command: str, body_id: str) -> None:
    found = []
    context = get_command(app_of()).commands[command].make_context  # type: ignore[attr-defined]  # it is a group
    for words in ([body_id], ["--json", body_id], [body_id, "--json"], ["--", body_id]):
        with context(command, list(words)) as parsed:
            found.append((set(parsed.params.values()) & {body_id}, parsed.params["json"]))
    assert found == [({body_id}, False), ({body_id}, True), ({body_id}, True), ({body_id}, False)]


def test_nothing_to_show_is_no_row(shell: Shell) -> None:
    for words in (("webhooks", "ls"), ("dlq", "ls"), ("audit", "A" * 22)):
        done = shell.run(*words)
        assert (done.returncode, done.stdout) == (0, ""), words
        assert done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("delete", "xx"), "bad_request"),
        (("delete", "A" * 22), "body_not_found"),
        (("publish", "nowhere.csv"), "os_error"),
        (("pull", "http://elsewhere.example/s2sp/data/AQ"), None),
        (("grant", "nonsense"), None),
        (("feeds", "ls", "no feed"), None),
        (("install", "netscape"), "bad_config"),
        (("publish", "table.csv", "--ttl", "10 apples"), "usage"),
        (("publish", "table.csv", "--ttl", "0"), "usage"),
        (("grant", "A" * 22, "--max-bytes", "5M"), "usage"),
        (("grant", "A" * 22, "--uses", "99999"), "usage"),
        (("ls", "--nope"), "usage"),
        (("publish", "table.csv", "--collect"), "usage"),
        (("upload-grant", "--uses", "0"), "usage"),
        (("dlq", "list"), "usage"),
        (("publish",), "usage"),
    ],
)
def test_an_error_of_a_command_with_json_is_one_object(shell: Shell, words: tuple[str, ...], code: str | None) -> None:
    done = shell.run(*words, "--json")
    error = json.loads(done.stderr)["error"]
    assert done.stdout == ""
    assert done.returncode == (2 if error["code"] == "usage" else 1)
    assert code in (None, error["code"])
    plain = shell.run(*words)
    assert plain.returncode == done.returncode
    assert error["message"] in " ".join(plain.stderr.split())


def test_a_setting_that_nobody_knows_is_a_warning_of_each_command(shell: Shell) -> None:
    done = shell.run("ls", BROKER_PLANE_GRANT_UZES="3")
    assert done.returncode == 0
    assert "did you mean BROKER_PLANE_GRANT_USES?" in done.stderr


def test_a_reader_that_ends_early_is_no_error(shell: Shell) -> None:
    command = f"{sys.executable} -m broker_plane.cli.main ls | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=shell.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "Broken pipe" not in done.stderr


@pytest.mark.parametrize("command", [*commands(), "", "feeds", "dlq", "webhooks", "owners", "keys"])
def test_every_command_has_short_and_long_help(command: str) -> None:
    words = command.split()
    short, long = (CliRunner().invoke(app_of(*words[:1]), [*words, flag]) for flag in ("-h", "--help"))
    assert (short.exit_code, long.exit_code) == (0, 0)
    assert short.stdout == long.stdout
    assert "Usage:" in short.stdout


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_help_is_as_wide_as_the_terminal_and_not_cut(shell: Shell, columns: int) -> None:
    shown = shell.run("--help", COLUMNS=str(columns)).stdout
    widest = max(map(len, shown.splitlines()))
    assert columns * 0.8 < widest <= columns
    assert "..." not in shown.replace("[ARGS]...", "")
    for name in get_command(app_of()).commands:  # type: ignore[attr-defined]  # it is a group
        assert re.search(rf"^  {name} ", shown, re.MULTILINE)
    for title in ("Run the plane:", "Bodies:", "Grants:", "Feeds:", "MCP clients and servers:", "Exit codes:"):
        assert title in shown
    assert "\nCommands:" not in shown


@pytest.mark.parametrize("story", ["weather", "db", "fanout", "crm", "files", "collab"])
def test_the_help_of_a_demo_lists_its_own_options(shell: Shell, story: str) -> None:
    shown = shell.pipe("demo", story, "--help")
    assert "--json" in shown
    assert {"crm": "--no-crashes", "files": "--cuts"}.get(story, "--output") in shown


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: Shell, name: str) -> None:
    env = {"_BROKER_PLANE_COMPLETE": f"complete_{name}", "COMP_WORDS": "broker-plane upl", "COMP_CWORD": "1"}
    env |= {"_TYPER_COMPLETE_ARGS": "broker-plane upl", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = shell.run(**env)
    assert "upload-grant" in done.stdout
    assert "publish" not in done.stdout


def test_a_pull_that_waits_for_nats_says_so_on_a_terminal(shell: Shell) -> None:
    guest = {"BROKER_PLANE_ROLE": "guest", "BROKER_PLANE_NATS_URL": f"nats://127.0.0.1:{free_port()}"}
    said = shell.terminal("pull", GRANT, columns=100, code=1, errors=True, env=guest)
    assert "pull: waiting for an answer" in said
    assert "nothing listens there: start it, or correct BROKER_PLANE_NATS_URL" in said


def test_generated_code_and_its_runs_fit_a_terminal(shell: Shell) -> None:
    (shell.root / "code.py").write_text(GOOD)
    (shell.root / "wrong.py").write_text(f"raise RuntimeError({'why ' * 30!r})\n")
    env = {"BROKER_PLANE_TRANSFER_NETWORKS": "127.0.0.1/32"}
    with paged_api() as api:
        (shell.root / "api.json").write_text(json.dumps(api.describe().to_wire()))
        for source, code in (("wrong.py", 1), ("code.py", 0)):
            done = shell.run("levels", "run", "api.json", "-o", "rows", "--provider", f"command:cat {source}", **env)
            assert done.returncode == code, done.stderr
    entries, log = (shell.terminal("levels", command) for command in ("ls", "log"))
    row = next(line for line in entries.splitlines() if api.url in line)
    assert row.split()[1:] == [api.describe().protocol, api.url, "0", "0"]
    assert shell.run("levels", "show", row.split()[0]).returncode == 0
    assert f" failed: RuntimeError: {'why ' * 30}".rstrip() in log
    # What went wrong stands below the table, whole; the plane has runs of other tests too.
    table = [line for line in log.splitlines() if not re.match(r"\d{4}-\S+ \S+ \w+: ", line)]
    assert max(map(len, (*table, *entries.splitlines()))) <= 80
    assert [line.split()[3] for line in table if api.describe().protocol in line][-2:] == ["failed", "ok"]
