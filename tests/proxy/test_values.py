"""What passes through the proxy is what it was: texts as bodies, arguments of consumers, tools of the plane's own."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from msgspec.structs import replace

from broker_plane import Plane
from broker_plane.config import Settings
from tests import forked
from tests.proxy.test_hostile_upstream import Proxied
from tests.trusting import HOSTS

pytestmark = pytest.mark.anyio
UPSTREAM = forked.command("tests.proxy.scripted")
LARGE = 70_000
ROWS = [{"id": number, "text": "x" * 200} for number in range(400)]

TEXTS = {
    "csv with CRLF": "id,name\r\n" + "1,Zoë\r\n" * 10_000,
    "no last line feed": "a\n" * LARGE + "b",
    "only line feeds": "\n" * LARGE,
    "BOM": "\ufeff" + "x" * LARGE,
    "a file of JSON rows": json.dumps(ROWS, indent=2),
    "a file of one JSON object": json.dumps({"rows": ROWS, "n": 1.10}, indent=4),
    "JSON with a key twice": '[{"a": 1, "a": 2}, ' + ", ".join(['{"a": 1.0}'] * LARGE) + "]",
    "ndjson": "\n".join(json.dumps(row) for row in ROWS),
    "astral": "😀" * 20_000,
    "control characters": "\x00\x01\x1b[0m\u2028\u2029\x85" * LARGE,
    "blanks around": "  \t" + "y" * LARGE + "  \n\n",
    "quotes and backslashes": '\\"\\n' * LARGE,
}
WRAPS: dict[str, Callable[[str], dict[str, Any]]] = {
    "content": lambda text: {"content": [{"type": "text", "text": text}], "structuredContent": {"content": text}},
    "result": lambda text: {"content": [{"type": "text", "text": text}], "structuredContent": {"result": text}},
    "beside": lambda text: {
        "content": [{"type": "text", "text": text}],
        "structuredContent": {"path": "a.csv", "content": text, "lines": 3},
    },
    "alone": lambda text: {"content": [], "structuredContent": {"content": text}},
    "plain": lambda text: {"content": [{"type": "text", "text": text}]},
}
JSON, PLAIN = "application/json", "text/plain; charset=utf-8"
TABLES = {
    "csv with CRLF": ("csv", "text/csv; charset=utf-8"),
    "a file of JSON rows": ("rows", JSON),
    "a file of one JSON object": ("envelope", JSON),
    "JSON with a key twice": ("rows", JSON),
    "ndjson": ("ndjson", "application/x-ndjson"),
}
"""The texts that are tables: their shape, and the media type of the text."""

ARGUMENTS: dict[str, Any] = {
    "object": {"type": "object"},
    "array": {"type": "array"},
    "string": {"type": "string"},
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "nullable": {"type": ["object", "null"]},
    "any-of": {"anyOf": [{"type": "object"}, {"type": "null"}]},
    "text-or-rows": {"anyOf": [{"type": "string"}, {"type": "array"}]},
    "reference": {"$ref": "#/$defs/Page"},
    "base64": {"type": "string", "contentEncoding": "base64"},
    "anything": {},
    "enum": {"enum": [1, 2]},
}
OBJECT = {"title": "t", "n": 123456789012345678901234567890, "deep": [{"a": None}]}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def script() -> dict[str, Any]:
    results = {f"{wrap}/{name}": json.dumps(made(text)) for wrap, made in WRAPS.items() for name, text in TEXTS.items()}
    large = {"resource_url": "https://elsewhere/x", "data": "x" * LARGE}
    results |= {
        "own": json.dumps({"content": [{"type": "text", "text": "x" * LARGE}]}),
        "own-result": json.dumps({"content": [], "structuredContent": large}),
        "own-text": json.dumps({"content": [{"type": "text", "text": json.dumps(large)}]}),
    }
    text = {"type": "string"}
    tools = [
        {
            "name": f"take-{name}",
            "inputSchema": {
                "type": "object",
                "properties": {"body": schema},
                "$defs": {"Page": {"type": "object", "properties": {"title": text}}},
            },
        }
        for name, schema in ARGUMENTS.items()
    ]
    tools += [
        {"name": name, "inputSchema": {"type": "object", "properties": {"abstract_domains": text}}}
        for name in ("own", "own-echo")
    ]
    return {"tools": tools, "results": results}


@pytest.fixture(scope="module")
def client(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    path = tmp_path_factory.mktemp("script") / "script.json"
    path.write_text(json.dumps(script()))
    consumers = [word for name in ARGUMENTS for word in ("--consumer", f"take-{name}:body")]
    trusting = environment | {"BROKER_PLANE_TRUSTED_HOSTS": HOSTS}
    with closing(Proxied(trusting, [*UPSTREAM, str(path)], consumers)) as started:
        yield started


@pytest.fixture(scope="module")
def trusting(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    from broker_plane.config import load_settings

    url = environment["BROKER_PLANE_NATS_URL"]
    return replace(load_settings(nats_url=url, data_dir=tmp_path_factory.mktemp("data")), trusted_hosts=HOSTS)


@pytest.mark.parametrize("wrap", WRAPS)
async def test_a_copy_of_a_text_is_the_text(client: Proxied, trusting: Settings, wrap: str) -> None:
    async with Plane.connect(trusting) as plane:
        for name, text in TEXTS.items():
            shape = client.call(f"{wrap}/{name}")["result"]["structuredContent"]
            kind, media_type = TABLES.get(name, ("text", PLAIN))
            assert shape["shape"] == (kind if name not in TABLES or wrap == "plain" else f"wrapped {kind}"), name
            assert ("total_rows" in shape, "preview" in shape) == (name in TABLES, name not in TABLES)
            if wrap == "plain" and media_type == JSON:
                continue  # rows, which are no copy of the text
            assert shape["media_type"] == media_type, name
            assert shape["digest"] == f"sha256:{sha256(text.encode()).hexdigest()}", name
            assert "preview" not in shape or shape["preview"].startswith(text.encode()[:800].decode("utf-8", "ignore"))
            beside = {"path": "a.csv", "lines": 3} if wrap == "beside" else {}
            assert shape.get("fields", {}) == beside | ({"n": 1.1} if kind == "envelope" else {})
            if name == "csv with CRLF":
                assert await plane.pull(shape["resource_url"]) == text.encode()


def test_a_copy_of_a_text_goes_into_a_tool_as_it_was(client: Proxied) -> None:
    for name, text in TEXTS.items():
        url = client.call(f"content/{name}")["result"]["structuredContent"]["resource_url"]
        assert taken(client.call("take-string", resource_url=url)) == sha256(text.encode()).hexdigest(), name


async def handed(client: Proxied, name: str, url: str) -> Any:
    """A consumer's answer; this process serves the body meanwhile."""
    return await to_thread.run_sync(lambda: client.call(f"take-{name}", resource_url=url))


