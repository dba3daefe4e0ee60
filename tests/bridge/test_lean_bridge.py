"""A bridge that nobody has sent a grant to has imported none of its features."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from broker_plane.config import load_settings
from broker_plane.errors import ConfigError
from broker_plane.runtime.bridging import bridging
from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.server import NatsServer

ABSENT = (
    "difflib",
    "duckdb",
    "httpx2",
    "mcp",
    "pycrdt",
    "pydantic",
    "rfc8785",
    "tomllib",
    "broker_plane.bridge.bodies",
    "broker_plane.bridge.feeds",
    "broker_plane.bridge.protocols",
    "broker_plane.bridge.queries",
    "broker_plane.bridge.reading",
    "broker_plane.bridge.session_page",
    "broker_plane.bridge.sessions",
    "broker_plane.bridge.streams",
    "broker_plane.bridge.uploads",
    "broker_plane.client",
    "broker_plane.formats",
    "broker_plane.plane.feeds",
    "broker_plane.plane.sessions",
    "broker_plane.plane.uploads",
    "broker_plane.query",
    "broker_plane.reading",
    "broker_plane.registry",
    "broker_plane.tabular.codec",
    "broker_plane.validators",
)


def test_an_idle_bridge_has_not_imported_its_features(own_server: NatsServer, tmp_path: Path) -> None:
    imported = imports_of_a_bridge(own_server.url, tmp_path, ["/healthz", "/readyz", "/metrics", "/version"])
    assert "broker_plane.bridge.app" in imported
    assert [name for name in ABSENT if name in imported] == []


def test_a_first_request_imports_its_feature_only(own_server: NatsServer, tmp_path: Path) -> None:
    imported = imports_of_a_bridge(own_server.url, tmp_path, ["/protocols"])
    assert "broker_plane.registry" in imported
    assert not imported & {"broker_plane.bridge.bodies", "broker_plane.plane.feeds", "broker_plane.query"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("setting", "text"), [("session_validators", "spell=ruby:check"), ("webhook_networks", "10.0.0.0/99")]
)
async def test_settings_of_features_are_refused_at_the_start(wiring: Wiring, setting: str, text: str) -> None:
    settings = load_settings(nats_url=wiring.url, **{setting: text})
    with pytest.raises(ConfigError, match=setting.upper()):
        async with bridging(wiring, settings, host="127.0.0.1", port=0):
            pytest.fail("it started")


def imports_of_a_bridge(nats_url: str, folder: Path, paths: list[str]) -> set[str]:
    """The modules that a bridge process has imported after it has answered GET for `paths`."""
    command = [sys.executable, "-X", "importtime", "-m", "broker_plane.cli.bridge"]
    ours = {"BROKER_PLANE_NATS_URL": nats_url, "BROKER_PLANE_DATA_DIR": str(folder)}
    with (
        (folder / "imports").open("w") as written,
        subprocess.Popen(command, env={**os.environ, **ours}, stdout=subprocess.PIPE, stderr=written) as bridge,
    ):
        assert bridge.stdout is not None
        url = json.loads(bridge.stdout.readline())["bridge"]
        for path in paths:
            assert httpx2.get(url + path, timeout=10, trust_env=False).status_code == 200, path
        bridge.send_signal(signal.SIGTERM)
        assert bridge.wait(20) == 0
    lines = (folder / "imports").read_text().splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
