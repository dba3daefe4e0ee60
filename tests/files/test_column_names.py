"""Columns whose names have blanks at their ends or commas in them can be named wherever columns are named."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane import Narrowing, Plane
from broker_plane.config import Settings
from broker_plane.errors import SelectorError
from broker_plane.runtime.narrowing import known
from broker_plane.wire.column_names import parse_names, resolved
from tests.files.command_line import CommandLine

HEADER = ["date", " close", "Last, First", "a", "b", "a,b", "x ", "x", "[y]", "née", " twice", "twice ", 'q"']
MEANT: list[tuple[str, list[str]]] = [
    ("date", ["date"]),
    ("date,a", ["date", "a"]),
    ("date, a ,b", ["date", "a", "b"]),
    (" close", [" close"]),
    ("close", [" close"]),
    ("date, close", ["date", " close"]),
    ("Last, First", ["Last, First"]),
    ("date,Last, First,b", ["date", "Last, First", "b"]),
    (" Last, First ", ["Last, First"]),
    ("a,b", ["a", "b"]),
    ('["a,b"]', ["a,b"]),
    ("x ", ["x "]),
    ("x", ["x"]),
    ("x,x ", ["x", "x "]),
    ('["x ", " close"]', ["x ", " close"]),
    ('["[y]"]', ["[y]"]),
    ('née, q"', ["née", 'q"']),
    (" twice", [" twice"]),
    ("twice ,date", ["twice ", "date"]),
]
UNKNOWN = ["twice", "Last", "First", '["close,date"]', "dates", "date,no", "[y]", "a, a", '["a", 1]', '[["a"]]']
ROW: dict[str, Any] = {name: number for number, name in enumerate(HEADER)}


@pytest.mark.parametrize(("text", "names"), MEANT, ids=[text for text, _ in MEANT])
def test_a_text_means_columns(text: str, names: list[str]) -> None:
    assert resolved(parse_names(text), HEADER) == names


@given(st.lists(st.text(min_size=1), min_size=1, unique=True))
def test_a_json_array_names_any_columns(names: list[str]) -> None:
    assert resolved(parse_names(json.dumps(names)), names) == names


@given(st.lists(st.text(alphabet="ab ,", min_size=1), min_size=1, unique=True), st.data())
def test_a_text_means_columns_or_is_refused(columns: list[str], data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(columns) | st.text(alphabet="ab ,"))
    try:
        names = resolved(parse_names(text), columns)
    except SelectorError:
        return
    assert text in columns or all(name in columns or name == name.strip() or not name.strip() for name in names)
    if "," not in text and text in columns and text.strip():
        assert names == [text]


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as connected:
        yield connected


@pytest.mark.anyio
async def test_they_are_named_over_http_and_in_abstracts(plane: Plane) -> None:
    url = (await plane.publish([ROW], uses="unlimited")).resource_url
    async with httpx2.AsyncClient(trust_env=False) as client:
        for text, names in MEANT:
            answer = await client.get(url, params={"columns": text})
            assert answer.json() == [{name: ROW[name] for name in names}], text
            made = await plane.publish([ROW], abstract=parse_names(text))
            assert made.abstract == [{"_row_id": 0} | {name: ROW[name] for name in names}]
            posted = await client.post(url, json={"columns": names})
            assert posted.json()["body"] == [{"_row_id": 0} | {name: ROW[name] for name in names}]
        for text in UNKNOWN:
            assert (await client.get(url, params={"columns": text})).json()["code"] == "bad_selector", text
        posted = await client.post(url, json={"columns": ["close"]})  # a program says what it means
        assert posted.status_code == 400


def test_they_are_named_on_the_command_line(shell: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_text(json.dumps([ROW]))
    url = shell.publish(file)
    for text, names in MEANT[3:15]:
        expected = [{name: ROW[name] for name in names}]
        assert shell.rows(url, "--columns", text) == expected, text
        assert shell.rows(url, "--columns", text, "--via", "nats") == expected, text
        less = json.loads(shell.run("grant", url, "--columns", text, "--json"))
        assert less["scope"]["columns"] == names
        shown = json.loads(shell.run("publish", file, "--abstract", text, "--json"))["abstract"]
        assert shown == [{"_row_id": 0, **expected[0]}]
    for text in UNKNOWN:
        for command in (("pull", url), ("grant", url)):
            assert "column" in shell.refused(*command, "--columns", text), text


def test_columns_of_a_csv_header_with_blanks(shell: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('date, close,"Last, First"\n2026-01-02,3.5,x\n')
    url = shell.publish(tmp_path / "in.csv")
    assert shell.rows(url, "--columns", " close") == [{" close": 3.5}]
    assert shell.run("pull", url, "--columns", "Last, First", "--format", "csv") == b'"Last, First"\r\nx\r\n'
    made = json.loads(shell.run("grant", url, "--where", '" close" > 3', "--columns", "close", "--json"))
    assert shell.rows(made["resource_url"]) == [{" close": 3.5}]


def test_the_key_of_a_feed_is_named_in_the_same_way(shell: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('date, close,"Last, First"\n2026-01-02,3.5,x\n')
    (tmp_path / "in.ndjson").write_text('{" id": 1, "b": 2}\n')
    feeds = [f"crm.{uuid4().hex}" for _ in range(5)]
    cases: list[tuple[str, str, list[str]]] = [
        ("in.csv", "date, close", ["date", " close"]),
        ("in.csv", "Last, First,date", ["Last, First", "date"]),
        ("in.csv", "date , Last, First", ["date", "Last, First"]),
        ("in.ndjson", "b ", ["b"]),
        ("in.ndjson", '["b", " id"]', ["b", " id"]),
    ]
    for feed, (name, key, names) in zip(feeds, cases, strict=True):
        shell.run("publish", tmp_path / name, "--feed", feed, "--key", key)
        assert json.loads(shell.run("feeds", "ls", feed, "--json"))[0]["key"] == names


def test_names_for_a_body_that_nobody_knows_are_what_was_written() -> None:
    written = {"a, b": ["a", "b"], '[" a", "b,c"]': [" a", "b,c"], " a ": ["a"], "a,,b": ["a", "b"]}
    for text, names in written.items():
        assert known(Narrowing(columns=parse_names(text)), None).columns == names
