"""A NATS user may use the MCP servers that its permissions name; nats-server itself refuses the others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from mcp import Client, MCPError
from msgspec import structs

from broker_plane import Plane
from broker_plane.cli.accounts import USERS, variables_of
from broker_plane.config import Secret, Settings, load_settings
from broker_plane.errors import NotPermittedError
from broker_plane.transports.nats import nats_client
from tests.boundary.client import Client as NatsUser
from tests.deploy.running import CONF, Running
from tests.proxy.conftest import there
from tests.transports.conftest import fronted

pytestmark = pytest.mark.anyio

USER, LISTER = "desk", "lister"
_LISTER = f"""
{{
  user: {LISTER}
  password: $BP_LISTER_PASSWORD
  permissions {{ publish: ["bp.mcp.open.in.rpc.tools.list"], subscribe: ["bp.dlv.{LISTER}.>", "_INBOX_{LISTER}.>"] }}
}}
"""


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    return variables_of([*USERS, USER, LISTER])


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Iterator[Running]:
    """nats-server on nats.conf, with the user that `broker-plane accounts` prints."""
    command = [sys.executable, "-m", "broker_plane.cli.main", "accounts", "--user", USER, "--server", "open"]
    entry = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    conf = CONF.read_text().replace("GUEST {\n    users: [", f"GUEST {{\n    users: [ {_LISTER} {entry} ", 1)
    path = tmp_path_factory.mktemp("mcp") / "nats.conf"
    path.write_text(conf.replace("auth_users: [ callout,", f"auth_users: [ callout, {USER}, {LISTER},"))
    running = Running(path, path.parent, {**os.environ, **variables})
    yield running
    running.stop()


@pytest.fixture
async def servers(broker: Running, tmp_path: Path) -> AsyncIterator[None]:
    """Two servers: the user may use `open`, and not `closed`."""
    settings = load_settings(nats_url=broker.url(), data_dir=tmp_path / "plane", bridge_url="http://127.0.0.1:1")
    async with AsyncExitStack() as stack:
        for name in ("open", "closed"):
            await stack.enter_async_context(fronted(name, settings))
        yield


@pytest.fixture
def desk(broker: Running, tmp_path: Path) -> Settings:
    return load_settings(nats_url=broker.url(USER), role="guest", data_dir=tmp_path / USER)


@pytest.mark.parametrize(("era", "durable"), [("2026-07-28", True), ("2026-07-28", False), ("legacy", True)])
async def test_a_user_may_use_its_server(servers: None, desk: Settings, era: str, durable: bool) -> None:
    steps: list[float] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with Client(nats_client("open", settings=desk, durable=durable), mode=era) as client:
        assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}
        await client.call_tool("count", {"to": 3}, progress_callback=heard)
        assert steps == [1, 2, 3]
        assert (await client.read_resource("sample://text")).contents


async def test_the_request_of_a_user_that_ends_is_cancelled(servers: None, desk: Settings, tmp_path: Path) -> None:
    path, begun = tmp_path / "go", tmp_path / "begun"
    async with Client(nats_client("open", settings=desk, durable=False), mode="2026-07-28") as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "wait_for", {"path": str(path), "begun": str(begun)})
            await there(begun)
            group.cancel_scope.cancel()
        with anyio.fail_after(30):
            await there(Path(f"{path}.cancelled"))


@pytest.mark.parametrize(("era", "durable"), [("2026-07-28", True), ("2026-07-28", False), ("legacy", True)])
async def test_another_server_is_refused_at_once(servers: None, desk: Settings, era: str, durable: bool) -> None:
    with pytest.raises(BaseException) as raised, anyio.fail_after(10):  # the SDK may raise it in a group
        async with Client(nats_client("closed", settings=desk, durable=durable), mode=era) as client:
            await client.call_tool("add", {"a": 1})
    error = raised.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MCPError)
    assert "does not permit desk to use the MCP server closed (bp.mcp.closed.in.>)" in str(error)
    assert error.error.data == {"code": "not_permitted"}


async def test_a_user_may_be_restricted_to_a_method(servers: None, broker: Running, tmp_path: Path) -> None:
    lister = load_settings(nats_url=broker.url(LISTER), role="guest", data_dir=tmp_path / LISTER)
    for durable in (True, False):
        async with Client(nats_client("open", settings=lister, durable=durable), mode="2026-07-28") as client:
            assert (await client.list_tools()).tools
            with pytest.raises(MCPError, match="does not permit lister"):
                await client.call_tool("add", {"a": 1})


async def test_a_user_pulls_and_reads_a_large_result_with_its_grant_alone(
    broker: Running, desk: Settings, variables: dict[str, str], tmp_path: Path
) -> None:
    callout = {name: variables[f"BROKER_PLANE_{name.upper()}"] for name in ("callout_password", "callout_seed")}
    settings = load_settings(nats_url=broker.url(), data_dir=tmp_path / "plane", **callout)
    async with Plane.connect(settings) as plane:
        async with (
            fronted("open", structs.replace(settings, bridge_url=plane.bridge_url)),
            Client(nats_client("open", settings=desk)) as client,
        ):
            found = (await client.call_tool("large", {"size": 1_000_000})).structured_content or {}
        async with Plane.connect(structs.replace(desk, bridge_url=plane.bridge_url)) as guest:
            assert await guest.pull(found["resource_url"], via="nats") == b"x" * 1_000_000
            assert (await guest.read(found["resource_url"], max_tokens=1)).text.startswith("xxx")
        lister = load_settings(nats_url=broker.url(LISTER), role="guest", data_dir=tmp_path / LISTER)
        async with Plane.connect(lister) as other:
            with pytest.raises(NotPermittedError, match=rf"bp\.pull\.\*\.{LISTER} .* accounts --user {LISTER}"):
                await other.pull(found["resource_url"])


async def test_nats_server_itself_refuses(broker: Running, servers: None) -> None:
    async with NatsUser(broker.url(USER), USER, inbox=f"_INBOX_{USER}") as user:
        for subject in ("bp.mcp.closed.in.rpc.tools.list", "bp.mcp.open.out.n.s.e", "bp.mcp.closed.in.ask.n.s.e"):
            assert await user.publish(subject), subject
        for subject in ("bp.pull.grant.stats", "bp.confirm.grant.stats", "bp.say.read.grant.desk", "$JS.API.INFO"):
            assert await user.publish(subject), subject
        for subject in ("bp.mcp.>", "bp.mcp.open.in.>", "bp.dlv.stats.>", "_INBOX.>", "bp.mcp.open.out.>"):
            assert await user.subscribe(subject), subject
        assert await user.publish("bp.mcp.open.in.rpc.tools.list") == []


@pytest.mark.parametrize(
    ("removed", "said"),
    [
        ("nothing", ""),
        (r".*service: .*bp\.mcp.*\n", 'add { service: "bp.mcp.*.in.>", response_type: stream'),
        (r'\n *"\$SYS\.REQ\.ACCOUNT\.GUEST\.INFO"', "add $SYS.REQ.ACCOUNT.GUEST.INFO to what probe publishes"),
    ],
)
async def test_doctor_says_what_an_older_configuration_lacks(
    removed: str, said: str, variables: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "nats.conf").write_text(re.sub(removed, "", CONF.read_text()))
    running = Running(tmp_path / "nats.conf", tmp_path, {**os.environ, **variables})
    try:
        password = Secret(variables["BROKER_PLANE_NATS_PROBE_PASSWORD"])
        settings = load_settings(nats_url=running.url(), data_dir=tmp_path / "plane", bridge_url="http://127.0.0.1:1")
        async with Plane.connect(structs.replace(settings, nats_probe_password=password)) as plane:
            problem = await plane.health.mcp_access_problem()
        async with Plane.connect(settings) as plane:
            assert "PROBE_PASSWORD is not set" in await plane.health.mcp_access_problem()
    finally:
        running.stop()
    assert said in problem and bool(problem) == bool(said)


def test_the_command_prints_json(broker: Running) -> None:
    command = [sys.executable, "-m", "broker_plane.cli.main", "accounts", "--user", "a-b", "--server", "x", "--json"]
    printed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert printed == {
        "user": "a-b",
        "variable": "BP_A_B_PASSWORD",
        "publish": ["bp.mcp.x.in.>", "bp.pull.*.a-b", "bp.confirm.*.a-b"],
        "subscribe": ["bp.dlv.a-b.>", "_INBOX_a-b.>"],
    }
