"""What a bridge logs, as a person or a machine reads it: requests, refusals, NATS lost and back; and never a grant."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import GrantUsedError
from broker_plane.logs import FIELDS, configure
from broker_plane.sync import Plane as SyncPlane
from broker_plane.testing.server import NatsServer, wait_for
from broker_plane.wire.grant import grant_of
from broker_plane.wire.nkey import account_seed

FORMS = ("text", "json")
ROUTES = (
    *("/s2sp/data/{}", "/s2sp/data/{}/confirm", "/s2sp/data/{}/look", "/s2sp/data/{}/page", "/s2sp/upload/{}"),
    *("/v1/feeds/{}", "/v1/feeds/{}/1", "/v1/feeds/{}/1/changes?since=0", "/v1/feeds/{}/taken", "/v1/streams/{}"),
    *("/s2sp/data/{}?columns=a", "/s2sp/data/{}/nowhere", "//s2sp//data//{}", "/S2SP/DATA/{}", "/{}", "/healthz?g={}"),
    *("/s2sp%2Fdata%2F{}", "/readyz/{}", "/metrics?{}={}", "/v1/feeds/x?since={}"),
)


class Bridge:
    """`broker-plane bridge` as a service runs it; `log` is all that it wrote on standard error."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.splitlines()]


@contextmanager
def bridge(server: NatsServer, root: Path, *words: str, **settings: str) -> Iterator[Bridge]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    env = kept | {f"BROKER_PLANE_{name.upper()}": value for name, value in settings.items()}
    env |= {"BROKER_PLANE_NATS_URL": server.url, "BROKER_PLANE_DATA_DIR": str(root / "data")}
    command = [sys.executable, "-m", "broker_plane.cli.main", "bridge", "--port", "0", *words]
    log = root / "bridge.log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, env=env, cwd=root, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            yield Bridge(json.loads(process.stdout.readline())["bridge"], log)
        finally:
            process.terminate()
            assert process.wait(30) == 0


async def ask_everywhere(url: str, grants: list[str]) -> None:
    """Ask each route for each grant, as it is and percent-encoded, by several methods, and in headers and bodies."""
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
        for grant in grants:
            spelled = [grant, "".join(f"%{ord(letter):02x}" for letter in grant), quote(grant[:-1], safe="")]
            for number, route in enumerate(ROUTES):
                path = route.replace("{}", spelled[number % 3])
                for method in ("GET", "POST", "PUT"):
                    await client.request(method, path, content=b"" if method == "GET" else b"{}", timeout=3)
            headers = {"authorization": f"Bearer {grant}", "range": grant, "last-event-id": grant, "cookie": grant}
            await client.get(f"/v1/feeds/{grant}/1", headers=headers)
            await client.post(f"/s2sp/data/{grant}/page", json={"cursor": grant, "lease": grant, "columns": [grant]})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("level", "form"),
    [
        *(("debug", "text"), ("debug", "json"), ("info", "json")),
        *(pytest.param(level, form, marks=pytest.mark.full) for level in ("warning", "error") for form in FORMS),
        pytest.param("info", "text", marks=pytest.mark.full),
    ],
)
async def test_no_grant_is_in_what_a_bridge_writes(
    nats_server: NatsServer, tmp_path: Path, level: str, form: str
) -> None:
    with bridge(nats_server, tmp_path, "--log-level", level, log_format=form) as running:
        settings = load_settings(nats_url=nats_server.url, bridge_url=running.url, data_dir=tmp_path / "ours")
        async with Plane.connect(settings) as plane:
            made = await plane.publish([{"a": number} for number in range(50)], uses="unlimited")
            await plane.publish([{"a": 1}], feed=f"logs.{level}{form}", key="a")
            feed = await plane.feeds.grant(f"logs.{level}{form}")
            upload = await plane.uploads.grant(ttl=60)
            urls = (made.resource_url, feed.resource_url, upload.upload_url)
            grants = [grant_of(url) for url in urls]
            forged = grants[0][:-1] + ("A" if grants[0][-1] != "A" else "B")
            await plane.pull(made.resource_url, via="nats")
            for _ in range(2):
                await plane.pull(made.resource_url, via="http")
            async with asyncio.timeout(60):
                await ask_everywhere(running.url, [grants[0], grants[2], forged])
            async with httpx2.AsyncClient(base_url=running.url, trust_env=False, timeout=20) as client:
                await client.get(f"/v1/feeds/{grants[1]}/1")
        if level in ("debug", "info"):
            wait_for(lambda: "GET" in running.log, "a request to be logged")
    log = running.log
    for grant in [*grants, forged]:
        for part in (grant, grant[:-1], grant[8:48], grant.lower(), "".join(f"%{ord(c):02x}" for c in grant)[:60]):
            assert part.lower() not in log.lower(), part
    if level in ("debug", "info"):
        assert "/s2sp/data/…" in log
        assert "unknown_grant" in log
    if form == "json":
        lines = running.lines()
        assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
        requests = [line for line in lines if line["logger"] == "broker_plane.access"]
        assert bool(requests) is (level in ("debug", "info"))
        for line in requests:
            assert {"method", "path", "status", "bytes", "ms", "client"} <= set(line)


