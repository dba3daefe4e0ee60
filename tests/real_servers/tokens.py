"""`python -m tests.real_servers.tokens`: what ten tasks over six published servers cost an agent in tokens, four ways.

Each task is a call and a question about its result. A token is four bytes of UTF-8; counted is everything that goes
through the model from the call on: the arguments that it writes, and the texts that it is given.

- *no plane*: the whole result, once. A result that is handed on to another tool is written a second time.
- *file*: the client saves a result above 10,000 tokens to a file, as some clients do, and shows its path and first
  2,000 characters. The agent has a tool that greps a file and one that reads a range of its lines, and no shell: a
  question about all rows needs the whole file.
- *mcp-refcache*: its own answers for the same value, from its package; the agent reads pages of 100 items until it has
  what the question needs.
- *ours*: the server behind `broker-plane proxy`, with the tools that read on. All of it is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mcp import Client, StdioServerParameters
from rich.console import Console
from rich.table import Table

from tests.interop.environments import python_with
from tests.proxy.conftest import ROOT
from tests.proxy.conftest import STARTED_PROXY as PROXY
from tests.real_servers.pages import serving_pages
from tests.real_servers.programs import Programs, csv_text, markdown_text

Need = Literal["all", "lines", "copy", "small"]
"""What a question needs of the result: every row, some lines that a search finds, a copy elsewhere, or it is small."""

FILE_TOKENS, FILE_SHOWN = 10_000, 2_000
_PAGE = 100
_REFCACHE = """
import json, sys
from mcp_refcache import RefCache
value = json.load(sys.stdin)
cache = RefCache(name="measured")
reference = cache.set("value", value)
first = cache.get(reference.ref_id)
pages = []
if isinstance(value, list):
    for number in range(1, (len(value) + PAGE - 1) // PAGE + 1):
        pages.append(len(cache.get(reference.ref_id, page=number, page_size=PAGE).model_dump_json()))
print(json.dumps({"first": len(first.model_dump_json()), "pages": pages}))
""".replace("PAGE", str(_PAGE))


@dataclass(frozen=True)
class Task:
    """One task: `ours` are the calls of tools that answer the question, given the `resource_url`."""

    question: str
    server: str
    tool: str
    arguments: Callable[[Programs], dict[str, Any]]
    need: Need
    pattern: str = ""
    """Finds the lines that answer the question, for `lines`."""
    ours: Callable[[str], list[tuple[str, dict[str, Any]]]] = lambda url: []


def _sql(sql: str) -> Callable[[str], list[tuple[str, dict[str, Any]]]]:
    return lambda url: [("query_body", {"sql": sql, "bodies": {"a": url}})]


def _grep(pattern: str) -> Callable[[str], list[tuple[str, dict[str, Any]]]]:
    return lambda url: [("read_body", {"resource_url": url, "grep": pattern, "max_tokens": 500})]


def _file(name: str, made: Callable[[], str]) -> Callable[[Programs], dict[str, Any]]:
    return lambda programs: {"path": str(programs.file(name, made))}


_SALES = """
select i as id, ['AA', 'DL', 'UA'][i % 3 + 1] as carrier, (i * 7919) % 400 as delay,
       date '2026-01-01' + (i % 365)::integer as day
from range(30000) t(i)
"""
TASKS = (
    Task(
        "Revenue of all orders",
        "sqlite",
        "read_query",
        lambda programs: {"query": "select * from orders"},
        "all",
        ours=_sql("select sum(price) from a"),
    ),
    Task(
        "The order with id 1234",
        "sqlite",
        "read_query",
        lambda programs: {"query": "select * from orders"},
        "lines",
        r"'id': 1234,",
        ours=_sql("select * from a where id = 1234"),
    ),
    Task(
        "Mean delay by carrier, 30,000 rows",
        "motherduck",
        "execute_query",
        lambda programs: {"sql": _SALES},
        "all",
        ours=_sql("select carrier, avg(delay) from a group by carrier"),
    ),
    Task(
        "The worst day, 30,000 rows",
        "motherduck",
        "execute_query",
        lambda programs: {"sql": _SALES},
        "all",
        ours=_sql("select day, sum(delay) from a group by day order by 2 desc limit 1"),
    ),
    Task(
        "Copy a CSV file to another place",
        "filesystem",
        "read_text_file",
        _file("big.csv", csv_text),
        "copy",
        ours=lambda url: [("write_file", {"path": "COPY", "resource_url": url})],
    ),
    Task(
        "Sum of a column of a CSV file",
        "filesystem",
        "read_text_file",
        _file("big.csv", csv_text),
        "all",
        ours=_sql("select sum(price) from a"),
    ),
    Task(
        "One section of a handbook",
        "filesystem",
        "read_text_file",
        _file("big.md", markdown_text),
        "lines",
        r"part 777,",
        ours=_grep("part 777,"),
    ),
    Task(
        "The first change in a large diff",
        "git",
        "git_diff",
        lambda programs: {"repo_path": str(programs.repository), "target": "HEAD~1"},
        "lines",
        r"^\+2000$",
        ours=_grep(r"^\+2000$"),
    ),
    Task(
        "A word in a web page",
        "fetch",
        "fetch",
        lambda programs: {"url": os.environ["MEASURED_PAGE"], "max_length": 900_000},
        "lines",
        r"Part 777\b",
        ours=_grep("Part 777"),
    ),
    Task("A sum of two numbers", "everything", "get-sum", lambda programs: {"a": 1, "b": 2}, "small"),
)


def tokens(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts) // 4


def _text(result: Any) -> str:
    return "".join(block.text for block in result.content if block.type == "text")


async def _without(task: Task, programs: Programs) -> str:
    command = getattr(programs, task.server)
    async with Client(StdioServerParameters(command=command[0], args=command[1:], cwd=programs.work)) as client:
        return _text(await client.call_tool(task.tool, task.arguments(programs)))


async def _ours(task: Task, programs: Programs, environment: dict[str, str]) -> int:
    options = ["--consumer", "write_file:content"] if task.need == "copy" else []
    arguments = [*PROXY[1:], *options, "--", *getattr(programs, task.server)]
    server = StdioServerParameters(command=PROXY[0], args=arguments, env=environment, cwd=ROOT)
    given = task.arguments(programs)
    async with Client(server) as client:
        result = await client.call_tool(task.tool, given)
        spent = tokens(task.tool, json.dumps(given), _text(result))
        url = _url_in(_text(result))
        if not url:  # below the threshold, so that the agent has the whole result
            return spent + (tokens(_text(result)) if task.need == "copy" else 0)
        for tool, more in task.ours(url):
            call = {**more, "path": str(programs.work / "copy")} if "path" in more else more
            answer = await client.call_tool(tool, call)
            assert not answer.is_error, _text(answer)
            spent += tokens(tool, json.dumps(call), _text(answer))
    return spent


def _url_in(text: str) -> str:
    """The `resource_url` of a result that was published; empty for any other."""
    try:
        shown = json.loads(text)
    except ValueError:
        return ""
    found = shown.get("resource_url", "") if isinstance(shown, dict) else ""
    return str(found)


def _no_plane(task: Task, call: int, text: str) -> int:
    return call + tokens(text) * (2 if task.need == "copy" else 1)


def _in_file(task: Task, call: int, text: str) -> int:
    whole = tokens(text)
    if whole <= FILE_TOKENS:
        return _no_plane(task, call, text)
    shown = call + tokens(text[:FILE_SHOWN]) + 50
    if task.need == "lines":
        return shown + tokens(_found(task, text)) + 50
    return shown + _no_plane(task, 50, text)


def _found(task: Task, text: str) -> str:
    """What a search shows: the matching lines, of a text without lines the 2,000 characters around the match."""
    match = re.search(task.pattern, text, re.MULTILINE)
    assert match is not None, task.question
    line = text[text.rfind("\n", 0, match.start()) + 1 : (text.find("\n", match.end()) + 1 or len(text))]
    return line if len(line) <= FILE_SHOWN else line[:FILE_SHOWN]


def _refcache(task: Task, call: int, text: str, python: Path) -> int:
    value = _as_value(text)
    done = subprocess.run(
        [python, "-c", _REFCACHE], input=json.dumps(value), capture_output=True, text=True, check=True, timeout=120
    )
    sizes: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    first: int = sizes["first"]
    pages: list[int] = sizes["pages"]
    spent = call + first // 4
    if task.need == "small" or (isinstance(value, str) and first // 4 >= tokens(text)):
        return spent + (tokens(text) if task.need == "copy" else 0)
    if not pages:
        return spent + _no_plane(task, 0, text)
    if task.need == "lines":
        wanted = next(number for number, row in enumerate(value) if re.search(task.pattern, str(row)))
        pages = pages[: wanted // _PAGE + 1]
    return spent + sum(size // 4 + 20 for size in pages) + (tokens(text) if task.need == "copy" else 0)


def _as_value(text: str) -> Any:
    """What a tool with mcp-refcache would have returned: a list of rows where the text is one, else the text."""
    from broker_plane.shapes.recognise import recognise_text
    from broker_plane.tabular.json_values import json_value

    found = recognise_text(text)
    return json_value(found.rows) if hasattr(found, "rows") else text


async def measured(programs: Programs, environment: dict[str, str]) -> list[tuple[Task, Sequence[int]]]:
    """Each task with its tokens: no plane, file, mcp-refcache, ours."""
    python = python_with("refcache", "mcp-refcache==0.2.1")
    rows: list[tuple[Task, Sequence[int]]] = []
    for task in TASKS:
        text = await _without(task, programs)
        call = tokens(task.tool, json.dumps(task.arguments(programs)))
        ours = await _ours(task, programs, environment)
        figures = (_no_plane(task, call, text), _in_file(task, call, text), _refcache(task, call, text, python), ours)
        rows.append((task, figures))
    return rows


def main() -> int:
    """Measure, and print the table."""
    with tempfile.TemporaryDirectory() as directory, serving_pages() as url:
        os.environ["MEASURED_PAGE"] = url
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
        environment = kept | {"BROKER_PLANE_DATA_DIR": f"{directory}/data", "PYTHONPATH": str(ROOT)}
        work = Path(directory).resolve() / "work"
        work.mkdir()
        try:
            _print(asyncio.run(measured(Programs(work), environment)))
        finally:
            subprocess.run([*PROXY[:3], "down"], env=environment, check=False, capture_output=True)
    return 0


def _print(rows: list[tuple[Task, Sequence[int]]]) -> None:
    table = Table("task", "server", "no plane", "file", "mcp-refcache", "ours", title="tokens")
    for task, figures in rows:
        table.add_row(task.question, task.server, *(f"{figure:,}" for figure in figures))
    Console(width=110).print(table)
    for task, figures in rows:  # as docs/tokens.md has it
        print(f"| {task.question} | {task.server} | {' | '.join(f'{figure:,}' for figure in figures)} |")


if __name__ == "__main__":
    sys.exit(main())
