"""Unmodified clients of Yjs in a session: they converge with each other, with pycrdt, and with the log."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from broker_plane.testing.processes import until
from broker_plane.wire.yjs_varints import Reader
from tests.bridge.sessions import JsonClient, Session, Sessions, sessions
from tests.interop.pycrdt_client import PycrdtClient, pycrdt_client
from tests.interop.yjs_clients import Network, YjsClient, yjs_client, yjs_installed

pytestmark = pytest.mark.anyio
__all__ = ["sessions"]
PATIENCE = 60


@pytest.fixture(scope="session")
def yjs_modules() -> Path:
    return yjs_installed()


async def shown(session: Session) -> Any:
    """What the log says, by a participant who only reads."""
    async with session.socket(await session.grant("observer", participant="auditor")) as socket:
        return (await JsonClient(socket).event("hello"))["value"]


def clocks(vector: bytes) -> dict[int, int]:
    """A state vector as a mapping: yrs and Yjs write the clients in different orders."""
    reader = Reader(vector)
    return {reader.uint(): reader.uint() for _ in range(reader.uint())}


async def converged(session: Session, node: list[YjsClient], python: list[PycrdtClient]) -> bool:
    """Whether all clients have one state vector and one text, which is the session's."""
    states = [await client.state() for client in node]
    raw = [*(bytes.fromhex(state["vector"]) for state in states), *(client.doc.get_state() for client in python)]
    vectors = [clocks(each) for each in raw]
    texts = {state["value"] for state in states} | {str(client.text) for client in python}
    return all(each == vectors[0] for each in vectors) and len(texts) == 1 and texts == {await shown(session)}


@pytest.mark.parametrize("edits", [200, pytest.param(2_000, marks=pytest.mark.full)])
async def test_node_and_python_converge_through_partitions(sessions: Sessions, yjs_modules: Path, edits: int) -> None:
    session = await sessions.create("Draft 🌴\n")
    grant, dice = await session.grant(), random.Random(edits)
    async with AsyncExitStack() as stack:
        networks = [await stack.enter_async_context(Network(session.url)) for _ in range(4)]
        node = [
            await stack.enter_async_context(
                yjs_client(yjs_modules, network.url, grant, params={"name": f"node-{seed}"}, seed=seed, backoff=200)
            )
            for seed, network in enumerate(networks[:2])
        ]
        python = [
            await stack.enter_async_context(
                pycrdt_client(f"{network.url}/v1/sessions/{grant}?name=python-{seed}", seed)
            )
            for seed, network in enumerate(networks[2:])
        ]
        await until(lambda: converged(session, node, python), "the first synchronization", PATIENCE)
        rounds = edits // 20
        for turn in range(rounds):
            for network in networks:
                if dice.random() < 0.3:
                    network.cut() if dice.random() < 0.6 else network.heal()
            for client in node:
                await client.ask("edit", count=5)
            for each in python:
                each.edit(5)
                await asyncio.sleep(0)
            if turn == rounds // 2:
                for network in networks:
                    network.heal()
                await until(lambda: converged(session, node, python), "equal replicas midway", PATIENCE)
        for network in networks:
            network.heal()
        await until(lambda: converged(session, node, python), "equal texts and state vectors", PATIENCE)
        text = (await node[0].state())["value"]
        assert any(character > "\uffff" for character in text)
        refused = [close for client in node for close in (await client.state())["closes"] if close["code"] >= 4400]
        assert sum(network.cuts for network in networks)
        assert not refused and not [each for client in python for each in client.closes if each[0] >= 4400]


@pytest.mark.parametrize("role", ["reviewer", "observer"])
async def test_updates_of_a_reader_are_dropped_and_nobody_sees_them(
    sessions: Sessions, yjs_modules: Path, role: str
) -> None:
    session = await sessions.create("Fixed 🌴")
    async with (
        yjs_client(yjs_modules, session.url, await session.grant(role), params={"name": "reader"}) as reader,
        yjs_client(yjs_modules, session.url, await session.grant(), params={"name": "writer"}) as writer,
    ):
        await until(reader.synced, "the reader")
        await until(writer.synced, "the writer")
        await reader.ask("insert", at=0, text="Mallory was here. ")

        async def denied() -> bool:
            return any("may not edit" in each for each in (await reader.state())["denials"])

        await until(denied, "the bridge's word that a reader may not edit")
        await reader.ask("disconnect")
        await reader.ask("insert", at=0, text="Twice. ")
        await reader.ask("connect")
        await until(reader.synced, "the reader again")
        await writer.ask("insert", at=0, text="Really ")

        async def told() -> bool:
            return "Really " in (await reader.state())["value"]

        await until(told, "the writer's edit at the reader")
        assert (await writer.state())["value"] == "Really Fixed 🌴" == await shown(session)


async def test_a_json_document_is_a_map(sessions: Sessions, yjs_modules: Path) -> None:
    session = await sessions.create({"name": "Ada", "age": 36}, kind="json")
    grant = await session.grant()
    async with (
        yjs_client(yjs_modules, session.url, grant, kind="json", params={"name": "one"}) as one,
        yjs_client(yjs_modules, session.url, grant, kind="json", params={"name": "two"}) as two,
    ):
        await until(one.synced, "one")
        assert (await one.state())["value"] == {"name": "Ada", "age": 36}
        await one.ask("set", key="city", value="London 🌉")
        await two.ask("set", key="born", value=1815)
        whole = {"name": "Ada", "age": 36, "city": "London 🌉", "born": 1815}

        async def equal() -> bool:
            return bool((await one.state())["value"] == (await two.state())["value"] == whole == await shown(session))

        await until(equal, "equal documents")