def taken(answer: Any) -> Any:
    """The argument that the upstream got."""
    result = answer["result"]
    assert not result.get("isError"), result
    return json.loads(result["content"][0]["text"])["params"]["arguments"]["body"]


FITS: list[tuple[str, bytes, str, Any]] = [
    ("object", json.dumps(OBJECT).encode(), JSON, OBJECT),
    ("object", json.dumps(OBJECT).encode(), "application/ld+json", OBJECT),
    ("object", b'{"a": "\\ud800"}', JSON, {"a": "\ud800"}),
    ("object", json.dumps(OBJECT).encode(), PLAIN, OBJECT),
    ("nullable", json.dumps(OBJECT).encode(), JSON, OBJECT),
    ("any-of", json.dumps(OBJECT).encode(), JSON, OBJECT),
    ("reference", json.dumps(OBJECT).encode(), JSON, OBJECT),
    ("anything", json.dumps(OBJECT).encode(), JSON, OBJECT),
    ("anything", b"plain", PLAIN, "plain"),
    ("array", b"[1, 2, 3]", JSON, [1, 2, 3]),
    ("number", b"1.5", JSON, 1.5),
    ("number", b"7\n", PLAIN, 7),
    ("integer", b"123456789012345678901234567890", JSON, 123456789012345678901234567890),
    ("boolean", b"true", JSON, True),
    ("nullable", b"null", JSON, None),
    ("enum", b"2", JSON, 2),
    ("string", json.dumps(OBJECT).encode(), JSON, json.dumps(OBJECT)),
    ("string", "Zoë\r\n".encode(), "text/csv", "Zoë\r\n"),
    ("string", b"<a/>", "image/svg+xml", "<a/>"),
    ("text-or-rows", b"[1]", PLAIN, "[1]"),
    ("text-or-rows", b"[1]", JSON, [1]),
    ("base64", PNG, "image/png", b64encode(PNG).decode()),
    ("base64", b"text", PLAIN, b64encode(b"text").decode()),
]
MISFITS: list[tuple[str, bytes, str]] = [
    ("string", PNG, "image/png"),
    ("string", b"text", "application/octet-stream"),
    ("string", b"\xff\xfe", PLAIN),
    ("string", "é".encode("latin-1"), "text/plain; charset=iso-8859-1"),
    ("anything", PNG, "image/png"),
    ("object", b"[1]", JSON),
    ("object", b"no JSON", JSON),
    ("object", PNG, "application/octet-stream"),
    ("array", b'{"a": 1}', JSON),
    ("number", b'"7"', JSON),
    ("integer", b"1.5", JSON),
    ("boolean", b"1", JSON),
    ("any-of", b"7", JSON),
]


async def test_an_argument_has_the_type_that_the_tool_asks_for(client: Proxied, trusting: Settings) -> None:
    async with Plane.connect(trusting) as plane:
        for name, raw, media_type, wanted in FITS:
            published = await plane.publish(raw, media_type=media_type)
            got = taken(await handed(client, name, published.resource_url))
            assert got == wanted and type(got) is type(wanted), (name, media_type)


