"""What `broker-plane doctor` says in each role: a line for NATS and one for the bridge, with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from typer.testing import CliRunner

from broker_plane import Plane
from broker_plane.cli.main import app_of
from broker_plane.config import Settings
from tests.brokers.listeners import listening
from tests.deploy.running import Running
from tests.ports import free_port

pytestmark = pytest.mark.anyio
ROLES = ("plane", "source", "guest")


async def doctor(directory: Path, **settings: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON."""
    named = {"callout_seed": "", "callout_password": "", "data_dir": str(directory), **settings}
    environment = {f"BROKER_PLANE_{name.upper()}": value for name, value in named.items()}
    done = await anyio.to_thread.run_sync(
        lambda: CliRunner().invoke(app_of("doctor"), ["doctor", "--json"], env=environment, catch_exceptions=False)
    )
    return done.exit_code, json.loads(done.stdout)


@pytest.mark.parametrize("role", ROLES)
async def test_a_stopped_nats_and_a_stopped_bridge_are_two_lines(tmp_path: Path, role: str) -> None:
    nats, bridge = f"nats://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    code, said = await doctor(tmp_path, role=role, nats_url=nats, bridge_url=bridge, request_timeout_seconds="0.2")
    assert code == 1
    assert said["check_nats"] == (
        f"NATS at {nats} does not answer: nothing listens there: start it, or correct BROKER_PLANE_NATS_URL"
    )
    assert said["check_bridge"] == (
        f"The bridge at {bridge} does not answer: nothing listens there: start it (`broker-plane bridge`), or correct "
        "BROKER_PLANE_BRIDGE_URL"
    )
    assert said["problem"] == f"{said['check_nats']}; {said['check_bridge']}"


@pytest.mark.parametrize("user", ["plane", "weather", "stats", ""])
async def test_what_answers_is_ok_in_every_role(broker: Running, plane: Plane, tmp_path: Path, user: str) -> None:
    role = {"plane": "plane", "weather": "source"}.get(user, "guest")
    nats = broker.url(user) if user else broker.address
    code, said = await doctor(tmp_path, role=role, owner=user or "local", nats_url=nats, bridge_url=plane.bridge_url)
    assert (code, said["check_nats"], said["check_bridge"]) == (0, "ok", "ok"), said


async def test_an_address_for_guests_is_checked_beside_the_own_one(
    broker: Running, plane: Plane, plane_settings: Settings, tmp_path: Path
) -> None:
    ours = {"nats_url": plane_settings.nats_url, "bridge_url": plane.bridge_url}
    code, said = await doctor(tmp_path, **ours, nats_guest_url=broker.url("stats"))
    assert (code, said["check_nats"], said["check_guest_nats"]) == (0, "ok", "ok")
    code, said = await doctor(tmp_path, **ours, nats_guest_url=f"nats://stats:wrong@{broker.address}")
    assert (code, said["check_nats"]) == (1, "ok")
    assert "correct them in BROKER_PLANE_NATS_GUEST_URL" in said["check_guest_nats"]


async def test_a_guest_without_a_user_hears_that_no_bridge_admits_grants(broker: Running, tmp_path: Path) -> None:
    code, said = await doctor(tmp_path, role="guest", nats_url=broker.address)
    assert code == 1
    assert "no bridge decides there which grants to admit" in said["check_nats"]
    assert said["check_bridge"] == "not checked: BROKER_PLANE_BRIDGE_URL is not set"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "answers 404 and is not a bridge"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "answers 200 and is not a bridge"),
        (b"220 mail\r\n\r\n", "is not a bridge: it does not speak this protocol"),
        (
            b"HTTP/1.1 421 Misdirected\r\ncontent-length: 49\r\n\r\n"
            b'{"code": "unknown_host", "detail": "It is for b"}  ',
            "answers 421 (It is for b)",
        ),
    ],
)
async def test_another_server_is_not_taken_for_a_bridge(
    broker: Running, tmp_path: Path, answer: bytes, said: str
) -> None:
    async with listening(answer=answer) as other:
        bridge = {"bridge_url": f"http://127.0.0.1:{other.port}"}
        found = (await doctor(tmp_path, role="guest", nats_url=broker.url("stats"), **bridge))[1]["check_bridge"]
    assert said in found
    assert found.endswith(": start it (`broker-plane bridge`), or correct BROKER_PLANE_BRIDGE_URL")
