"""The command protocols, of several owners and processes."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from broker_plane.cli.main import app_of
from broker_plane.testing.server import NatsServer
from broker_plane.wire.descriptor import parse_descriptor
from tests import forked


class Commands:
    """`broker-plane protocols …` as one owner on one machine."""

    def __init__(self, server: NatsServer, folder: Path, owner: str) -> None:
        self.owner = owner
        self._folder = folder
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
        self._environment |= {"BROKER_PLANE_NATS_URL": server.url, "BROKER_PLANE_DATA_DIR": str(folder / owner)}
        self._environment |= {"BROKER_PLANE_OWNER": owner, "BROKER_PLANE_BRIDGE_URL": "http://127.0.0.1:1"}

    def run(self, *words: str, stdin: str = "", code: int = 0) -> str:
        """Run a command in this process, which is faster."""
        done = CliRunner().invoke(app_of("protocols"), ["protocols", *words], input=stdin, env=self._environment)
        assert done.exit_code == code, done.output
        return done.stderr if code else done.stdout

    def process(self, *words: str, stdin: str = "", code: int = 0) -> str:
        """Run a command as a process of its own."""
        done = forked.run(
            *("broker_plane.cli.main", "protocols", *words), env=self._environment, cwd=self._folder, text=stdin
        )
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout

    def json(self, *words: str, stdin: str = "") -> Any:
        return json.loads(self.run(*words, "--json", stdin=stdin))

    def refused(self, *words: str, stdin: str = "") -> str:
        return str(json.loads(self.run(*words, "--json", stdin=stdin, code=1))["error"]["code"])


@pytest.fixture
def owner(nats_server: NatsServer, tmp_path: Path) -> Commands:
    return Commands(nats_server, tmp_path, f"o{secrets.token_hex(4)}")


@pytest.fixture
def other(nats_server: NatsServer, tmp_path: Path) -> Commands:
    return Commands(nats_server, tmp_path, f"x{secrets.token_hex(4)}")


def frames(owner: Commands, version: str, **members: Any) -> str:
    fields = {"id": f"{owner.owner}/frames", "version": version, "title": "Frames", "tiers": {"high": "Four bytes."}}
    return json.dumps(fields | members)


def test_an_owner_publishes_and_a_stranger_finds_uses_and_cannot_replace(owner: Commands, other: Commands) -> None:
    identity = f"{owner.owner}/frames"
    assert owner.json("publish", "-", stdin=frames(owner, "1.9.0"))["version"] == "1.9.0"
    assert owner.process("publish", "-", stdin=frames(owner, "1.10.0")) == f"{identity}@1.10.0\n"
    assert owner.refused("publish", "-", stdin=frames(owner, "1.9.1")) == "old_version"
    assert other.refused("publish", "-", stdin=frames(owner, "2.0.0")) == "not_owner"
    found = json.loads(other.process("get", identity))
    assert found["description"]["version"] == "1.10.0"
    assert other.run("get", f"{identity}@^1.2", "--text") == "Four bytes.\n"
    forged = found | {"description": found["description"] | {"tiers": {"high": "Five bytes."}}}
    assert other.refused("publish", "-", stdin=json.dumps(forged)) == "bad_signature"
    assert identity in {each["id"] for each in other.json("search", "frames", "--owner", owner.owner)["protocols"]}
    owner.run("unpublish", f"{identity}@1.10.0", "--reason", "loses frames")
    assert other.json("get", identity)["description"]["version"] == "1.9.0"
    assert other.json("get", f"{identity}@1.10.0")["entry"]["yanked"]["reason"] == "loses frames"
    assert other.refused("get", f"{identity}@3.0.0") == "not_registered"
    listed = other.json("get", identity, "--versions")
    assert [(each["version"], each.get("yanked")) for each in listed["versions"]] == [
        ("1.9.0", None),
        ("1.10.0", "loses frames"),
    ]
    counts = json.loads(owner.process("stats", identity, "--json"))["counts"][identity]  # those of all processes
    assert counts["1.10.0"]["gets"] == 3
    assert counts["1.9.0"]["gets"] == 1


def test_descriptions_are_composed_into_a_descriptor(owner: Commands, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("canary-77\n")
    parts = ("oauth2-bearer", "http-offset-paginated", "csv-download")
    owner.run("compose", *parts, "--endpoint", "https://api.example/orders", "--auth", f"bearer={tmp_path / 'token'}",
              "--param", "page_size=50", "-o", str(tmp_path / "descriptor.json"))  # fmt: skip
    path = tmp_path / "descriptor.json"
    assert path.stat().st_mode & 0o777 == 0o600
    made = parse_descriptor(json.loads(path.read_text()))
    assert made.auth is not None
    assert (made.auth.value, made.format, made.mode) == ("canary-77", "text/csv", "fetch")
    assert made.model_extra == {
        "page_size": 50,
        "offset_parameter": "offset",
        "limit_parameter": "limit",
        "rows_member": "items",
    }
    composed = owner.json("compose", *parts, "--id", f"{owner.owner}/orders")
    assert owner.json("publish", "-", stdin=json.dumps(composed))["id"] == f"{owner.owner}/orders"
    error = owner.process("compose", "http-paginated", "http-offset-paginated", code=1)
    assert "builtin/http-paginated and builtin/http-offset-paginated do not fit together" in error
    assert "Traceback" not in error
    for words in (("--auth", "bearer"), ("--tier", "low")):
        owner.run("compose", "csv-download", "--endpoint", "https://a.example/", *words, code=2)
