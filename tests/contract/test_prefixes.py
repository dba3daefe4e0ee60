"""Two planes in one account of one nats-server, kept apart by their prefixes alone."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import orjson
import pytest

from broker_plane import Plane
from broker_plane.broker.connection import Connection
from broker_plane.config import load_settings
from broker_plane.errors import BodyNotFoundError, ConfigError, GrantRefusedError
from broker_plane.plane.reclaim.orphans import OrphanCollector
from broker_plane.storage.entries import NatsEntryStore
from broker_plane.storage.feeds import NatsFeedLog
from broker_plane.storage.orphans import NatsOrphans
from broker_plane.storage.uploads import NatsPartialUploads
from broker_plane.storage.webhooks import NatsWebhooks
from broker_plane.subjects.puller import NatsPuller
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.names import body_id
from broker_plane.wire.plane_names import Names
from broker_plane.wire.selector import WHOLE
from broker_plane.wire.webhooks import Endpoint

pytestmark = pytest.mark.anyio
ROWS = [{"id": number, "text": f"row {number}"} for number in range(3)]


@pytest.fixture
async def planes(own_server: NatsServer) -> AsyncIterator[tuple[Plane, Plane]]:
    """The default prefix is the beginning of the other one's."""
    settings = load_settings(nats_url=own_server.url)
    async with (
        Plane.connect(settings) as first,
        Plane.connect(load_settings(nats_url=own_server.url, prefix="bp2")) as second,
    ):
        yield first, second


async def streams(connection: Connection) -> set[str]:
    return set((await connection.api("STREAM.NAMES"))["streams"])


async def test_each_stream_belongs_to_one_plane(planes: tuple[Plane, Plane]) -> None:
    for plane in planes:
        await plane.publish(ROWS, feed="crm.contacts", key="id")
    found = await streams(planes[0].wiring.connection)
    of_first, of_second = ({name for name in found if Names(prefix).has(name)} for prefix in ("bp", "bp2"))
    assert of_first | of_second == found
    assert not of_first & of_second
    assert {name.replace("bp", "bp2").replace("BP", "BP2") for name in of_first} == of_second
    assert {"KV_bp_grants", "BP_GRANTS_COPY", "KV_bp_feeds", "BP_FEEDS", "BP_DEAD", "OBJ_bp_local"} <= of_first


async def test_bodies_and_grants_of_one_are_unknown_to_the_other(planes: tuple[Plane, Plane]) -> None:
    first, second = planes
    published = await first.publish(ROWS, uses=2)
    assert [body async for body in second.wiring.store.list("local")] == []
    with pytest.raises(BodyNotFoundError):
        await second.wiring.store.info("local", published.body.id)
    for address in (published.resource_url, f"bp.pull.{published.grant}", f"bp2.pull.{published.grant}"):
        with pytest.raises(GrantRefusedError):
            async with NatsPuller(second.wiring.connection, "reader", retry_seconds=0).pull(address, WHOLE):
                pass
    for address in (published.resource_url, f"bp2.pull.{published.grant}"):
        async with NatsPuller(first.wiring.connection, "reader").pull(address, WHOLE) as incoming:
            assert incoming.rows == len(ROWS)
            assert b"".join([piece async for piece in incoming.pieces])


async def test_feeds_and_webhooks_of_one_are_unknown_to_the_other(planes: tuple[Plane, Plane]) -> None:
    first, second = (plane.wiring.connection for plane in planes)
    await planes[0].publish(ROWS, feed="crm.contacts", key="id")
    async with second.subscribe("bp2.new.>") as republished:
        await planes[0].publish([*ROWS, {"id": 9, "text": "new"}], feed="crm.contacts", key="id")
        await planes[1].publish(ROWS, feed="crm.others", key="id")
        assert (await republished.next(5)).subject == "bp2.new.crm.others"
    assert await NatsFeedLog(first).names() == ["crm.contacts"]
    assert await NatsFeedLog(second).names() == ["crm.others"]
    endpoint = Endpoint(id="a" * 22, feed="crm.contacts", url="https://example.com/", secrets=())
    entries = NatsEntryStore(first, first.names.feed_state_bucket)
    await entries.save("hook." + endpoint.id, orjson.dumps({"v": 1}), 0, 60)
    assert await NatsEntryStore(second, second.names.feed_state_bucket).load("hook." + endpoint.id) == (None, 0)
    assert await NatsWebhooks(second).all() == []


