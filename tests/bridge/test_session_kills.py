"""kill -9 of a bridge and of nats-server while clients of Yjs edit: a smoke size (tests/faults has the large one)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.runtime.wiring import wire
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from tests.bridge.sessions import Session, Sessions
from tests.forked import ForkedActor
from tests.interop.pycrdt_client import PycrdtClient, pycrdt_client
from tests.interop.yjs_clients import Network

pytestmark = pytest.mark.anyio
PATIENCE = 60


@pytest.fixture
def anyio_backend() -> str:
    """The bridge is a process of its own."""
    return "asyncio"


@pytest.mark.parametrize("victim", ["bridge", "nats-server"])
async def test_editors_converge_after_a_kill_and_lose_nothing(
    own_server: NatsServer, tmp_path: Path, client: httpx2.AsyncClient, victim: str
) -> None:
    settings = load_settings(nats_url=own_server.url, data_dir=tmp_path, bridge_url="http://bridge")
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(Plane.connect(settings))
        wiring = await wire(settings.nats_url, settings)
        stack.push_async_callback(wiring.close)
        sessions = await stack.enter_async_context(Sessions.of(plane, wiring))
        actor = ForkedActor("broker_plane.cli.bridge", BROKER_PLANE_NATS_URL=own_server.url)
        stack.callback(lambda: actor.close())
        created = await sessions.create("Draft\n")
        network = await stack.enter_async_context(Network((await actor.said())["bridge"]))
        session = Session(created.id, wiring, network.url)
        grant = await session.grant()
        editors = [
            await stack.enter_async_context(
                pycrdt_client(f"{network.url}/v1/sessions/{grant}?name=editor-{seed}", seed)
            )
            for seed in range(3)
        ]
        await until(lambda: all(str(each.text).startswith("Draft") for each in editors), "the draft", PATIENCE)
        noted: list[str] = []
        for turn in range(20):
            for each in editors:
                each.edit(2)
                await asyncio.sleep(0)
            if turn == 7 and victim == "bridge":
                actor.kill()
                actor.close()
                actor = ForkedActor("broker_plane.cli.bridge", BROKER_PLANE_NATS_URL=own_server.url)
                network.aim((await actor.said())["bridge"])
            elif turn == 7:
                own_server.kill()
                own_server.start()
            noted += await note(client, session, grant, str(turn))
        await until(lambda: converged(client, session, grant, editors), "equal replicas", PATIENCE)
        entries = (await session.ask(client, grant, do="log", limit=500)).json()["entries"]
        assert [each["revision"] for each in entries] == list(range(1, len(entries) + 1))
        assert set(noted) <= {each["content"]["text"] for each in entries if each["kind"] == "noted"}
        assert len(noted) >= 10


async def note(client: httpx2.AsyncClient, session: Session, grant: str, text: str) -> list[str]:
    """The note, if it was acknowledged."""
    try:
        answer = await session.ask(client, grant, do="note", type="comment", text=text)
    except httpx2.HTTPError:
        return []
    return [text] if answer.status_code == 200 else []


async def converged(client: httpx2.AsyncClient, session: Session, grant: str, editors: list[PycrdtClient]) -> bool:
    try:
        shown = await session.ask(client, grant, do="show")
    except httpx2.HTTPError:
        return False
    texts = {str(each.text) for each in editors}
    return shown.status_code == 200 and texts == {shown.json()["value"]}
