"""Arguments as models really write them: what can mean one thing only is taken for it, and the rest is explained."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from mcp.types import CallToolResult

from broker_plane import PlaneServer
from broker_plane.config import load_settings
from broker_plane.mcp_server.plane_tools import plane_server
from broker_plane.testing.server import NatsServer
from broker_plane.wire import exact_json, slips
from tests.interaction.conftest import Agent, error_of, shape_of, text_of

pytestmark = pytest.mark.anyio
ROWS = [
    {"event": "Flood", "Last, First": "O'Brien, Ann", "n": 1},
    {"event": "Wind", "Last, First": "Li, Bo", "n": 2},
    {"event": "Heat", "Last, First": "Yu, Cy", "n": 12345678901234567890},
]


@dataclass
class World:
    agent: Agent
    got: list[Any] = field(default_factory=list)

    async def offered(self) -> tuple[list[dict[str, Any]], str]:
        shape = shape_of(await self.agent("table", abstract_domains="event"))
        return shape["abstract"], shape["resource_url"]


@pytest.fixture(scope="module")
async def stage(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One server and client for all: no call changes what a later one sees, but for what was got."""
    settings = load_settings(nats_url=nats_server.url, data_dir=tmp_path_factory.mktemp("slips"))
    server = PlaneServer("test", settings=settings)
    got: list[Any] = []

    @server.resource_tool()
    def table() -> list[dict[str, Any]]:
        return ROWS

    @server.consumer_tool()
    async def consume(rows: list[dict[str, Any]]) -> str:
        got.append(rows)
        return "ok"

    async with Client(server.mcp) as client:

        async def call(tool: str, **arguments: Any) -> CallToolResult:
            return await client.call_tool(tool, arguments)

        yield World(call, got)


@pytest.fixture
def world(stage: World) -> World:
    stage.got.clear()
    return stage


def fenced(text: str) -> str:
    return f"```json\n{text}\n```"


Write = Callable[[Any], Any]

