"""Announcements of agents: found while their process lives, by searches of ours and by any NATS tool."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import anyio
import nats
import nats.errors
import pytest
from nats.aio.client import Client

from broker_plane import Plane
from broker_plane.config import Settings, load_settings
from broker_plane.errors import BrokerUnavailableError, EntryNotFoundError, NotPermittedError, RegistryError
from broker_plane.storage.buckets import NatsBucket
from broker_plane.testing.processes import Actor, until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.plane_names import kv_subject
from tests.forked import ForkedActor

pytestmark = pytest.mark.anyio

TTL = 3


@pytest.fixture
async def raw(settings: Settings) -> AsyncIterator[Client]:
    """A NATS client without anything of ours, as other tools have it."""
    client = await nats.connect(settings.nats_url)
    yield client
    await client.close()


@pytest.fixture
def agent_id() -> str:
    """An agent that no other test announces."""
    return f"t{uuid4().hex}"


def profile(agent_id: str, **members: Any) -> dict[str, Any]:
    serves = [
        {
            "protocol_id": "https",
            "endpoint": "https://crm.example/v1",
            "formats": ["text/csv"],
            "modes": ["fetch", "stream"],
        }
    ]
    return {"agent_id": agent_id, "name": "Customers", "serves": serves, "consumes": ["sse"], "ttl": TTL} | members


async def service(client: Client, verb: str) -> dict[str, Any]:
    """What the only service of this server answers."""
    return cast("dict[str, Any]", json.loads((await client.request(f"$SRV.{verb}", b"", timeout=10)).data))


async def no_service(client: Client, instance: str) -> None:
    with pytest.raises(nats.errors.NoRespondersError):
        await client.request(f"$SRV.INFO.agents.{instance}", b"", timeout=10)


def command(settings: Settings, *words: str) -> tuple[list[str], dict[str, str]]:
    environment = {"BROKER_PLANE_NATS_URL": settings.nats_url, "BROKER_PLANE_BRIDGE_URL": "http://127.0.0.1:1"}
    return [sys.executable, "-m", "broker_plane.cli.main", "agents", *words], {**os.environ, **environment}


def announcing(settings: Settings, agent_id: str, *options: str) -> Actor:
    serves = "https=https://crm.example/v1,text/csv,json,fetch,stream"
    words = ("announce", "--id", agent_id, "--serves", serves, "--ttl", f"{TTL}s", *options, "--json")
    environment = {"BROKER_PLANE_NATS_URL": settings.nats_url, "BROKER_PLANE_BRIDGE_URL": "http://127.0.0.1:1"}
    return ForkedActor("broker_plane.cli.main", "agents", *words, **environment)


async def test_an_agent_is_found_while_it_is_announced(plane: Plane, agent_id: str) -> None:
    async with plane.agents.announce(profile(agent_id)) as announcement:
        (found,) = (await plane.agents.search(agent_id, protocol="https", format="text/*", mode="stream")).found
        assert found.announcement == announcement
        assert [served.endpoint for served in found.serves] == ["https://crm.example/v1"]
        assert await plane.agents.get(agent_id) == [announcement]
        assert not (await plane.agents.search(agent_id, protocol="http")).found
    assert not (await plane.agents.search(agent_id)).found
    with pytest.raises(EntryNotFoundError, match=agent_id):
        await plane.agents.get(agent_id)


async def test_nats_tools_see_an_announced_agent(plane: Plane, raw: Client, agent_id: str) -> None:
    async with plane.agents.announce(profile(agent_id)) as announcement:
        instance = announcement.instance
        for verb in ("INFO", "INFO.agents", f"INFO.agents.{instance}"):
            info = await service(raw, verb)
            assert (info["type"], info["name"], info["id"]) == ("io.nats.micro.v1.info_response", "agents", instance)
            assert info["metadata"]["agent_id"] == agent_id
            assert info["metadata"]["protocols"] == "https"
            assert info["metadata"]["formats"] == "text/csv"
            assert info["metadata"]["consumes"] == "sse"
            (endpoint,) = info["endpoints"]
            assert endpoint["name"] == "negotiate"
        ping = await service(raw, "PING")
        assert ping["type"] == "io.nats.micro.v1.ping_response"
        assert not {"endpoints", "description"} & ping.keys()
        await raw.request(endpoint["subject"], b'{"capabilities": {}}', timeout=10)
        refused = await raw.request(endpoint["subject"], b"not JSON", timeout=10)
        assert "not JSON" in (refused.headers or {})["Nats-Service-Error"]
        stats = await service(raw, f"STATS.agents.{instance}")
        (counts,) = stats["endpoints"]
        assert (counts["num_requests"], counts["num_errors"]) == (2, 1)
        assert counts["processing_time"] > 0
    await no_service(raw, instance)


async def test_what_nats_micro_expects_of_a_service_is_in_its_answers(plane: Plane, raw: Client, agent_id: str) -> None:
    from nats.micro.service import ServiceInfo, ServicePing, ServiceStats  # another implementation of ADR-32

    async with plane.agents.announce(profile(agent_id)):
        for verb, kind in (("INFO", ServiceInfo), ("PING", ServicePing), ("STATS", ServiceStats)):
            assert kind.from_dict(await service(raw, verb)).metadata["agent_id"] == agent_id


async def test_a_heartbeat_keeps_an_announcement_beyond_its_ttl(plane: Plane, agent_id: str) -> None:
    async with plane.agents.announce(profile(agent_id)) as announcement:

        async def renewed() -> bool:
            (found,) = await plane.agents.get(agent_id)  # it is there at each look
            return (found.last_seen - announcement.last_seen).total_seconds() > TTL

        await until(renewed, "a heartbeat after the TTL", 30)
        (found,) = await plane.agents.get(agent_id)
        assert found.announced_at == announcement.announced_at


async def test_a_killed_agent_is_gone_within_its_ttl(
    plane: Plane, raw: Client, settings: Settings, agent_id: str
) -> None:
    agent = announcing(settings, agent_id)
    try:
        announced = await agent.said()
        assert [(each["protocol_id"], each["formats"], each["modes"]) for each in announced["serves"]] == [
            ("https", ["text/csv", "json"], ["fetch", "stream"])
        ]
        assert (await service(raw, "INFO.agents"))["metadata"]["agent_id"] == agent_id
        agent.kill()
        (left,) = await plane.agents.get(agent_id)  # nobody could remove it
        await no_service(raw, left.instance)
        with pytest.raises(EntryNotFoundError, match="ended"):
            await plane.agents.negotiate(left)

        async def gone() -> bool:
            return not (await plane.agents.search(agent_id)).found

        await until(gone, "the announcement to expire", 10 * TTL)
        bucket = NatsBucket(plane.wiring.connection, "bp_agents")

        async def removed() -> bool:
            return (await bucket.load(f"{agent_id}.{left.instance}"))[0] is None

        await until(removed, "NATS to remove the entry", 10 * TTL)
    finally:
        agent.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_agent_that_is_stopped_is_gone_at_once(
    plane: Plane, settings: Settings, agent_id: str, number: signal.Signals
) -> None:
    agent = announcing(settings, agent_id, "--ttl", "1h")
    try:
        await agent.said()
        os.kill(agent.pid, number)
        with pytest.raises(EOFError):
            await agent.said()
        assert not (await plane.agents.search(agent_id)).found
    finally:
        agent.close()


async def test_two_processes_announce_the_same_agent_and_neither_changes_the_others(
    plane: Plane, settings: Settings, agent_id: str
) -> None:
    other = announcing(settings, agent_id)
    try:
        second = await other.said()
        async with plane.agents.announce(profile(agent_id)) as first:
            instances = {each.instance for each in await plane.agents.get(agent_id)}
            assert instances == {first.instance, second["instance"]}
        assert [each.instance for each in await plane.agents.get(agent_id)] == [second["instance"]]
    finally:
        other.close()


async def test_an_announcement_that_was_removed_comes_back_with_the_next_heartbeat(plane: Plane, agent_id: str) -> None:
    bucket = NatsBucket(plane.wiring.connection, "bp_agents")
    async with plane.agents.announce(profile(agent_id)) as announcement:
        name = f"{agent_id}.{announcement.instance}"
        await bucket.delete(name, (await bucket.load(name))[1])
        assert not (await plane.agents.search(agent_id)).found

        async def back() -> bool:
            return bool((await plane.agents.search(agent_id)).found)

        await until(back, "the next heartbeat")
    assert not (await plane.agents.search(agent_id)).found


async def test_hostile_entries_are_left_out_and_stop_no_search(plane: Plane, raw: Client, agent_id: str) -> None:
    async with plane.agents.announce(profile(agent_id)) as announcement:
        good = announcement.to_wire()
        entries = {
            "not-json": b"{",
            "large": b" " * (1 << 20),
            "forged.name": json.dumps(good).encode(),
            f"{agent_id}.{'B' * 22}": json.dumps(good).encode(),
            f"{agent_id}.{'C' * 22}": json.dumps(
                good | {"instance": "C" * 22, "last_seen": "2999-01-01T00:00:00Z"}
            ).encode(),
            f"{agent_id}.{'D' * 22}": json.dumps(
                good | {"instance": "D" * 22, "serves": [{"protocol_id": "https", "endpoint": "https://u:p@h/"}]}
            ).encode(),
            "deep": b"[" * 100_000,
        }
        for name, entry in entries.items():
            await raw.request(kv_subject("bp_agents", name), entry, timeout=10, headers={"Nats-TTL": "60s"})
        result = await plane.agents.search(agent_id)
        assert [found.announcement.instance for found in result.found] == [announcement.instance]
        assert result.unreadable >= len(entries)
        assert [each.instance for each in await plane.agents.get(agent_id)] == [announcement.instance]


async def test_a_search_returns_the_first_and_says_that_there_are_more(plane: Plane, agent_id: str) -> None:
    async with plane.agents.announce(profile(agent_id)), plane.agents.announce(profile(agent_id)):
        result = await plane.agents.search(agent_id, limit=1)
        assert (len(result.found), result.more) == (1, True)
        both = await plane.agents.search(agent_id, limit=2)
        assert (len(both.found), both.more) == (2, False)
        assert both.found[0] == result.found[0]
    for limit in (0, 1001):
        with pytest.raises(RegistryError, match="1000"):
            await plane.agents.search(limit=limit)


async def test_a_credential_is_not_announced(plane: Plane, agent_id: str) -> None:
    published = await plane.publish([{"a": 1}])
    serves = [{"protocol_id": "https", "endpoint": published.resource_url, "formats": [], "modes": ["fetch"]}]
    with pytest.raises(RegistryError, match="grant"):
        async with plane.agents.announce(profile(agent_id, serves=serves)):
            pass
    assert not (await plane.agents.search(agent_id)).found


async def test_the_command_lists_agents(plane: Plane, settings: Settings, agent_id: str) -> None:
    async with plane.agents.announce(profile(agent_id, ttl=3600)) as announcement:
        for words, expected in (
            (("--protocol", "https", "--format", "text/*", "--mode", "stream", "--serves"), [announcement.to_wire()]),
            (("--protocol", "sse", "--consumes"), [announcement.to_wire()]),
            (("--protocol", "https", "--consumes"), []),
        ):
            line, environment = command(settings, "search", agent_id, *words, "--json")
            ran = await anyio.run_process(line, env=environment, check=False)
            assert ran.returncode == 0, ran.stderr.decode()
            assert json.loads(ran.stdout)["agents"] == expected
        line, environment = command(settings, "search", agent_id)
        ran = await anyio.run_process(line, env=environment)
        assert ran.stdout.decode().rstrip("\n").split("\t") == [
            *(agent_id, "Customers", "https", "https://crm.example/v1", "text/csv", "fetch, stream", "sse"),
            announcement.instance,
        ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("announce", "--id", "crm", "--serves", "https"), "PROTOCOL=ENDPOINT"),
        (("announce", "--id", "crm", "--serves", "https=https://u:p@crm.example"), "user"),
        (("search", "--consumes", "--format", "text/csv"), "consumes"),
    ],
)
def test_wrong_usage_is_one_sentence(settings: Settings, words: tuple[str, ...], says: str) -> None:
    line, environment = command(settings, *words, "--json")
    ran = subprocess.run(line, env=environment, capture_output=True, timeout=60, check=False)
    assert ran.returncode in (1, 2)
    assert says in json.loads(ran.stderr)["error"]["message"]


async def test_only_the_plane_announces_and_searches(settings: Settings) -> None:
    async with Plane.guest(settings.nats_url) as guest:
        with pytest.raises(NotPermittedError):
            _ = guest.agents


async def test_an_agent_is_announced_again_after_nats_was_away_for_longer_than_its_ttl(
    own_server: NatsServer, tmp_path: Path, agent_id: str
) -> None:
    own = load_settings(nats_url=own_server.url, data_dir=tmp_path / "own", bridge_url="http://127.0.0.1:1")
    async with Plane.connect(own) as plane, plane.agents.announce(profile(agent_id)) as announcement:
        bucket = NatsBucket(plane.wiring.connection, "bp_agents")
        name = f"{agent_id}.{announcement.instance}"
        own_server.kill()
        await until(lambda: not announcement.alive(plane.wiring.now()), "the TTL to pass; heartbeats fail")
        own_server.start()

        async def back() -> bool:
            with suppress(BrokerUnavailableError):
                return (await bucket.load(name))[0] is not None and bool((await plane.agents.search(agent_id)).found)
            return False

        await until(back, "the announcement after the restart", 60)
        assert (await plane.agents.negotiate(announcement)).level == 1  # its service answers as well