@pytest.mark.anyio
async def test_a_bridge_logs_requests_without_being_told_to(nats_server: NatsServer, tmp_path: Path) -> None:
    with bridge(nats_server, tmp_path) as running:
        async with httpx2.AsyncClient(base_url=running.url, trust_env=False, timeout=20) as client:
            await client.get("/healthz")
        wait_for(lambda: '"GET /healthz" 200' in running.log, "the request to be logged")
    assert "Traceback" not in running.log


@pytest.mark.anyio
async def test_nats_lost_and_back_is_logged_once_each(own_server: NatsServer, tmp_path: Path) -> None:
    """A bridge with a callout has two connections to it."""
    callout = {"callout_password": "x", "callout_seed": account_seed(bytes(32))}
    with bridge(own_server, tmp_path, log_format="json", log_level="warning", **callout) as running:
        own_server.kill()
        wait_for(lambda: said(running, "Lost the connection to NATS at nats://127.0.0.1:"), "the loss to be logged")
        own_server.start()
        wait_for(lambda: said(running, "Reconnected to NATS at 127.0.0.1:"), "the return to be logged", 60)
    assert said(running, "Lost the connection") == said(running, "Reconnected") == 1


def said(running: Bridge, beginning: str) -> int:
    """The number of lines that begin like this."""
    return sum(str(line["message"]).startswith(beginning) for line in running.lines())


def test_a_refusal_without_a_reason_is_logged_without_parentheses(nats_server: NatsServer, tmp_path: Path) -> None:
    with bridge(nats_server, tmp_path) as running:
        settings = load_settings(nats_url=nats_server.url, bridge_url=running.url, data_dir=tmp_path / "ours")
        with SyncPlane.connect(settings) as plane:
            made = plane.publish(b"once", uses=1)
            plane.pull(made.resource_url, via="nats")
            for via in ("nats", "http"):
                with pytest.raises(GrantUsedError):
                    plane.pull(made.resource_url, via=via)
    assert running.log.count("refused: grant_used") == 2
    assert "()" not in running.log


GRANT = "AQJz-_8x" * 12


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["httpx2", "uvicorn.error", "nats.aio.client", "mcp.server", "asyncio", "py.warnings"])
@pytest.mark.parametrize(
    "said",
    [
        "GET http://h/s2sp/data/{}?x",
        "%s",
        "bp.pull.{}.asker",
        "bp.say.note.{}.asker",
        "Bearer {}",
        "{{'grant': '{}'}}",
        "a\nline {}",
        "PUT /s2sp/upload/{}",
        "/v1/streams/{} and /v1/feeds/{}/1",
        "raised",
        "in fields",
    ],
)
def test_whatever_a_library_logs_is_redacted(monkeypatch: pytest.MonkeyPatch, form: str, name: str, said: str) -> None:
    stream = StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.getLogger("broker_plane").level)
    try:
        configure(form, "debug")
        log = logging.getLogger(name)
        log.setLevel(logging.NOTSET)
        if said == "raised":
            try:
                raise ValueError(f"http://h/s2sp/data/{GRANT}")
            except ValueError:
                log.exception("it failed", stack_info=True)
        elif said == "in fields":
            log.warning("x", extra={FIELDS: {"path": f"/s2sp/data/{GRANT}", "number": 1}})
        else:
            log.warning(said.replace("{}", GRANT), *((GRANT,) if "%s" in said else ()))
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        logging.getLogger("broker_plane").setLevel(before[2])
        logging.captureWarnings(False)
    assert "AQJz" not in stream.getvalue()
    assert stream.getvalue()
    if form == "json":
        (line,) = stream.getvalue().splitlines()
        assert json.loads(line)["logger"] == name
