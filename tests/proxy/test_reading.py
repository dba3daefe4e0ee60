"""After a result was offloaded the model reads on: the proxy's own tools, and the links in its results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.types import Implementation

from broker_plane.proxy.body_resources import with_capability
from broker_plane.proxy.pending import PendingRequest
from broker_plane.reading.tools import reading_tools
from broker_plane.wire.names import EXTENSION
from tests import forked

from .conftest import EACH, Open, command_proxy
from .test_hostile_upstream import Proxied

pytestmark = pytest.mark.anyio
SCRIPTED = forked.command("tests.proxy.scripted")
NAMES = [tool.name for tool in reading_tools()]
CSV = "id,word\r\n" + "".join(f"{number},w{number % 7}\r\n" for number in range(20_000))
PROSE = "".join(f"Line {number} of a long story.\n" for number in range(4_000))
EMPTY: dict[str, Any] = {"type": "object"}


def text(value: str, **more: Any) -> str:
    return json.dumps({"content": [{"type": "text", "text": value}]} | more)


RESULTS = {
    "csv": text(CSV, structuredContent={"content": CSV}),
    "prose": text(PROSE),
    "middle": text("x" * 9_000),
    "small": text("not much"),
    "deletes": text("Deleted 3 rows."),
}


class Scripted(Proxied):
    """A client of the proxy before a scripted server, which logs what it is asked."""

    def __init__(self, environment: dict[str, str], folder: Path, script: dict[str, Any], *options: str) -> None:
        self._log = folder / "log"
        path = folder / "script.json"
        path.write_text(json.dumps({"results": RESULTS, "log": str(self._log)} | script))
        super().__init__(environment, [*SCRIPTED, str(path)], options)

    @property
    def asked(self) -> list[str]:
        """The tools that the server was asked for, in order."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [message["params"]["name"] for line in lines if (message := json.loads(line))["method"] == "tools/call"]

    def named(self, **params: Any) -> list[str]:
        """The names of the tools of a page."""
        return [tool["name"] for tool in self.ask("tools/list", **params)["result"]["tools"]]