URLS: dict[str, Write] = {
    "as it was given": lambda url: url,
    "blanks": lambda url: f"  {url}\t",
    "a line break": lambda url: f"{url}\n",
    "double quotes": lambda url: f'"{url}"',
    "single quotes": lambda url: f"'{url}'",
    "two kinds of quotes": lambda url: f"\"'{url}'\"",
    "backticks": lambda url: f"`{url}`",
    "angle brackets": lambda url: f"<{url}>",
    "square brackets": lambda url: f"[{url}]",
    "round brackets": lambda url: f"({url})",
    "a markdown link": lambda url: f"[the data]({url})",
    "a link named by itself": lambda url: f"[{url}]({url})",
    "a link with a title": lambda url: f'[data]({url} "rows")',
    "bold": lambda url: f"**{url}**",
    "emphasis": lambda url: f"_{url}_",
    "a full stop": lambda url: f"{url}.",
    "a comma": lambda url: f"{url},",
    "a slash": lambda url: f"{url}/",
    "a fence": lambda url: f"```\n{url}\n```",
    "a sentence": lambda url: f"The resource_url is {url}.",
    "its name": lambda url: f"resource_url: {url}",
    "JSON text": lambda url: json.dumps(url),
    "JSON twice": lambda url: json.dumps(json.dumps(url)),
    "escaped slashes": lambda url: url.replace("/", "\\/"),
    "percent-encoded": lambda url: url.replace(":", "%3A").replace("/", "%2F"),
    "a list of one": lambda url: [url],
    "a list of one as text": lambda url: json.dumps([url]),
    "an object": lambda url: {"resource_url": url},
    "an object as text": lambda url: json.dumps({"resource_url": url}),
    "Python's object": lambda url: str({"resource_url": url, "total_rows": 3}),
    "HTML": lambda url: f'<a href="{url}">data</a>',
}
UNCLEAR_URLS: dict[str, Write] = {
    "two of them": lambda url: f"{url} {url[:-4]}AAAA",
    "broken over lines": lambda url: f"{url[:-30]}\n{url[-30:]}",
    "shortened": lambda url: f"{url[:-20]}...",
    "half of it": lambda url: url[: len(url) // 2],
    "a query": lambda url: f"{url}?columns=event",
    "another route": lambda url: url.replace("/s2sp/data/", "/data/"),
    "a list of two": lambda url: [url, url[:-4] + "AAAA"],
    "a number": lambda url: 7,
}


@pytest.mark.parametrize("slip", URLS)
async def test_a_url_is_found_in_what_stands_around_it(world: World, slip: str) -> None:
    _, url = await world.offered()
    assert text_of(await world.agent("consume", resource_url=URLS[slip](url))) == "ok"
    assert world.got == [ROWS]


@pytest.mark.parametrize("slip", UNCLEAR_URLS)
async def test_a_url_that_is_unclear_is_explained_and_nothing_is_used_up(world: World, slip: str) -> None:
    _, url = await world.offered()
    said = error_of(await world.agent("consume", resource_url=UNCLEAR_URLS[slip](url)))
    assert "resource_url" in said or "grant" in said
    assert text_of(await world.agent("consume", resource_url=url)) == "ok"


CHOSEN: dict[str, Write] = {
    "as asked for": json.dumps,
    "the array itself": lambda rows: rows,
    "JSON twice": lambda rows: json.dumps(json.dumps(rows)),
    "JSON three times": lambda rows: json.dumps(json.dumps(json.dumps(rows))),
    "a fence": lambda rows: fenced(json.dumps(rows)),
    "a fence without a language": lambda rows: f"```\n{json.dumps(rows)}\n```",
    "single quotes": str,
    "quotes around": lambda rows: f"'{json.dumps(rows)}'",
    "quotes around, not escaped": lambda rows: f'"{json.dumps(rows)}"',
    "a comma too many": lambda rows: json.dumps(rows)[:-1] + ",\n]",
    "line breaks": lambda rows: "\n" + json.dumps(rows, indent=2) + "\n\n",
    "a byte order mark": lambda rows: "\ufeff" + json.dumps(rows),
    "a line a row": lambda rows: "\n".join(map(json.dumps, rows)),
    "a list of texts": lambda rows: [json.dumps(row) for row in rows],
    "a list in a list": lambda rows: [rows],
    "the whole result": lambda rows: {"total_rows": 3, "abstract": rows, "resource_url": "x"},
    "the whole result as text": lambda rows: json.dumps({"total_rows": 3, "abstract": rows}),
}
ALL = [None, "null", "None", "undefined", "", "  ", '""', "''", "Null\n", fenced("null")]
UNCLEAR_ROWS: dict[str, tuple[Any, str]] = {
    "an empty array": ([], "Leave abstract_data out"),
    "one object": ('{"_row_id": 0}', "JSON array of row objects"),
    "ids alone": ([0, 2], "JSON array of row objects"),
    "ids as text": ("0, 2", "is not JSON"),
    "an id as text": ([{"_row_id": "0"}], "not a whole number"),
    "no ids": ([{"event": "Flood"}], "needs its _row_id"),
    "quotes within quotes": ("[{'_row_id': 0, 'event': 'O'Brien'}]", "is not JSON"),
    "cut off": ('[{"_row_id": 0, "event": "Flo', "is not JSON"),
    "words": ("all rows", "is not JSON"),
    "columns": ({"_row_id": [0, 2]}, "JSON array of row objects"),
}


@pytest.mark.parametrize("slip", CHOSEN)
async def test_the_chosen_rows_are_read_in_every_form(world: World, slip: str) -> None:
    abstract, url = await world.offered()
    chosen = CHOSEN[slip]([abstract[2], abstract[0]])
    assert text_of(await world.agent("consume", resource_url=url, abstract_data=chosen)) == "ok"
    assert world.got == [[ROWS[2], ROWS[0]]]


@pytest.mark.parametrize("nothing", ALL)
async def test_nothing_is_nothing_in_every_argument(world: World, nothing: Any) -> None:
    _, url = await world.offered()
    rest = {"abstract_data": nothing, "body_data": nothing, "column_mapping": nothing}
    assert text_of(await world.agent("consume", resource_url=url, **rest)) == "ok"
    assert world.got == [ROWS]
    plain = await world.agent("table", abstract_domains=nothing, mode=nothing)
    assert len(shape_of(plain)) == 3


@pytest.mark.parametrize("slip", UNCLEAR_ROWS)
async def test_rows_that_are_unclear_are_explained_and_nothing_is_used_up(world: World, slip: str) -> None:
    rows, said = UNCLEAR_ROWS[slip]
    _, url = await world.offered()
    error = error_of(await world.agent("consume", resource_url=url, abstract_data=rows))
    assert said in error
    assert text_of(await world.agent("consume", resource_url=url)) == "ok"


@pytest.mark.parametrize(
    "mapping",
    [
        {"event": "kind"},
        '{"event": "kind"}',
        "{'event': 'kind'}",
        fenced('{"event": "kind"}'),
        json.dumps('{"event": "kind"}'),
        [{"event": "kind"}],
        '{"event": "kind",}',
    ],
)
async def test_a_mapping_is_read_in_every_form(world: World, mapping: Any) -> None:
    _, url = await world.offered()
    assert text_of(await world.agent("consume", resource_url=url, column_mapping=mapping)) == "ok"
    assert world.got[0][0]["kind"] == "Flood"


@pytest.mark.parametrize("filler", [{}, "{}", [], "[]", "null"])
async def test_an_empty_filler_beside_a_url_says_nothing(world: World, filler: Any) -> None:
    _, url = await world.offered()
    body = filler if filler in ([], "[]", "null") else ""
    assert text_of(await world.agent("consume", resource_url=url, column_mapping=filler, body_data=body)) == "ok"
    assert world.got == [ROWS]


@pytest.mark.parametrize("mapping", ["event:kind", "event -> kind", [["event", "kind"]], {"event": 1}, '{"event"}'])
async def test_a_mapping_that_is_unclear_is_explained(world: World, mapping: Any) -> None:
    _, url = await world.offered()
    assert "column_mapping is" in error_of(await world.agent("consume", resource_url=url, column_mapping=mapping))


@pytest.mark.parametrize("slip", CHOSEN)
async def test_bodies_of_sync_mode_are_read_in_every_form(world: World, slip: str) -> None:
    shape = shape_of(await world.agent("table", abstract_domains="event", mode="sync"))
    body = CHOSEN[slip](shape["body"])
    if slip.startswith("the whole result"):
        body = {"abstract": shape["abstract"], "body": shape["body"]}
    result = await world.agent("consume", abstract_data=json.dumps(shape["abstract"]), body_data=body)
    assert text_of(result) == "ok"
    assert [row["n"] for row in world.got[0]] == [1, 2, str(ROWS[2]["n"])], "beyond 2^53 the view is text"


@pytest.mark.parametrize(
    "domains",
    [
        "event,n",
        " event , n\n",
        ["event", "n"],
        '["event", "n"]',
        "['event', 'n']",
        "[event, n]",
        '"event,n"',
        "'event', 'n'",
        "`event`, `n`",
        '"event", "n"',
        json.dumps('["event", "n"]'),
        fenced('["event", "n"]'),
        "```\nevent, n\n```",
        "event\nn",
        "- event\n- n",
        "* event\n* n\n",
        '["event", "n",]',
    ],
)
async def test_the_columns_shown_are_read_in_every_form(world: World, domains: Any) -> None:
    shape = shape_of(await world.agent("table", abstract_domains=domains))
    assert shape["abstract_domains"] == ["event", "n"]


@pytest.mark.parametrize(
    "domains",
    ["*", "all", "event; n", "event n", {"event": True}, [["event"]], ["event", 1], "event n."],
)
async def test_columns_that_are_unclear_are_explained(world: World, domains: Any) -> None:
    assert "abstract_domains" in error_of(await world.agent("table", abstract_domains=domains))


@pytest.mark.parametrize("domains", [["Last, First"], "Last, First", '["Last, First"]'])
async def test_a_column_with_a_comma_is_found(world: World, domains: Any) -> None:
    shape = shape_of(await world.agent("table", abstract_domains=domains))
    assert shape["abstract"][0] == {"_row_id": 0, "Last, First": "O'Brien, Ann"}


@pytest.mark.parametrize("mode", ["sync", "'sync'", '"sync"', "`sync`", " sync\n", "sync.", "\"'sync'\""])
async def test_a_mode_is_read_in_quotes(world: World, mode: str) -> None:
    assert "body" in shape_of(await world.agent("table", abstract_domains="event", mode=mode))


@pytest.mark.parametrize("mode", ["SYNC", "synchronous", True, 1, ["sync"], "sync, async"])
async def test_another_mode_is_explained(world: World, mode: Any) -> None:
    assert "'async' or 'sync'" in error_of(await world.agent("table", abstract_domains="event", mode=mode))


@pytest.fixture(scope="module")
async def own(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agent]:
    """Calls the plane's own tools."""
    settings = load_settings(nats_url=nats_server.url, data_dir=tmp_path_factory.mktemp("own"))
    async with Client(plane_server(settings).mcp) as client:

        async def call(tool: str, **arguments: Any) -> Any:
            return await client.call_tool(tool, arguments)

        yield call


async def told(own: Agent, tool: str, **arguments: Any) -> Any:
    result = await own(tool, **arguments)
    assert not result.is_error, text_of(result)
    return result.structured_content


@pytest.mark.parametrize(
    "rows",
    [
        [{"event": "Flood", "n": 1}],
        '[{"event": "Flood", "n": 1}]',
        "[{'event': 'Flood', 'n': 1}]",
        {"event": "Flood", "n": 1},
        '{"event": "Flood", "n": 1}',
        ['{"event": "Flood", "n": 1}'],
        fenced('[{"event": "Flood", "n": 1}]'),
        json.dumps(json.dumps([{"event": "Flood", "n": 1}])),
        [[{"event": "Flood", "n": 1}]],
    ],
)
async def test_rows_to_publish_are_read_in_every_form(own: Agent, rows: Any) -> None:
    filler = {"ttl": "null", "uses": None, "name": "None", "feed": "null", "key": ""}
    published = await told(own, "publish", rows=rows, **filler)
    assert (published["total_rows"], published["columns"]) == (1, ["event", "n"])


@pytest.mark.parametrize("rows", [{"rows": [{"n": 1}]}, {"n": [1, 2]}, "n\n1\n", [1, 2], None, "all", '[{"n": 1'])
async def test_rows_that_are_unclear_are_refused(own: Agent, rows: Any) -> None:
    assert "rows" in error_of(await own("publish", rows=rows))


@pytest.mark.parametrize(
    "wrapping", ["as it was given", "backticks", "a markdown link", "a full stop", "an object as text"]
)
async def test_the_planes_own_tools_read_their_arguments_so(own: Agent, wrapping: str) -> None:
    published = await told(own, "publish", rows=[{"event": "Flood", "n": 1}, {"event": "Heat", "n": 2}], uses="0")
    url = URLS[wrapping](published["resource_url"])
    look = await told(own, "preview", resource_url=url, where="WHERE n > 1;", sample="null")
    assert look["count"] == 1
    for columns in (["event"], "event", '["event"]', "['event']", "`event`"):
        less = await told(own, "narrow", resource_url=url, columns=columns, where="null", first="1", ttl="10m", uses="")
        assert (await told(own, "preview", resource_url=less["resource_url"]))["columns"] == ["event"]
    made = await told(own, "grant", body_id=f'"{published["body_id"]}"', ttl="60 s", uses=None, first=None)
    assert made["expires"] <= published["expires"]
    revoked = await told(own, "revoke", grant=f"<{made['resource_url']}>\n")
    assert revoked["revoked"] == made["grant_id"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"uses": True}, "not true or false"),
        ({"first": "all"}, "first"),
        ({"first": "1,000"}, "first"),
        ({"ttl": "soon"}, "ttl"),
        ({"ttl": "1 month"}, "ttl"),
        ({"uses": 99999}, "at most 65535"),
        ({"columns": {"event": True}}, "columns"),
        ({"columns": [1]}, "columns"),
        ({"where": ["n > 1"]}, "where"),
        ({"where": "n is big"}, "where"),
    ],
)
async def test_what_is_unclear_to_them_is_explained(own: Agent, arguments: dict[str, Any], said: str) -> None:
    published = await told(own, "publish", rows=[{"event": "Flood", "n": 1}])
    assert said in error_of(await own("narrow", resource_url=published["resource_url"], **arguments))


