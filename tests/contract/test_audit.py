"""The audit on a real nats-server: every kind of entry, in order, written within a second, and never a grant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker_plane import Plane
from broker_plane.broker.direct import batch
from broker_plane.config import Settings, load_settings
from broker_plane.errors import (
    BrokerPlaneError,
    GrantExpiredError,
    GrantRefusedError,
    GrantRevokedError,
    GrantUsedError,
)
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.audit import WHATS, AuditEntry, AuditEvent
from broker_plane.wire.names import BodyId
from broker_plane.wire.plane_names import Names
from tests.faults.http_reader import get

pytestmark = pytest.mark.anyio
ROWS = [{"name": f"n{number}", "value": number} for number in range(1000)]
LARGE = 12_000_000


@pytest.fixture
async def plane(settings: Settings, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as connected:
        yield connected


@pytest.fixture
async def alone(own_server: NatsServer, tmp_path: Path) -> AsyncIterator[Plane]:
    """On a broker where no other test has revoked anything: bridges count what is revoked there."""
    async with Plane.connect(load_settings(nats_url=own_server.url, data_dir=tmp_path)) as connected:
        yield connected


async def audited(plane: Plane, body_id: BodyId, *whats: AuditEvent) -> list[AuditEntry]:
    """The entries of a body, once there are as many as `whats`, which they must be."""
    found: list[AuditEntry] = []

    async def there() -> bool:
        found[:] = await plane.bodies.audit(body_id)
        return len(found) >= len(whats)

    await until(there, f"{len(whats)} entries, of {found}", 5)
    assert [entry.what for entry in found] == list(whats)
    return found


async def test_it_says_who_was_given_what_who_pulled_what_of_it_and_how_that_ended(plane: Plane) -> None:
    published = await plane.publish(ROWS, uses=2, delete_when_used=True)
    url = published.resource_url
    await plane.pull(url, columns=["value"], row_ids=[0, 7], via="http")
    with pytest.raises(ValueError, match="not these"):
        async with plane.pulls.open(url, via="nats") as incoming:
            assert [piece async for piece in incoming.pieces]
            raise ValueError("not these")
    await plane.pull(url, via="nats")
    entries = await audited(
        plane,
        published.body.id,
        *("minted", "claimed", "pulled", "confirmed", "claimed", "pulled", "failed", "released"),
        *("claimed", "pulled", "confirmed", "collected"),
    )
    assert {entry.grant_id for entry in entries[:-1]} == {published.transfer_id.replace("-", "")}
    assert (entries[0].uses, entries[0].expires) == (2, published.body.expires)
    over_http, refused, over_nats = (entry for entry in entries if entry.what == "pulled")
    assert (over_http.way, over_http.columns, over_http.rows) == ("http", ("value",), 2)
    assert over_http.bytes is not None and 0 < over_http.bytes < 200
    assert (over_nats.way, over_nats.columns, over_nats.rows) == ("nats", None, 1000)
    assert refused.bytes == over_nats.bytes == published.body.size
    assert len({entry.delivery for entry in entries if entry.what in ("claimed", "pulled")}) == 3
    assert over_nats.asker == refused.asker != over_http.asker


async def test_a_large_pull_over_nats_is_one_entry_of_all_its_bytes(plane: Plane) -> None:
    published = await plane.publish(bytes(LARGE), uses="unlimited")
    await plane.pull(published.resource_url, via="nats")
    pulled = (await audited(plane, published.body.id, "minted", "pulled"))[1]
    assert (pulled.bytes, pulled.times) == (LARGE, 3)


async def test_genuine_holders_who_were_denied_are_noted_and_forgeries_are_counted(alone: Plane) -> None:
    plane = alone
    published = await plane.publish(b"used", uses=1)
    await plane.pull(published.resource_url, via="http")
    for via in ("http", "nats"):
        with pytest.raises(GrantUsedError):
            await plane.pull(published.resource_url, via="http" if via == "http" else "nats")
    await plane.revoke(published.resource_url)
    with pytest.raises(GrantRevokedError):
        await plane.pull(published.resource_url, via="nats")
    forged = published.resource_url[:-1] + ("A" if published.grant[-1] != "A" else "B")
    with pytest.raises(GrantRefusedError):
        await plane.pull(forged, via="http")
    await plane.bodies.delete(published.body.id)
    entries = await audited(
        plane,
        published.body.id,
        *("minted", "claimed", "pulled", "confirmed", "denied", "denied", "revoked", "denied", "deleted"),
    )
    denied = [(entry.way, entry.code) for entry in entries if entry.what == "denied"]
    assert denied == [("http", "grant_used"), ("nats", "grant_used"), ("nats", "grant_revoked")]
    metrics = (await get(f"{plane.bridge_url}/metrics")).body.decode()
    assert 'broker_plane_forged_grants_total{way="http"} 1' in metrics
    assert "broker_plane_revoked_grants 1" in metrics


async def test_an_expired_grant_that_is_tried_again_and_again_is_one_entry(plane: Plane) -> None:
    published = await plane.publish(b"body", uses="unlimited", ttl=1)

    async def expired() -> bool:
        try:
            await plane.pull(published.resource_url, via="http")
        except GrantExpiredError:
            return True
        except BrokerPlaneError:  # the body may be gone a moment before
            return False
        return False

    await until(expired, "the grant to expire")
    for _ in range(20):
        assert await expired()

    async def noted() -> list[AuditEntry]:
        entries = await plane.bodies.audit(published.body.id)
        return [entry for entry in entries if entry.code == "grant_expired" and entry.times == 21]

    assert len(await until(noted, "the denials")) == 1


async def test_a_grant_that_was_revoked_by_its_id_stands_in_the_audit_of_its_body(plane: Plane) -> None:
    published = await plane.publish(b"body")
    await plane.revoke(published.transfer_id)
    await audited(plane, published.body.id, "minted", "revoked")


async def test_whom_a_grant_is_for_is_noted(plane: Plane) -> None:
    published = await plane.publish(b"body")
    await plane.grants.mint_many(published.body.id, ["alice", "bob"])
    entries = await audited(plane, published.body.id, "minted", "minted", "minted")
    assert [entry.asker for entry in entries] == ["", "alice", "bob"]


async def test_no_grant_is_in_the_stream(plane: Plane, wiring: Wiring) -> None:
    canaries = []
    for uses in (0, 1):
        published = await plane.publish(ROWS, uses=uses or "unlimited")
        canaries += [
            published.grant,
            *(url for _, url in await plane.grants.mint_many(published.body.id, 3, uses=uses or "unlimited")),
        ]
        await plane.pull(published.resource_url, via="http")
        await plane.pull((await plane.grants.mint_many(published.body.id, ["x"]))[0][1], via="nats")
        await plane.revoke(published.resource_url)
        with pytest.raises(GrantRevokedError):
            await plane.pull(published.resource_url, via="http")
        await plane.bodies.delete(published.body.id)

        async def deleted(body_id: BodyId = published.body.id) -> bool:
            return any(entry.what == "deleted" for entry in await plane.bodies.audit(body_id))

        await until(deleted, "the last entry")
    request = {"batch": 10_000, "seq": 1, "next_by_subj": "bp.audit.>"}
    messages = [message async for message in batch(wiring.connection, Names().audit_stream, request)]
    raw = b"".join([message.data + repr(message.headers).encode() for message in messages])
    assert raw
    for canary in canaries:
        grant = canary.rpartition("/")[2].encode()
        # Neither whole nor any part of what its holder must have: the seal, or what stands before it.
        assert not any(grant[start : start + 20] in raw for start in range(len(grant) - 20))


async def test_entries_wait_for_a_broker_that_is_away(own_server: NatsServer) -> None:
    settings = load_settings(nats_url=own_server.url)
    wiring = await wire(own_server.url, settings)
    body = "A" * 22
    own_server.kill()
    for what in WHATS:
        wiring.grants.audit.note_body(what, body)
    own_server.start()

    async def all_there() -> bool:
        try:
            return [entry.what async for entry in wiring.audit.read()] == list(WHATS)
        except BrokerPlaneError:
            return False

    await until(all_there, "the entries to be written once")
    assert wiring.audit.dropped == 0
    await wiring.close()


async def test_what_a_process_noted_is_written_when_it_ends(settings: Settings) -> None:
    async with Plane.connect(settings) as first:
        published = await first.publish(b"body")
    async with Plane.connect(settings) as second:
        assert [entry.what for entry in await second.bodies.audit(published.body.id)] == ["minted"]


async def test_without_room_for_it_there_is_no_audit(nats_server: NatsServer) -> None:
    async with Plane.connect(load_settings(nats_url=nats_server.url, audit_retention_bytes=0)) as plane:
        published = await plane.publish(b"body")
        assert await plane.pull(published.resource_url, via="http") == b"body"
        assert await plane.bodies.audit(published.body.id) == []