async def test_neither_frees_the_chunks_of_the_other(planes: tuple[Plane, Plane]) -> None:
    first, second = (plane.wiring.connection for plane in planes)
    upload = body_id(os.urandom(16))
    for connection in (first, second):
        await NatsPartialUploads(connection).prepare("local")
    await NatsPartialUploads(first).add("local", upload, b"x" * 1000, 1000, 0, int(first.clock.now()) + 600)
    assert (await NatsPartialUploads(second).reached("local", upload)).offset == 0
    assert await NatsOrphans(second).owners() == await NatsOrphans(first).owners() == ["local"]

    async def freed(connection: Connection) -> int:
        sweeper = OrphanCollector(NatsEntryStore(connection), NatsOrphans(connection), "test", after=-1)
        await sweeper.sweep()
        return sweeper.freed

    assert await freed(second) == 0
    assert await NatsOrphans(first).chunked("local") == {upload}
    assert await freed(first) == 1
    assert await NatsOrphans(first).chunked("local") == set()


async def test_each_elects_a_sweeper_of_its_own(planes: tuple[Plane, Plane]) -> None:
    for plane in planes:
        entries = NatsEntryStore(plane.wiring.connection)

        async def elected(entries: NatsEntryStore = entries) -> bytes | None:
            return (await entries.load("sweeper"))[0]

        assert await until(elected, "a sweeper to be elected")


@pytest.mark.parametrize("prefix", ["a_b", "A", "", "a.b", "x" * 17, "a-b"])
def test_a_prefix_that_could_be_confused_with_another_is_refused(prefix: str) -> None:
    if prefix:
        with pytest.raises(ConfigError, match="1 to 16 of a-z and 0-9"):
            load_settings(prefix=prefix)


def test_the_default_names_are_those_of_every_version() -> None:
    names, body = Names(), body_id(bytes(16))
    assert names.object_stream("weather") == "OBJ_bp_weather"
    assert names.chunk_subject("weather", body) == "$O.bp_weather.C.AAAAAAAAAAAAAAAAAAAAAA"
    assert names.copied_buckets == ("bp_grants", "bp_keys")
    assert [names.copy_stream(bucket) for bucket in names.copied_buckets] == ["BP_GRANTS_COPY", "BP_KEYS_COPY"]
    assert names.copy_subject("bp_grants", "x") == "bp.copy.bp_grants.x"
    assert names.notice_subjects == ["bp.feed.>", "bp.again.>"]
    assert names.durable_subjects("d") == ["$JS.API.CONSUMER.MSG.NEXT.BP_FEEDS.d", "$JS.ACK.BP_FEEDS.d.>"]
    assert names.reserved_buckets == ("bp_webhook_sessions",)
    assert (names.code_bucket, names.registry_bucket, names.agents_bucket) == ("bp_code", "bp_registry", "bp_agents")
    assert (names.sessions_stream, names.session_subjects) == ("BP_SESSIONS", "bp.session.*.*")
    assert (names.session_log_subject("s"), names.said_subject("s")) == ("bp.session.s.log", "bp.said.s")
    assert (names.requests_stream, names.said_stream) == ("BP_MCP", "BP_MCP_SAID")
    assert names.request_subject("weather", "n1", "e") == "bp.mcp.weather.in.ask.n.n1.e"
    assert names.exchange_subject("weather", "w1", "e") == "bp.mcp.weather.out.w.w1.e"
    assert names.said_subjects == ["bp.mcp.*.out.*.*.*", "bp.mcp.*.excuse.*.*.*"]
    assert names.owner_of("OBJ_bp2_weather") is None
    assert Names("bp2").owner_of("OBJ_bp2_weather") == "weather"
