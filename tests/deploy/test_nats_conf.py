"""nats.conf: it is valid, it serves bodies, and nobody gets more than what is written there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import anyio
import nats
import nats.errors
import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.embedded.nats_server import find_binary
from broker_plane.errors import ConfigError
from tests.tools import need

from .conftest import ROOT, Command
from .running import CONF, HOST, Running

ROWS = [{"city": f"c{number}", "text": "x" * 500, "high": number} for number in range(5_000)]
"""2.5 MB: several chunks."""


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, bare_env: dict[str, str], written_env: dict[str, str]
) -> Iterator[Running]:
    server = Running(CONF, tmp_path_factory.mktemp("nats-conf"), bare_env | written_env)
    yield server
    server.stop()


def check(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command: Command = [find_binary(), "-t", "-c", CONF]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_it_is_valid_with_the_variables_that_env_writes(bare_env: dict[str, str], written_env: dict[str, str]) -> None:
    done = check(bare_env | written_env)
    assert done.returncode == 0, done.stderr
    assert "is valid" in done.stderr


def test_it_is_refused_when_a_password_is_missing(bare_env: dict[str, str], written_env: dict[str, str]) -> None:
    written = {name: value for name, value in written_env.items() if name != "BP_PLANE_PASSWORD"}
    done = check(bare_env | written)
    assert done.returncode != 0
    assert "BP_PLANE_PASSWORD" in done.stderr


@pytest.mark.anyio
@pytest.mark.parametrize("via", ["http", "nats"])
async def test_a_body_is_published_and_pulled(
    running: Running, written_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, via: str
) -> None:
    monkeypatch.setenv("BROKER_PLANE_NATS_URL", running.url())
    monkeypatch.setenv("BROKER_PLANE_NATS_PROBE_PASSWORD", written_env["BROKER_PLANE_NATS_PROBE_PASSWORD"])
    async with Plane.connect() as plane:
        assert plane.durability == "fsync before ack"
        published = await plane.publish(ROWS, abstract=["city"])
        pulled = await plane.pull(published.resource_url, via="http" if via == "http" else "nats")
    assert pulled == ROWS


@pytest.mark.anyio
@pytest.mark.parametrize("who", ["", "plane:wrong@", "probe:wrong@", "guest:guest@"])
async def test_nobody_else_comes_in(running: Running, tmp_path: Path, who: str) -> None:
    settings = load_settings(nats_url=f"nats://{who}{running.address}", data_dir=tmp_path)
    with pytest.raises(ConfigError):
        async with Plane.connect(settings):
            pass


@pytest.mark.anyio
@pytest.mark.parametrize("subject", ["$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT.PLANE.CONNZ", "bp.pull.a.b"])
async def test_the_probe_asks_for_nothing_but_the_settings(running: Running, subject: str) -> None:
    said: list[Exception] = []
    refused = anyio.Event()

    async def on_error(error: Exception) -> None:
        said.append(error)
        refused.set()

    client = await nats.connect(running.url("probe"), inbox_prefix=b"_INBOX_probe", error_cb=on_error)
    try:
        await client.request("$SYS.REQ.SERVER.PING.VARZ", timeout=5)
        assert not said
        await client.publish(subject, b"")
        with anyio.fail_after(5):
            await refused.wait()
    finally:
        await client.close()
    assert "permissions violation for publish" in str(said[0]).lower()


def test_monitoring_stays_on_loopback_wherever_clients_are_served(running: Running) -> None:
    assert running.address.startswith(f"{HOST}:")
    assert running.monitoring.startswith("http://127.0.0.1:")
    with urlopen(f"{running.monitoring}/healthz?js-enabled-only=true", timeout=5) as answer:  # noqa: S310  # loopback
        assert json.load(answer) == {"status": "ok"}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """`server.pem` and `server.key` in a directory, as the TLS block of the file names them; the path of the first."""
    need("openssl", why="which makes the certificate")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "1"]
    names = ["-subj", "/CN=test", "-addext", f"subjectAltName=IP:{HOST}", "-keyout", "server.key", "-out", "server.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *names], cwd=tmp_path, check=True, capture_output=True, timeout=30
    )
    return tmp_path / "server.pem"


def test_with_its_tls_block_it_serves_clients_that_trust_the_certificate(
    certificate: Path, bare_env: dict[str, str], written_env: dict[str, str]
) -> None:
    conf = certificate.with_name("tls.conf")
    plain = CONF.read_text()
    conf.write_text(plain.replace("# tls {", "tls {"))
    assert conf.read_text() != plain
    server = Running(conf, certificate.parent, bare_env | written_env)
    try:
        ours = {"BROKER_PLANE_NATS_URL": server.url(), "BROKER_PLANE_BRIDGE_URL": "http://127.0.0.1:1"}
        probe = {"BROKER_PLANE_NATS_PROBE_PASSWORD": written_env["BROKER_PLANE_NATS_PROBE_PASSWORD"]}
        trusting = doctor(bare_env | ours | probe | {"SSL_CERT_FILE": str(certificate)})
        doubting = doctor(bare_env | ours | probe)
    finally:
        server.stop()
    assert server.scheme == "tls"
    assert (trusting["check_nats"], trusting["durability"]) == ("ok", "fsync before ack")
    assert "certificate" in doubting["check_nats"]


def doctor(environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "broker_plane.cli.main", "doctor", "--json"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    said: dict[str, Any] = json.loads(done.stdout)
    return said