async def test_what_an_argument_does_not_take_is_an_error_and_costs_no_use(client: Proxied, trusting: Settings) -> None:
    async with Plane.connect(trusting) as plane:
        for name, raw, media_type in MISFITS:
            published = await plane.publish(raw, media_type=media_type, uses=1)
            result = (await handed(client, name, published.resource_url))["result"]
            assert result.get("isError") and "body takes" in result["content"][0]["text"], (name, media_type, result)
        assert await plane.pull(published.resource_url) == raw


async def test_rows_go_in_as_rows_or_as_their_text(client: Proxied, trusting: Settings) -> None:
    rows = [{"a": 1}, {"a": 2}]
    async with Plane.connect(trusting) as plane:

        async def given(name: str, count: int = 2) -> Any:
            published = await plane.publish(rows[:count])
            return await handed(client, name, published.resource_url)

        for name in ("array", "anything", "text-or-rows"):
            assert taken(await given(name)) == rows
        assert json.loads(taken(await given("string"))) == rows
        assert taken(await given("object", 1)) == rows[0]
        for name in ("object", "number", "base64"):
            assert (await given(name))["result"]["isError"]


def test_an_argument_beside_its_resource_url_is_an_error_unless_it_is_a_filler(client: Proxied) -> None:
    text = TEXTS["csv with CRLF"]
    url = client.call("content/csv with CRLF")["result"]["structuredContent"]["resource_url"]
    for value in ("x", 0, False, ["x"]):
        result = client.call("take-string", resource_url=url, body=value)["result"]
        assert result.get("isError") and "both body and resource_url" in result["content"][0]["text"], value
    for filler in ("", None):
        answer = client.call("take-string", resource_url=url, body=filler)
        assert taken(answer) == sha256(text.encode()).hexdigest()
    assert taken(client.call("take-string", resource_url="", body="x")) == "x"


def test_chosen_rows_of_a_csv_go_into_a_text_as_json(client: Proxied) -> None:
    url = client.call("content/csv with CRLF")["result"]["structuredContent"]["resource_url"]
    chosen = json.dumps([{"_row_id": 3, "id": 1}])
    for name in ("string", "array"):
        got = taken(client.call(f"take-{name}", resource_url=url, abstract_data=chosen))
        assert (json.loads(got) if name == "string" else got) == [{"id": 1, "name": "Zoë"}]


@pytest.mark.parametrize("listed", [False, True])
def test_tools_of_the_plane_s_own_are_left_alone(environment: dict[str, str], tmp_path: Path, listed: bool) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(script()))
    results = script()["results"]
    with closing(Proxied(environment, [*UPSTREAM, str(path)])) as client:
        if listed:
            client.ask("tools/list")
        echoed = client.call("own-echo", abstract_domains="a,b")["result"]["content"][0]["text"]
        assert json.loads(echoed)["params"]["arguments"] == {"abstract_domains": "a,b"}
        for name in ("own", "own-result", "own-text"):
            assert client.call(name, abstract_domains="data")["result"] == json.loads(results[name])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--consumer", "no_such:body"], "has no tool 'no_such'"),
        (["--consumer", "take-array:rows"], "no argument 'rows'"),
        (["--shape", "no_table:csv"], "has no tool 'no_table'"),
    ],
)
def test_names_that_do_not_exist_are_said_once(
    environment: dict[str, str], tmp_path: Path, options: list[str], said: str
) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(script()))
    client = Proxied(environment, [*UPSTREAM, str(path)], options)
    client.ask("tools/list")
    client.ask("tools/list")
    client.close()
    lines = b"".join(client.stderr).decode().splitlines()
    assert len(lines) == 1 and said in lines[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"BROKER_PLANE_NATS_URL": "nats://127.0.0.1:1"},
        {"BROKER_PLANE_NATS_URL": "nats://127.0.0.1:1,nats://127.0.0.1:2"},
        {"BROKER_PLANE_NATS_URL": "nats://no-such-host.invalid:4222"},
        {"BROKER_PLANE_NATS_CREDS": "/nowhere/u.creds"},
    ],
    ids=str,
)
def test_with_broken_settings_of_nats_a_call_comes_inline(
    environment: dict[str, str], tmp_path: Path, settings: dict[str, str]
) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(script()))
    given = environment | {"BROKER_PLANE_REQUEST_TIMEOUT_SECONDS": "0.5"} | settings
    client = Proxied(given, [*UPSTREAM, str(path)], [])
    text = TEXTS["csv with CRLF"]
    assert client.call("content/csv with CRLF")["result"] == WRAPS["content"](text)
    client.close()
    said = [line for line in b"".join(client.stderr).decode().splitlines() if line]
    assert len(said) == 1 and "stays inline" in said[0], said