async def test_a_table_is_an_array_of_maps(sessions: Sessions, yjs_modules: Path) -> None:
    rows = [{"city": "Oslo", "people": 700_000}, {"city": "Rome", "people": 2_800_000}]
    session = await sessions.create(rows, kind="table")
    grant = await session.grant()
    async with (
        yjs_client(yjs_modules, session.url, grant, kind="table", params={"name": "one"}) as one,
        yjs_client(yjs_modules, session.url, grant, kind="table", params={"name": "two"}) as two,
    ):
        await until(one.synced, "one")
        await until(two.synced, "two")
        await one.ask("cell", row=0, name="people", value=717_000)
        await two.ask("push", row={"city": "Bonn 🎼", "people": 330_000})
        whole = [{**rows[0], "people": 717_000}, rows[1], {"city": "Bonn 🎼", "people": 330_000}]

        async def equal() -> bool:
            return bool((await one.state())["value"] == (await two.state())["value"] == whole == await shown(session))

        await until(equal, "equal tables")


async def test_awareness_is_told_and_bound_to_its_connection(sessions: Sessions, yjs_modules: Path) -> None:
    session = await sessions.create("x")
    grant = await session.grant()
    observer = await session.grant("observer")
    async with (
        yjs_client(yjs_modules, session.url, grant, params={"name": "anna"}) as anna,
        yjs_client(yjs_modules, session.url, grant, params={"name": "ben"}) as ben,
        yjs_client(yjs_modules, session.url, observer, params={"name": "otto"}) as otto,
        session.socket(grant, "?name=json") as socket,
    ):
        watcher = JsonClient(socket)
        for client in (anna, ben, otto):
            await until(client.synced, "a client")

        async def states(client: YjsClient) -> dict[int, Any]:
            return dict((await client.ask("states"))["states"])

        async def seen(client: YjsClient, other: YjsClient, state: Any) -> bool:
            return bool((await states(client)).get(other.client) == state)

        clock = (await anna.ask("aware", state={"user": {"name": "Anna 🌴"}}))["clock"]
        await until(lambda: seen(ben, anna, {"user": {"name": "Anna 🌴"}}), "Anna's state at Ben")
        await until(lambda: seen(otto, anna, {"user": {"name": "Anna 🌴"}}), "Anna's state at the observer")
        presence: Any = None
        while not presence or presence[0]["name"] != "anna" or not presence[0]["state"]["awareness"].get("user"):
            presence = [each for each in await watcher.event("presence") if each.get("state")]
        await ben.ask("pretend", client=anna.client, clock=clock + 5, state={"user": {"name": "Mallory"}})
        await otto.ask("aware", state={"user": {"name": "Otto"}})
        await ben.ask("aware", state={"user": {"name": "Ben"}})
        await until(lambda: seen(anna, ben, {"user": {"name": "Ben"}}), "Ben's state at Anna")
        assert await seen(ben, anna, {"user": {"name": "Anna 🌴"}})
        assert otto.client not in await states(anna)
        await anna.ask("disconnect")
        await until(lambda: seen(ben, anna, None), "the end of Anna's state at Ben")


async def test_a_client_gives_up_when_its_change_can_never_be_accepted(sessions: Sessions, yjs_modules: Path) -> None:
    session = await sessions.create("Short", limits={"change_bytes": 1_000})
    async with yjs_client(yjs_modules, session.url, await session.grant(), params={"name": "anna"}) as anna:
        await until(anna.synced, "the client")
        await anna.ask("insert", at=0, text="x" * 2_000)

        async def gave_up() -> bool:
            return not (await anna.state())["wanted"]

        await until(gave_up, "the end of its attempts to connect")
        closes = (await anna.state())["closes"]
        assert [(close["code"], close["reason"]) for close in closes] == [(4413, "too_large")]
        assert await shown(session) == "Short"


async def test_a_client_gives_up_when_its_grant_is_revoked(sessions: Sessions, yjs_modules: Path) -> None:
    session = await sessions.create("x")
    grant = await session.grant()
    async with yjs_client(yjs_modules, session.url, grant) as anna:
        await until(anna.synced, "the client")
        await sessions.plane.revoke(grant)

        async def closes() -> list[tuple[int, str]]:
            return [(close["code"], close["reason"]) for close in (await anna.state())["closes"]]

        await until(closes, "the end of the connection")
        assert await closes() == [(4410, "grant_revoked")] and not (await anna.state())["wanted"]


async def test_a_client_that_is_too_fast_connects_again_and_loses_nothing(
    sessions: Sessions, yjs_modules: Path
) -> None:
    session = await sessions.create("", limits={"operations_per_second": 4})
    async with yjs_client(yjs_modules, session.url, await session.grant(), backoff=200) as anna:
        await until(anna.synced, "the client")

        async def slowed_down() -> bool:
            await anna.ask("insert", at=0, text="🌴")
            return "rate_limited" in {close["reason"] for close in (await anna.state())["closes"]}

        await until(slowed_down, "the first refusal")

        async def whole() -> bool:
            return bool(await shown(session) == (await anna.state())["value"])

        await until(whole, "all that it wrote", PATIENCE)
        assert (await anna.state())["wanted"]