@pytest.mark.parametrize("since", ["last", '"last"', None, "null", "'first'", 0, "0", "`0`"])
async def test_a_cursor_is_read_in_every_form(own: Agent, since: Any) -> None:
    await told(own, "publish", rows=[{"n": 1}], feed="slips.feed", key="n", ttl=None)
    found = await told(own, "watch", feed="slips.feed", since=since, wait_seconds="0 s")
    assert found["notices"]


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)


@given(rows=st.lists(st.fixed_dictionaries({"_row_id": st.integers(0, 99)}, optional={"a": scalars, "b": scalars})))
def test_well_formed_rows_are_never_changed(rows: list[dict[str, Any]]) -> None:
    text = exact_json.dumps(rows).decode()
    assert slips.rows_text(text) == text
    assert exact_json.loads(slips.rows_text(exact_json.dumps(text).decode())) == rows


@given(rows=st.lists(st.fixed_dictionaries({"_row_id": st.integers(0, 99)}, optional={"a": scalars}), min_size=1))
def test_pythons_spelling_means_the_same_rows(rows: list[dict[str, Any]]) -> None:
    plain = [row for row in rows if "'" not in str(row.get("a", "")) and str(row.get("a", "")).isascii()]
    plain = [row for row in plain if not isinstance(row.get("a"), str) or row["a"].isprintable()]
    assert json.loads(slips.rows_text(str(plain))) == plain


@given(names=st.lists(st.text(min_size=1, max_size=8), unique=True, min_size=1))
def test_an_array_of_names_is_never_changed(names: list[str]) -> None:
    try:
        found = exact_json.loads(slips.names_text(names))
    except UnicodeEncodeError:
        return
    assert found == names


@given(text=st.text(max_size=60))
def test_any_text_is_read_or_left_as_it_is(text: str) -> None:
    for reading in (slips.rows_text, slips.mapping_text, slips.names_text, slips.url, slips.condition, slips.seconds):
        reading(text)
