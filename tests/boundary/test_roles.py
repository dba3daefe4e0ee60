"""What is offered and said: by doctor, in an offer, and to who set a role without what it needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from typer.testing import CliRunner

from broker_plane import Plane
from broker_plane.cli.main import app_of
from broker_plane.config import Settings, load_settings
from broker_plane.errors import BrokerAccessDeniedError, ConfigError
from broker_plane.testing.server import NatsServer
from broker_plane.wire.plane_names import Names
from tests.boundary.conftest import Join
from tests.boundary.world import stored
from tests.deploy.running import Running

pytestmark = pytest.mark.anyio


async def command(environment: dict[str, str], *words: str) -> Any:
    """The JSON that a command says."""
    clean = {name: environment.get(name, "") for name in ("BROKER_PLANE_CALLOUT_SEED", "BROKER_PLANE_CALLOUT_PASSWORD")}
    done = await anyio.to_thread.run_sync(
        lambda: CliRunner().invoke(
            app_of(words[0]), [*words, "--json"], env={**clean, **environment}, catch_exceptions=False
        )
    )
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


async def test_doctor_says_that_grants_connect(broker: Running, variables: dict[str, str], tmp_path: Path) -> None:
    own = {"BROKER_PLANE_NATS_URL": broker.url(), "BROKER_PLANE_DATA_DIR": str(tmp_path)}
    said = await command(variables | own, "doctor")
    assert said["guests"] == "a grant can connect to NATS and pull"
    assert said["problem"] is None


async def test_doctor_says_who_does_not_answer_for_grants(broker: Running, tmp_path: Path) -> None:
    own = {"BROKER_PLANE_NATS_URL": broker.url(), "BROKER_PLANE_DATA_DIR": str(tmp_path)}
    assert "BROKER_PLANE_CALLOUT_SEED" in (await command(own, "doctor"))["guests"]


async def test_doctor_says_what_a_nats_without_accounts_lacks(nats_server: NatsServer, tmp_path: Path) -> None:
    own = {"BROKER_PLANE_NATS_URL": nats_server.url, "BROKER_PLANE_DATA_DIR": str(tmp_path)}
    said = (await command(own, "doctor"))["guests"]
    assert said.startswith("grants cannot connect to NATS: this NATS has no accounts")


async def test_the_subject_is_offered_where_nats_holds_askers_to_it(weather: Plane, settings: Settings) -> None:
    """A resource server's NATS has accounts; the other one is a nats-server as it comes."""
    assert {each.protocol for each in (await weather.publish(b"body")).offer().descriptors} == {"nats", "http"}
    async with Plane.connect(settings) as open_to_all:
        assert [each.protocol for each in (await open_to_all.publish(b"body")).offer().descriptors] == ["http"]


async def test_a_narrowed_grants_subject_is_offered_on_the_same_terms(
    broker: Running, nats_server: NatsServer, weather: Plane, tmp_path: Path
) -> None:
    grant = (await weather.publish([{"a": 1, "b": 2}])).grant
    for url, offered in ((broker.url(), True), (nats_server.url, False)):
        own = {"BROKER_PLANE_NATS_URL": url, "BROKER_PLANE_DATA_DIR": str(tmp_path)}
        said = await command(own, "grant", grant, "--columns", "a")
        assert (said["subject"] is not None) is offered


async def test_an_owner_is_added_with_a_limit_of_its_own(broker: Running, join: Join, tmp_path: Path) -> None:
    own = {"BROKER_PLANE_NATS_URL": broker.url(), "BROKER_PLANE_DATA_DIR": str(tmp_path)}
    assert await command(own, "owners", "add", "billing", "--max-bytes", "50000000") == {
        "owner": "billing",
        "bucket": "bp_billing",
    }
    view = await join("plane")
    info = orjson.loads((await view.request("$JS.API.STREAM.INFO.OBJ_bp_billing", b"")).data)
    assert info["config"]["max_bytes"] == 50_000_000


async def test_a_key_bucket_of_a_version_before_accounts_is_closed_to_roll_ups(
    plane_settings: Settings, join: Join
) -> None:
    """With it, one resource server could have taken away the keys of all others."""
    async with Plane.connect(plane_settings):
        view = await join("plane")
        name = f"$JS.API.STREAM.INFO.KV_{Names().keys_bucket}"
        config = orjson.loads((await view.request(name, b"")).data)["config"]
        older = orjson.dumps(config | {"allow_rollup_hdrs": True, "max_msg_size": -1})
        await view.request(f"$JS.API.STREAM.UPDATE.KV_{Names().keys_bucket}", older)
        assert orjson.loads((await view.request(name, b"")).data)["config"]["allow_rollup_hdrs"]
        before = await stored(view)
    async with Plane.connect(plane_settings):
        config = orjson.loads((await view.request(name, b"")).data)["config"]
        assert not config["allow_rollup_hdrs"]
        assert config["max_msg_size"] == 4096
        assert await stored(view) == before


@pytest.mark.parametrize(
    ("set_to", "lacks"),
    [({"role": "guest"}, "NATS_URL"), ({"role": "source", "nats_url": "nats://127.0.0.1:1"}, "BRIDGE_URL")],
)
async def test_a_role_says_what_it_needs(tmp_path: Path, set_to: dict[str, str], lacks: str) -> None:
    with pytest.raises(ConfigError, match=lacks):
        async with Plane.connect(load_settings(data_dir=tmp_path, **set_to)):
            pass


async def test_a_grant_where_nobody_answers_for_it_is_told_what_else_there_is(broker: Running) -> None:
    async with Plane.guest(broker.address) as guest:
        with pytest.raises(BrokerAccessDeniedError, match="over HTTP"):
            await guest.pull("bp.pull." + "AQ" + "A" * 78)
