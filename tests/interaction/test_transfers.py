"""The transfer extension over the SDK's client: who declares what gets which result, confirms it, or has it inline."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from hashlib import sha256
from http.client import HTTPConnection
from typing import Any
from urllib.request import urlopen

import anyio.to_thread
import pytest
from mcp import Client, MCPError
from mcp.types import CallToolResult
from msgspec.structs import replace

from broker_plane import PlaneServer
from broker_plane.agent.transfers import (
    TransferParams,
    TransferRequest,
    advertised,
    alternatives_of,
    confirm,
    descriptor_of,
    inline_parts,
    raw_of,
    rows_of,
    transfers,
    unable,
)
from broker_plane.config import Settings
from broker_plane.errors import TransferInterruptedError
from broker_plane.mcp_server.files import FileResult, UploadOrder
from broker_plane.testing.processes import until
from broker_plane.wire.body import ROWS_TYPE
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.descriptor import TOMCP, Descriptor, parse_descriptor

pytestmark = pytest.mark.anyio
ROWS = [{"n": number, "text": f"row {number}"} for number in range(20)]
LONG = [{"n": number, "text": f"row {number} " + "ä" * (number % 50)} for number in range(400)]
RAW = bytes(range(256)) * 40
HTTP = Capabilities(protocols=("http", "https"))
NOTHING_OF_OURS = Capabilities(protocols=("grpc",))


@pytest.fixture
def server(settings: Settings) -> PlaneServer:
    server = PlaneServer("test", settings=settings)

    @server.resource_tool()
    def table() -> list[dict[str, Any]]:
        return ROWS

    @server.resource_tool()
    def picture() -> bytes:
        return RAW

    return server


@asynccontextmanager
async def client(server: PlaneServer, *extensions: Any, mode: Any = "auto") -> AsyncIterator[Client]:
    async with Client(server.mcp, extensions=list(extensions), mode=mode) as opened:
        yield opened


async def get(url: str) -> bytes:
    """As a Level 1 client gets it: a GET without a header of ours."""
    async with kept(url) as read:
        status, raw = await read()
    assert status == 200, raw
    return raw


@asynccontextmanager
async def kept(url: str) -> AsyncIterator[Callable[[], Awaitable[tuple[int, bytes]]]]:
    """GETs of `url`, each on a connection that is still open when it was read."""
    host, path = url.removeprefix("http://").split("/", 1)
    connections: list[HTTPConnection] = []

    def read() -> tuple[int, bytes]:
        connections.append(HTTPConnection(host, timeout=10))
        connections[-1].request("GET", f"/{path}")
        answer = connections[-1].getresponse()
        return answer.status, answer.read()

    yield lambda: anyio.to_thread.run_sync(read)
    for connection in connections:
        connection.close()


async def offered(asking: Client, tool: str = "picture", **arguments: Any) -> Descriptor:
    found = descriptor_of(await asking.call_tool(tool, arguments))
    assert found is not None
    return found


async def refused(work: Any) -> MCPError:
    with pytest.raises(MCPError) as caught:
        await work
    return caught.value


async def test_a_client_without_the_extension_gets_what_it_always_got(server: PlaneServer) -> None:
    async with client(server) as asking:
        assert json.loads(text_of(await asking.call_tool("table", {}))) == ROWS
        linked = await asking.call_tool("table", {"abstract_domains": "n"})
        assert [block.type for block in linked.content] == ["text", "resource_link"]
        assert linked.structured_content["resource_url"]


async def test_each_side_sees_what_the_other_declares(server: PlaneServer) -> None:
    for mode in ("auto", "legacy"):
        async with client(server, advertised(HTTP), mode=mode) as asking:
            said = asking.server_capabilities
            assert said is not None and said.extensions is not None
            settings = said.extensions["io.broker-plane/transfer"]
            assert settings["enabled"] and settings["threshold"] == server.settings.max_inline_result_bytes


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_descriptor_leads_to_the_bytes_that_it_says(server: PlaneServer, mode: str) -> None:
    async with client(server, advertised(HTTP), mode=mode) as asking:
        descriptor = await offered(asking)
        raw = await get(descriptor.endpoint)
        assert (raw, sha256(raw).hexdigest(), len(raw)) == (RAW, descriptor.digest, descriptor.size_hint)


@pytest.mark.parametrize("formats", [("json",), ("csv",), ("ndjson",), ("application/msgpack",), (ROWS_TYPE,)])
async def test_the_url_gives_the_format_that_the_descriptor_names(server: PlaneServer, formats: Any) -> None:
    capabilities = Capabilities(protocols=("http",), formats=formats)
    async with client(server, advertised(capabilities)) as asking:
        descriptor = await offered(asking, "table", abstract_domains="n")
        url = descriptor.endpoint
        answer = await anyio.to_thread.run_sync(lambda: urlopen(url, timeout=10))  # noqa: S310
        with answer:
            assert answer.headers["content-type"].partition(";")[0] == descriptor.format
            raw = answer.read()
        assert descriptor.checksum is None or sha256(raw).hexdigest() == descriptor.digest


async def test_only_a_client_that_claims_it_gets_the_typed_result(server: PlaneServer) -> None:
    seen: list[Descriptor] = []

    async def resolve(descriptor: Descriptor) -> CallToolResult | None:
        seen.append(descriptor)
        return None

    async with client(server, transfers(HTTP, resolve)) as asking:
        result = await asking.call_tool("picture", {})
        assert descriptor_of(result) == seen[0]
        assert result.structured_content["size"] == len(RAW)
    for no in (NOTHING_OF_OURS, HTTP.model_copy(update={"threshold": len(RAW) + 1})):
        async with client(server, transfers(no, resolve)) as asking:
            await asking.call_tool("picture", {})
    async with client(server, advertised(HTTP)) as asking:
        plain = await asking.session.call_tool("picture", {}, allow_claimed=True)
        assert isinstance(plain, CallToolResult)
        assert plain.result_type == "complete"
    async with client(server, transfers(HTTP, resolve), mode="legacy") as asking:
        assert [block.type for block in (await asking.call_tool("picture", {})).content] == ["text", "resource_link"]
    assert len(seen) == 1


async def test_the_other_spelling_is_written_for_who_reads_it(server: PlaneServer) -> None:
    capabilities = Capabilities.model_validate({"supportedProtocols": ["http"], "schema": TOMCP})
    async with client(server, advertised(capabilities)) as asking:
        assert (await offered(asking)).schema_ == TOMCP


async def test_what_no_protocol_of_the_client_carries_comes_inline(server: PlaneServer) -> None:
    async with client(server, advertised(NOTHING_OF_OURS)) as asking:
        descriptor = await offered(asking, "table", abstract_domains="n")
        inline = await unable(asking, descriptor)
        assert json.loads(text_of(inline)) == ROWS
        assert inline.structured_content == {"rows": ROWS}
        # That was a delivery of the grant, which has one.
        assert "used" in str(await refused(unable(asking, descriptor)))


async def test_an_opaque_body_comes_inline_as_a_blob(server: PlaneServer) -> None:
    async with client(server, advertised(NOTHING_OF_OURS), mode="legacy") as asking:
        block = (await unable(asking, await offered(asking), "unreachable", "no route")).content[0]
        assert block.type == "resource"
        assert json.loads(block.resource.model_dump_json())["blob"]


@pytest.fixture
def tight(settings: Settings) -> PlaneServer:
    """A server whose parts have 1,024 bytes."""
    server = PlaneServer("test", settings=replace(settings, max_inline_result_bytes=1024))

    @server.resource_tool()
    def long() -> list[dict[str, Any]]:
        return LONG

    @server.resource_tool()
    def large() -> bytes:
        return RAW

    @server.resource_tool()
    def wordy() -> list[dict[str, str]]:
        return [{"text": "y" * 2000}]  # a few bytes in the store

    return server


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_is_large_comes_inline_part_by_part(tight: PlaneServer, mode: str) -> None:
    async with client(tight, advertised(NOTHING_OF_OURS), mode=mode) as asking:
        descriptor = await offered(asking, "long", abstract_domains="n")
        assert descriptor.fallback == "inline"
        seen: list[dict[str, Any]] = []
        async for part in inline_parts(asking, descriptor):
            assert len(text_of(part)) <= 1024
            # Whoever reads a part as if it was all is told that it is not.
            assert len(part.content) == (2 if part.next_cursor else 1)
            seen += rows_of(part)
        assert seen == LONG
        # All of that was one delivery of the grant, which has one.
        assert "used" in str(await refused(unable(asking, descriptor)))


async def test_a_part_fits_into_an_event_whatever_it_holds(server: PlaneServer) -> None:
    quotes = [{"text": '"' * 100} for _ in range(4000)]

    @server.resource_tool()
    def quoting() -> list[dict[str, str]]:
        return quotes

    async with client(server, advertised(NOTHING_OF_OURS)) as asking:
        parts = [part async for part in inline_parts(asking, await offered(asking, "quoting", abstract_domains="text"))]
        assert len(parts) > 2
        assert max(len(part.model_dump_json()) for part in parts) < 1 << 20
        assert [row for part in parts for row in rows_of(part)] == quotes


async def test_the_parts_are_gathered_for_who_wants_the_whole(tight: PlaneServer) -> None:
    async with client(tight, advertised(NOTHING_OF_OURS)) as asking:
        rows = await unable(asking, await offered(asking, "long", abstract_domains="n"))
        assert json.loads(text_of(rows)) == LONG
        assert raw_of(await unable(asking, await offered(asking, "large"))) == RAW


async def test_a_cut_goes_on_where_it_was(tight: PlaneServer) -> None:
    async with client(tight, advertised(NOTHING_OF_OURS)) as asking:
        descriptor = await offered(asking, "long", abstract_domains="n")
        async with aclosing(inline_parts(asking, descriptor)) as parts:
            taken = [await anext(parts) for _ in range(3)]
    async with client(tight, advertised(NOTHING_OF_OURS)) as asking:
        cursor = taken[-1].next_cursor
        assert cursor
        rest = [part async for part in inline_parts(asking, descriptor, cursor=cursor)]
    assert [row for part in [*taken, *rest] for row in rows_of(part)] == LONG


async def test_parts_that_are_not_all_are_an_error(tight: PlaneServer) -> None:
    async with client(tight, advertised(NOTHING_OF_OURS)) as asking:
        more = (await offered(asking, "long", abstract_domains="n")).model_copy(update={"rows": len(LONG) + 1})
        with pytest.raises(TransferInterruptedError, match="rows arrived inline"):
            await unable(asking, more)
        other = (await offered(asking, "large")).model_copy(update={"checksum": "sha256:" + "0" * 64})
        with pytest.raises(TransferInterruptedError, match="does not have the checksum"):
            await unable(asking, other)


async def test_what_does_not_go_inline_says_so_and_is_not_used_up(settings: Settings, tight: PlaneServer) -> None:
    async with client(tight, advertised(NOTHING_OF_OURS)) as asking:
        wordy = await offered(asking, "wordy", abstract_domains="text")
        assert "above 896" in str(await refused(unable(asking, wordy)))
        assert json.loads(await get(wordy.endpoint))[0]["text"] == "y" * 2000
        wrong = await refused(anext(inline_parts(asking, await offered(asking, "large"), cursor="elsewhere")))
        assert "cursor" in str(wrong)
    limited = PlaneServer("test", settings=replace(settings, max_inline_body_bytes=5000))
    limited.resource_tool()(lambda_of(RAW))
    async with client(limited, advertised(NOTHING_OF_OURS)) as asking:
        descriptor = await offered(asking, "large")
        assert descriptor.fallback == "error"
        assert "5000 bytes" in str(await refused(unable(asking, descriptor)))
        assert await get(descriptor.endpoint) == RAW


def lambda_of(data: bytes) -> Callable[[], bytes]:
    def large() -> bytes:
        return data

    return large


async def test_what_was_not_offered_here_is_neither_confirmed_nor_given(server: PlaneServer) -> None:
    async with client(server, advertised(HTTP)) as asking:
        real = await offered(asking)
        seal = (real.model_extra or {})["seal"]
        wrongs: list[dict[str, Any]] = [
            {"transfer_id": "00000000-0000-4000-8000-000000000000"},
            {"transfer_id": "00000000-0000-4000-8000-000000000000", "seal": ""},
            {"seal": "A" + seal[1:] if seal[0] != "A" else "B" + seal[1:]},
            {"seal": "ä"},
            {"endpoint": (await offered(asking)).endpoint},
            {"endpoint": "https://elsewhere.example/"},
        ]
        for wrong in wrongs:
            unknown = real.model_copy(update=wrong)
            for refusal in (await refused(confirm(asking, unknown)), await refused(unable(asking, unknown))):
                assert "offered" in str(refusal) or "grant" in str(refusal)
        assert await get(real.endpoint) == RAW


async def test_who_names_the_id_alone_is_known_where_the_offer_was_made(server: PlaneServer) -> None:
    async with client(server, advertised(NOTHING_OF_OURS)) as asking:
        bare = (await offered(asking)).model_copy(update={"seal": ""})
        assert raw_of(await unable(asking, bare)) == RAW


async def test_a_confirmation_ends_the_delivery_that_it_means(server: PlaneServer) -> None:
    async with client(server, advertised(HTTP)) as asking:
        descriptor = await offered(asking)
        async with kept(descriptor.endpoint) as get_again:
            assert await get_again() == (200, RAW)
            assert (
                await confirm(asking, descriptor, bytes_received=len(RAW), checksum=descriptor.checksum) == "confirmed"
            )
            assert (await get_again())[0] == 410
            assert await confirm(asking, descriptor) in ("confirmed", "settled")


@pytest.mark.parametrize(
    "report",
    [
        {"status": "failure", "error": "the disk is full"},
        {"bytes_received": len(RAW) - 1},
        {"checksum": "sha256:" + "0" * 64},
    ],
    ids=["failed", "short", "checksum"],
)
async def test_a_transfer_that_failed_keeps_body_and_use(server: PlaneServer, report: dict[str, Any]) -> None:
    async with client(server, advertised(HTTP)) as asking:
        descriptor = await offered(asking)
        async with kept(descriptor.endpoint) as get_again:
            assert await get_again() == (200, RAW)
            assert await confirm(asking, descriptor, **report) == "released"
            assert await get_again() == (200, RAW)
            assert await confirm(asking, descriptor) == "confirmed"
            assert (await get_again())[0] == 410
        plane = await server.plane()
        why = {"status": "failure", "bytes_received": "short", "checksum": "checksum"}[next(iter(report))]
        newest = (await plane.bodies.list())[-1].id

        async def noted() -> bool:
            return ("failed", why) in [(entry.what, entry.code) for entry in await plane.bodies.audit(newest)]

        await until(noted, f"an entry of a transfer that failed: {why}", 5)


async def test_a_large_resource_is_a_descriptor_for_who_takes_it(settings: Settings) -> None:
    server = PlaneServer("test", settings=replace(settings, max_inline_result_bytes=1024))
    plane_body = b"z" * 5000
    async with server.session():
        published = await (await server.plane()).publish(plane_body, uses=2)
        uri = f"plane://body/{published.grant}"
        async with client(server, advertised(HTTP)) as asking:
            (found,) = (await asking.read_resource(uri)).contents
            descriptor = parse_descriptor(json.loads(found.model_dump()["text"]))
            assert await get(descriptor.endpoint) == plane_body
            assert await confirm(asking, descriptor) in ("confirmed", "settled")
        async with client(server) as asking:
            assert "resource_url" in str(await refused(asking.read_resource(uri)))


async def test_files_are_the_same_bodies(server: PlaneServer) -> None:
    async with client(server) as asking:
        link = (await asking.call_tool("picture", {})).content[1]
        assert link.type == "resource_link"
        found = await vendor(asking, "files/authorizeDownload", uri=link.uri)
        assert found["file"]["digest"]["algorithm"] == "sha-256"
        assert (found["file"]["size"], found["download"]["transport"]) == (len(RAW), "https")
        again = await vendor(asking, "files/authorizeDownload", uri=found["file"]["uri"])
        assert again["download"]["url"] == found["download"]["url"]
        assert await get(found["download"]["url"]) == RAW
        assert "grant" in str(await refused(vendor(asking, "files/authorizeDownload", uri="file:///etc/passwd")))


async def test_a_bridge_in_plain_text_on_a_far_host_is_offered_to_nobody(settings: Settings) -> None:
    far = replace(settings, bridge_url="http://bridge.example")
    server = PlaneServer("test", settings=far)

    @server.resource_tool()
    def picture() -> bytes:
        return RAW

    async with client(server, advertised(HTTP)) as asking:
        result = await asking.call_tool("picture", {})
        assert descriptor_of(result) is None
        assert result.structured_content["resource_url"].startswith("http://bridge.example/")  # S2SP's own is there
        link = result.content[1]
        assert link.type == "resource_link"
        for work in (vendor(asking, "files/authorizeDownload", uri=link.uri), vendor(asking, "files/authorizeUpload")):
            assert "BROKER_PLANE_PLAIN_HTTP" in str(await refused(work))


async def test_uploads_are_whatever_serves_the_port(settings: Settings) -> None:
    orders: list[UploadOrder] = []

    class Port:
        async def authorize(self, order: UploadOrder) -> Descriptor:
            orders.append(order)
            fields = {"mode": "push", "protocol": "https", "endpoint": "https://bridge.example/u", "method": "PUT"}
            shared = {"$schema": TOMCP, "transfer_id": "550e8400-e29b-41d4-a716-446655440000", "format": "image/png"}
            return parse_descriptor(fields | shared | {"auth": {"type": "bearer", "value": "once"}})

    async with client(PlaneServer("test", settings=settings, uploads=False)) as asking:
        assert "uploads" in str(await refused(vendor(asking, "files/authorizeUpload", name="a.pdf")))
    async with client(PlaneServer("test", settings=settings, uploads=Port())) as asking:
        digest = {"algorithm": "sha-256", "value": "A" * 43}
        said = await vendor(asking, "files/authorizeUpload", name="a.png", mimeType="image/png", size=7, digest=digest)
        assert orders == [UploadOrder(name="a.png", media_type="image/png", size=7, sha256="0" * 64)]
        headers = {"Authorization": "Bearer once", "Content-Type": "image/png"}
        assert said["upload"]["headers"] == {**headers, "Content-Disposition": "attachment; filename*=UTF-8''a.png"}
        wrong = {"algorithm": "md5", "value": "x"}
        assert "sha-256" in str(await refused(vendor(asking, "files/authorizeUpload", digest=wrong)))


async def test_the_alternatives_are_descriptors_too(server: PlaneServer) -> None:
    async with client(server, advertised(Capabilities(protocols=("http",), formats=("json", "csv")))) as asking:
        descriptor = await offered(asking, "table", abstract_domains="n")
        formats = {each.format for each in [descriptor, *alternatives_of(descriptor)]}
        assert formats == {"application/json", "text/csv", ROWS_TYPE}


def text_of(result: CallToolResult) -> str:
    block = result.content[0]
    assert block.type == "text", block
    return block.text


async def vendor(asking: Client, method: str, **params: Any) -> dict[str, Any]:
    request = TransferRequest(method=method, params=TransferParams.model_validate(params))
    return (await asking.session.send_request(request, FileResult)).model_dump(mode="json", by_alias=True)
