"""What the results of published servers become behind the proxy: the table says it for each tool.

A table is recognised as one, with its columns and types; a text stays that text, byte for byte; everything that is
small, an image or an error is what it was.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.real_servers.conftest import Behind, Open
from tests.real_servers.pages import serving_pages
from tests.real_servers.programs import ROWS, Programs, csv_text, markdown_table, markdown_text

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Case:
    """One tool: how its result is recognised, and the answer of a query over it."""

    name: str
    server: str
    tool: str
    arguments: Callable[[Programs], dict[str, Any]]
    shape: str
    columns: tuple[str, ...] = ()
    query: str = "select count(*) as n from a"
    rows: list[dict[str, Any]] = field(default_factory=lambda: [{"n": ROWS}])


MOTHERDUCK = """
select i as id, printf('%05d', i) as zip, i / 8 as price, (i * 1.25)::decimal(12, 2) as paid,
       date '2026-01-01' + (i % 28)::integer as day, case when i % 3 = 0 then null else 'x' end as note
from range(3000) t(i)
"""


def reads(name: str, made: Callable[[], str]) -> Callable[[Programs], dict[str, Any]]:
    return lambda programs: {"path": str(programs.file(name, made))}


TABLES = [
    Case(
        "sqlite",
        "sqlite",
        "read_query",
        lambda programs: {"query": "select * from orders"},
        shape="repr",
        columns=("id", "customer", "price", "day", "note"),
        query="select count(*) as n, sum(price) as total, max(day) as last, count(note) as notes from a",
        rows=[{"n": ROWS, "total": sum(range(ROWS)) / 8, "last": "2026-01-28", "notes": ROWS // 3}],
    ),
    Case(
        "motherduck",
        "motherduck",
        "execute_query",
        lambda programs: {"sql": MOTHERDUCK},
        shape="wrapped columns",
        columns=("id", "zip", "price", "paid", "day", "note"),
        query="select min(zip) as first, sum(paid) as paid, max(day) as last, count(note) as notes from a",
        rows=[{"first": "00000", "paid": str(sum(range(ROWS)) * 1.25) + "0", "last": "2026-01-28", "notes": 2000}],
    ),
    Case(
        "filesystem, CSV",
        "filesystem",
        "read_text_file",
        reads("big.csv", csv_text),
        shape="wrapped csv",
        columns=("id", "zip", "name", "price"),
        query="select min(zip) as first, sum(price) as total, max(id) as last from a",
        rows=[{"first": "00000", "total": sum(range(ROWS)) / 4, "last": ROWS - 1}],
    ),
    Case(
        "filesystem, a table in Markdown",
        "filesystem",
        "read_text_file",
        reads("table.md", markdown_table),
        shape="wrapped markdown",
        columns=("id", "name"),
    ),
]
TEXTS = [
    Case("filesystem, Markdown", "filesystem", "read_text_file", reads("big.md", markdown_text), shape="text"),
    Case(
        "git diff",
        "git",
        "git_diff",
        lambda programs: {"repo_path": str(programs.repository), "target": "HEAD~1"},
        shape="text",
    ),
    Case("everything, echo", "everything", "echo", lambda programs: {"message": "word, " * 5_000}, shape="text"),
]


@pytest.mark.parametrize("case", TABLES, ids=lambda case: case.name)
async def test_a_table_is_recognised_and_can_be_queried(case: Case, programs: Programs, behind: Behind) -> None:
    client = await behind(case.server)
    seen = said(await client.call_tool(case.tool, case.arguments(programs)))
    answer = await client.call_tool("query_body", {"sql": case.query, "bodies": {"a": seen["resource_url"]}})
    described = text_of(await client.call_tool("describe_body", {"resource_url": seen["resource_url"]}))
    assert (seen["shape"], seen["total_rows"], tuple(seen["columns"])) == (case.shape, ROWS, case.columns)
    assert not answer.is_error, text_of(answer)
    assert rows_in(text_of(answer)) == as_cells(case.rows)
    assert all(name in described for name in case.columns)


@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case.name)
async def test_a_text_stays_that_text(case: Case, programs: Programs, alone: Open, behind: Behind) -> None:
    arguments = case.arguments(programs)
    async with alone(getattr(programs, case.server)) as direct:
        expected = text_of(await direct.call_tool(case.tool, arguments))
    client = await behind(case.server)
    seen = said(await client.call_tool(case.tool, arguments))
    assert seen["shape"] == case.shape
    read = [text_of(await client.call_tool("read_body", {"resource_url": seen["resource_url"], "head": 5}))]
    read += [text_of(await client.call_tool("read_body", {"resource_url": seen["resource_url"], "tail": 3}))]
    assert seen["size"] == len(expected.encode())
    assert expected[:20] in read[0]
    assert expected.rstrip()[-5:] in read[1]


@pytest.mark.parametrize("name", ["big.csv", "big.md", "table.md", "tree.json"])
async def test_a_copy_of_a_file_by_its_url_is_the_file(name: str, programs: Programs, behind: Behind) -> None:
    made = {"big.csv": csv_text, "big.md": markdown_text, "table.md": markdown_table, "tree.json": json_text}[name]
    source, copy = programs.file(name, made), programs.work / f"copy of {name}"
    client = await behind("filesystem")
    seen = said(await client.call_tool("read_text_file", {"path": str(source)}))
    done = await client.call_tool("write_file", {"path": str(copy), "resource_url": seen["resource_url"]})
    assert not done.is_error, text_of(done)
    assert copy.read_bytes() == source.read_bytes()


async def test_small_results_images_and_errors_are_what_they_were(
    programs: Programs, alone: Open, behind: Behind
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("echo", {"message": "small"}),
        ("get-tiny-image", {}),
        ("get-structured-content", {"location": "New York"}),
        ("get-sum", {"a": 1, "b": 2}),
        ("get-sum", {"a": "no number", "b": 2}),
        ("get-resource-links", {"count": 2}),
        ("get-annotated-message", {"messageType": "error", "includeImage": True}),
    ]
    async with alone(programs.everything) as client:
        expected = [await client.call_tool(name, arguments) for name, arguments in calls]
    client = await behind("everything")
    for (name, arguments), direct in zip(calls, expected, strict=True):
        assert (await client.call_tool(name, arguments)).model_dump() == direct.model_dump()


async def test_progress_arrives(behind: Behind) -> None:
    steps: list[float] = []

    async def step(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    client = await behind("everything")
    long = {"duration": 0.2, "steps": 4}
    await client.call_tool("trigger-long-running-operation", long, progress_callback=step)
    assert steps == sorted(steps)
    assert len(steps) >= 4


async def test_a_page_that_was_fetched_is_text(behind: Behind, page_url: str) -> None:
    client = await behind("fetch")
    seen = said(await client.call_tool("fetch", {"url": page_url, "max_length": 900_000}))
    found = await client.call_tool("read_body", {"resource_url": seen["resource_url"], "grep": "Part 777"})
    assert seen["shape"] == "text"
    assert "Part 777" in text_of(found)


@pytest.fixture(scope="module")
def page_url() -> Iterator[str]:
    with serving_pages() as url:
        yield url


def text_of(result: Any) -> str:
    text: str = result.content[0].text
    return text


def said(result: Any) -> dict[str, Any]:
    """What the model is given of an offloaded result."""
    assert not result.is_error, text_of(result)
    shown: dict[str, Any] = json.loads(text_of(result))
    return shown


def rows_in(answer: str) -> list[dict[str, str]]:
    """The rows in the text of query_body, which shows them as CSV above a last line about the whole result."""
    return list(csv.DictReader(io.StringIO(answer[: answer.rindex("[")])))


def as_cells(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Rows as CSV shows them."""
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]


def json_text() -> str:
    return json.dumps({"name": "root", "children": [{"name": f"leaf {n}", "size": n} for n in range(ROWS)]}, indent=1)
