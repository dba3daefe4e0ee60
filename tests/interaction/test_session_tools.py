"""Sessions as MCP tools, through the SDK's client: two models edit one artifact and decide a conflict."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from mcp import Client

from broker_plane import Plane, PlaneServer
from broker_plane.agent.transfers import transfers
from broker_plane.errors import TransferError
from broker_plane.mcp_server.plane_tools import plane_server
from broker_plane.wire.capabilities import parse_capabilities
from broker_plane.wire.descriptor import Descriptor, parse_descriptor
from broker_plane.wire.names import EXTENSION
from tests.interaction.conftest import error_of, shape_of, text_of
from tests.interaction.sessions import Room

pytestmark = pytest.mark.anyio
Use = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    made = Room(tmp_path_factory.mktemp("sessions"))
    asyncio.run(made.ready())
    yield made
    made.close()


def user_of(client: Client) -> Use:
    async def use(tool: str, **arguments: Any) -> dict[str, Any]:
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, text_of(result)
        return result.structured_content or {}

    return use


async def test_two_models_work_on_one_text(room: Room) -> None:
    async with Client(plane_server(room.settings).mcp) as client:
        use = user_of(client)
        made = await use("session_create", value="one two three", expected=["anna", "bert"])
        assert made["descriptor"]["collaborate"]["sync_protocol"] == "patch"
        session = made["editor"]
        read = await use("session_read", session=session, name="anna")
        assert (read["value"], read["kind"]) == ("one two three", "text")
        base, words = read["revision"], {"session": session, "intent": "fix"}
        await use("session_propose", **words, base=base, region={"start": 0, "end": 3}, edit={"text": "1"}, name="anna")
        # A model that writes objects as texts, and whose base is old.
        region, edit = '{"start": 8, "end": 13}', '{"text": "3"}'
        merged = await use("session_propose", **words, base=base, region=region, edit=edit, name="bert")
        assert merged["stale"] and merged["merged"] and "+1 two" in merged["diff"]
        clash = {"base": base, "region": {"start": 0, "end": 3}, "edit": {"text": "uno"}, "name": "bert"}
        conflict = (await use("session_propose", **words, **clash))["conflict"]
        shown = await use("session_read", session=session)
        assert [each["id"] for each in shown["conflicts"]] == [conflict["id"]]
        await use("session_decide", session=session, conflict=conflict["id"], choice="theirs", name="anna")
        assert (await use("session_read", session=session))["value"] == "uno two 3"
        note = await use("session_note", session=made["reviewer"], type="verdict", verdict="approve", text="Good")
        assert (await use("session_read", session=made["observer"]))["notes"][0]["note"] == note["note"]
        assert (await use("session_confirm", session=session, name="anna"))["missing"] == ["bert"]
        assert (await use("session_confirm", session=session, name="bert"))["missing"] == []
        assert (await use("session_read", session=session))["status"] == "closed"


async def test_a_stale_base_comes_with_the_diff_so_that_the_model_can_correct_itself(room: Room) -> None:
    async with Client(plane_server(room.settings).mcp) as client:
        use = user_of(client)
        session = (await use("session_create", value="a\nb\n", sync="ot"))["editor"]
        base = (await use("session_read", session=session))["revision"]
        edit = {"session": session, "base": base, "region": {"start": 0, "end": 1}}
        await use("session_propose", **edit, edit={"text": "A"}, name="anna")
        said = error_of(await client.call_tool("session_propose", {**edit, "edit": {"text": "x"}, "name": "bert"}))
        assert "-a\n+A" in said and "revision" in said
        assert session.rpartition("/")[2] not in said


async def test_errors_reach_the_model_in_one_sentence(room: Room) -> None:
    async with Client(plane_server(room.settings).mcp) as client:
        use = user_of(client)
        made = await use("session_create", value={"a": 1})
        for tool, arguments, said in (
            ("session_read", {"session": "nonsense"}, "no grant"),
            ("session_propose", {"session": made["observer"], "base": 1, "edit": {"value": 1}}, "observer"),
            ("session_note", {"session": made["editor"], "type": "answer", "text": "x"}, "thread"),
            ("session_decide", {"session": made["editor"], "conflict": "c", "choice": "ours"}, "c"),
            ("session_read", {"session": made["editor"], "revision": 99}, "99"),
        ):
            assert said in error_of(await client.call_tool(tool, arguments)), tool


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("line\n" * 5_000, "text"),
        ({"rows": [{"n": n} for n in range(3_000)]}, "json"),
        ([{"n": n} for n in range(3_000)], "table"),
    ],
    ids=["text", "json", "table"],
)
async def test_a_large_value_becomes_a_body_that_the_reading_tools_read(room: Room, value: Any, kind: str) -> None:
    async with Client(plane_server(room.settings).mcp) as client, Plane.connect(room.settings) as plane:
        use = user_of(client)
        raw = value if kind == "text" else json.dumps(value)
        media_type = "text/plain" if kind == "text" else "application/json"
        if kind == "table":
            published = await plane.publish(value)
        else:
            published = await plane.publish(raw.encode(), media_type=media_type)
        made = await use("session_create", resource_url=published.resource_url, kind=kind)
        read = await use("session_read", session=made["editor"], max_tokens=200)
        assert read["kind"] == kind and "value" not in read
        assert len(json.dumps(read)) < 4_000
        again = await client.call_tool("read_body", {"resource_url": read["resource_url"], "head": 2})
        assert not again.is_error, text_of(again)


async def test_a_resource_tool_may_return_a_session(room: Room) -> None:
    server = PlaneServer("planner", settings=room.settings)

    @server.resource_tool()
    async def plan(topic: str) -> Any:
        """Start a plan."""
        return await (await server.plane()).sessions.create(f"# {topic}", sync="crdt")

    async with Client(server.mcp) as client, Plane.connect(room.settings) as plane:
        result = await client.call_tool("plan", {"topic": "Trip"})
        shape = shape_of(result)
        assert (shape["kind"], shape["sync"]) == ("text", "crdt")
        descriptor = (result.meta or {})[EXTENSION]
        assert (descriptor["mode"], descriptor["protocol"]) == ("collaborate", "ws")
        async with plane.sessions.join(descriptor, name="anna") as session:
            assert (await session.read()).value == "# Trip"
        assert (await plane.sessions.show(shape["session"])).value == "# Trip"
        with pytest.raises(TransferError, match=r"plane\.sessions\.join"):
            await plane.transfers.fetch(parse_descriptor(descriptor))


@pytest.mark.parametrize("protocols", [["ws"], ["wss", "nats"]], ids=",".join)
async def test_a_client_that_claims_descriptors_is_offered_what_it_supports(room: Room, protocols: list[str]) -> None:
    server = PlaneServer("planner", settings=room.settings)
    offered: list[Descriptor] = []

    @server.resource_tool
    async def plan() -> Any:
        """Start a plan."""
        return await (await server.plane()).sessions.create("# Trip")

    async def resolve(descriptor: Descriptor) -> None:
        offered.append(descriptor)

    declared = parse_capabilities({"supportedProtocols": protocols})
    async with Client(server.mcp, extensions=[transfers(declared, resolve)]) as client:
        result = await client.call_tool("plan", {})
        assert shape_of(result)["session"]
    chosen = [(each.mode, each.protocol) for each in offered]
    assert chosen == ([("collaborate", "ws")] if protocols == ["ws"] else []), "this NATS has no accounts"