@pytest.fixture(scope="module")
def client(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    tools = [{"name": "write", "inputSchema": EMPTY}]
    folder = tmp_path_factory.mktemp("scripted")
    with closing(Scripted(environment, folder, {"tools": tools}, "--consumer", "write:body")) as started:
        yield started


def shape_of(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer["result"]["structuredContent"]
    assert json.loads(answer["result"]["content"][0]["text"]) == found
    return found


def said(answer: Any) -> str:
    assert "structuredContent" not in answer["result"]
    return str(answer["result"]["content"][0]["text"])


@pytest.fixture(scope="module", params=EACH)
def way(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_a_result_is_read_on_over_every_way_and_in_both_eras(way: tuple[str, str], proxied: Open) -> None:
    async with proxied(*way) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert all(tools[name].annotations.read_only_hint for name in NAMES)  # type: ignore[union-attr]
        found = await client.call_tool("rows", {"count": 2_000})
        shape = found.structured_content or {}
        assert shape["shape"] == "rows" and shape["next_step"].startswith("2,000 rows of 3 columns.")
        assert "read_body(" in shape["next_step"]
        url = shape["resource_url"]
        read = await client.call_tool("read_body", {"resource_url": url, "where": "id > 1996", "columns": ["kind"]})
        described = await client.call_tool("describe_body", {"resource_url": url})
        wrong = await client.call_tool("read_body", {"resource_url": url, "where": "nothing = 1"})
        link = next(block for block in found.content if block.type == "resource_link")
        page = (await client.read_resource(str(link.uri))).contents
        other = (await client.read_resource("test://page/7")).contents
    assert read.content[0].type == described.content[0].type == wrong.content[0].type == "text"
    assert read.content[0].text.splitlines()[:4] == ["_row_id,kind", "1997,k2", "1998,k0", "1999,k1"]
    assert "max 1999" in described.content[0].text and "kind" in described.content[0].text
    assert wrong.is_error and "nothing" in wrong.content[0].text
    assert page[0].uri == str(link.uri) and page[0].text.startswith("_row_id,id,kind,text\n0,0,k0,")  # type: ignore[union-attr]
    assert other[0].text == "page 7"  # type: ignore[union-attr]


def test_a_file_of_csv_is_the_file_and_a_table(client: Scripted) -> None:
    shape = shape_of(client.call("csv"))
    assert (shape["shape"], shape["total_rows"], shape["columns"]) == ("wrapped csv", 20_000, ["id", "word"])
    assert shape["media_type"].startswith("text/csv")
    url = shape["resource_url"]
    lines = said(client.call("read_body", resource_url=url, where="word = 'w3'", head=2)).splitlines()
    assert lines[:3] == ["_row_id,id,word", "3,3,w3", "10,10,w3"]
    assert "id: int" in said(client.call("describe_body", resource_url=url))
    sql = "select word, count(*) as n from a group by word order by word limit 1"
    assert said(client.call("query_body", sql=sql, bodies={"a": url})).splitlines()[:2] == ["word,n", "w0,2858"]
    copied = json.loads(said(client.call("write", resource_url=url)))
    assert copied["params"]["arguments"]["body"] == sha256(CSV.encode()).hexdigest()
    assert client.asked[-2:] == ["csv", "write"]


def test_text_is_read_by_lines(client: Scripted) -> None:
    shape = shape_of(client.call("prose"))
    assert shape["shape"] == "text" and shape["next_step"].startswith("A text of 4,000 lines,")
    assert said(client.call("read_body", resource_url=shape["resource_url"], tail=1)).startswith("Line 3999 of")


@pytest.mark.parametrize("arguments", [{}, {"resource_url": "http://example.com/s2sp/data/x"}, {"resource_url": 7}])
def test_wrong_arguments_are_an_error_that_the_model_can_read(client: Scripted, arguments: Any) -> None:
    before = client.asked
    for name in NAMES:
        answer = client.call(name, **arguments)
        assert answer["result"]["isError"] and said(answer), name
    assert client.asked == before


def test_half_a_surrogate_pair_is_an_error_and_not_a_call_of_the_server(client: Scripted) -> None:
    url = shape_of(client.call("csv"))["resource_url"]
    before = client.asked
    for name, arguments in (
        ("read_body", {"resource_url": url, "grep": "\ud800"}),
        ("query_body", {"sql": "select '\ud800' from a", "bodies": {"a": url}}),
    ):
        answer = client.call(name, **arguments)
        assert answer["result"]["isError"] and said(answer), name
    assert client.asked == before


def test_links_are_read_in_pages_through_a_server_without_resources(client: Scripted) -> None:
    greeting = client.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "c"})
    assert greeting["result"]["capabilities"] == {"tools": {"listChanged": True}, "resources": {}}
    assert client.ask("resources/list")["result"] == {"resources": []}
    assert client.ask("resources/templates/list")["result"] == {"resourceTemplates": []}
    assert client.ask("resources/read", uri="test://page")["error"]["code"] == -32601
    uri = client.call("prose")["result"]["content"][1]["uri"]
    pages, following = [], uri
    while following:
        contents = client.ask("resources/read", uri=following)["result"]["contents"]
        pages.append(contents[0]["text"])
        following = contents[1]["uri"] if len(contents) > 1 else ""
    assert len(pages) > 1 and "".join(pages).replace("\n", "") == PROSE.replace("\n", "")
    assert "page" in client.ask("resources/read", uri=f"{uri}?page=0")["error"]["message"]


def test_a_server_without_tools_is_not_said_to_have_resources() -> None:
    greeting = {"id": 1, "result": {"capabilities": {"prompts": {}}}}
    assert with_capability(PendingRequest("initialize"), greeting) is greeting


def test_columns_of_what_is_not_a_table_are_refused_and_nothing_is_lost(client: Scripted) -> None:
    answer = client.call("deletes", abstract_domains="id")["result"]
    assert answer["isError"] and "abstract_domains" in answer["content"][0]["text"]
    assert answer["content"][1]["text"] == "Deleted 3 rows."
    large = client.call("prose", abstract_domains="id")["result"]
    assert large["isError"] and json.loads(large["content"][1]["text"])["resource_url"]


@pytest.mark.parametrize(
    ("name", "tool", "offloaded"),
    [("Visual Studio Code", "middle", True), ("claude-code", "middle", False), ("claude-ai", "prose", False),
     ("claude-code", "prose", True), ("someone", "middle", False)],
)  # fmt: skip
def test_a_client_of_the_handshake_gets_what_it_still_shows(
    client: Scripted, name: str, tool: str, offloaded: bool
) -> None:
    client.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": name, "version": "1"})
    assert ("structuredContent" in client.call(tool)["result"]) is offloaded


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_client_is_known_over_http_in_both_eras(proxy_url: str, era: Any) -> None:
    for name, offloaded in (("Visual Studio Code", True), ("claude-code", False)):
        async with Client(proxy_url, mode=era, client_info=Implementation(name=name, version="1")) as client:
            result = await client.call_tool("rows", {"count": 100})
            assert (EXTENSION in (result.meta or {})) is offloaded, name


async def test_a_link_of_another_plane_goes_to_the_server(proxied: Open) -> None:
    async with proxied("http", "auto") as client:
        shape = await client.call_tool("rows", {"count": 2_000})
        uri = str(next(block for block in shape.content if block.type == "resource_link").uri)
        with pytest.raises(MCPError):  # the server's own error
            await client.read_resource(uri[:-4] + ("AAAA" if uri[-4:] != "AAAA" else "BBBB"))
        assert (await client.read_resource(uri)).contents


async def test_results_are_used_any_number_of_times(proxied: Open) -> None:
    async with proxied("http", "auto") as client:
        found = (await client.call_tool("rows", {"count": 2_000})).structured_content or {}
        for _ in range(3):
            drawn = await client.call_tool("draw", {"resource_url": found["resource_url"]})
            assert drawn.content[0].text.startswith(":2000:")  # type: ignore[union-attr]
        chosen = (await client.call_tool("rows", {"count": 5, "abstract_domains": "kind"})).structured_content or {}
        for _ in range(2):
            one = {"resource_url": chosen["resource_url"], "abstract_data": json.dumps(chosen["abstract"][:1])}
            assert (await client.call_tool("draw", one)).content[0].text.startswith(":1:")  # type: ignore[union-attr]


def test_the_tools_come_once_and_those_of_the_server_keep_their_names(
    environment: dict[str, str], tmp_path: Path
) -> None:
    pages = [[{"name": name, "inputSchema": EMPTY}] for name in ("a", NAMES[0], "b")]
    with closing(Scripted(environment, tmp_path, {"pages": pages})) as client:
        # Before the client has listed the tools, the proxy lists them itself.
        assert NAMES[0] in said(client.call(NAMES[0], x=1)) and client.asked == [NAMES[0]]
        listed = [client.named(cursor=str(number)) for number in range(3)]
        assert listed == [["a"], [NAMES[0]], ["b", f"plane_{NAMES[0]}", *NAMES[1:]]]
        shape = shape_of(client.call("prose"))
        assert f"plane_{NAMES[0]}(" in shape["next_step"]
        assert "Line 0" in said(client.call(f"plane_{NAMES[0]}", resource_url=shape["resource_url"], head=1))
        assert client.asked == [NAMES[0], "prose"]


def test_the_user_may_leave_the_tools_out_and_name_the_shape(environment: dict[str, str], tmp_path: Path) -> None:
    options = ("--no-reading-tools", "--shape", "csv:text", "--shape", "prose:geojson")
    with closing(Scripted(environment, tmp_path, {}, *options)) as client:
        assert client.named() == []
        shape = shape_of(client.call("csv"))
        assert shape["shape"] == "text"
        assert "read_body" not in shape["next_step"] and "resource_url" in shape["next_step"]
        assert shape_of(client.call("prose"))["shape"] == "text"
        client.call("read_body", resource_url=shape["resource_url"])
        assert client.asked == ["csv", "prose", "read_body"]
    assert b"--shape geojson" in b"".join(client.stderr)


async def test_links_are_read_over_http_before_a_command_without_resources(
    environment: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"results": RESULTS}))
    with command_proxy([*SCRIPTED, str(path)], environment) as url:
        async with Client(url, mode="legacy") as client:
            assert (await client.list_resources()).resources == []
            found = await client.call_tool("prose", {})
            link = next(block for block in found.content if block.type == "resource_link")
            assert (await client.read_resource(str(link.uri))).contents[0].text.startswith("Line 0")  # type: ignore[union-attr]


def test_the_old_flag_names_the_new_one(environment: dict[str, str]) -> None:
    with closing(Proxied(environment, SCRIPTED, ("--table", "x"))) as client:
        pass
    assert b"--shape TOOL:table" in b"".join(client.stderr)
