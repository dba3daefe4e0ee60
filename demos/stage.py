"""What the stories share: servers as subprocesses, calls that are timed and counted, and the report at the end.

The one rule: a number in the report was seen here. What the plane saves is measured against the source's own rows,
which are read beside the plane and never sent.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import orjson
from mcp import Client, MCPError, StdioServerParameters
from mcp.types import CallToolResult, ResourceLink, TextContent
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

TOKEN_BYTES = 4
COUNTED = "text blocks of the resource result, the consumer's arguments and its result; 1 token = 4 UTF-8 bytes"
T = TypeVar("T")
_BAR_ROWS = 5_000
PASSED_ON = ("abstract_data", "resource_url", "body_data")
"""Arguments that exist only because of the plane."""
_PACKAGE = __package__ or "demos"
_ROOT = Path(__file__).resolve().parents[_PACKAGE.count(".") + 1]
"""The directory from which this package is imported: the checkout, or site-packages."""
_LINES = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


class DemoError(Exception):
    """The story cannot go on; the message is one line for the one who runs it."""


# ── servers and calls ──────────────────────────────────────────────────────────────────────────────────────


def server(name: str) -> StdioServerParameters:
    """How to start `servers/<name>.py` of this installation: `python -m`, over stdio, with this environment."""
    package = _PACKAGE.rpartition(".")[0]
    module = f"{package}.servers.{name}" if package else f"servers.{name}"
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
    return StdioServerParameters(command=sys.executable, args=["-m", module], env={**os.environ, "PYTHONPATH": path})


@asynccontextmanager
async def servers(*names: str) -> AsyncIterator[list[Client]]:
    """A client for each server, in their order; they are ended on the way out, also after Ctrl-C."""
    try:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(Client(server(name))) for name in names]
    except BaseExceptionGroup as group:
        raise _first(group) from group  # each client wraps what passes through it in a group of one


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


@dataclass(frozen=True)
class Answer:
    """A tool result as the agent sees it: its text, what it says, and the bytes that were counted apart."""

    text: str
    said: dict[str, Any]
    structured_bytes: int
    body_bytes: int


async def call(client: Client, tool: str, arguments: Mapping[str, Any], now: Now) -> Answer:
    """Call a tool as an agent does; what the server reports meanwhile goes to the bar of this step.

    Raises:
        DemoError: the tool refused; its own words.
    """
    result = await client.call_tool(tool, dict(arguments), progress_callback=now.tell)
    if not isinstance(result, CallToolResult):
        raise DemoError(f"{tool} asked for input, and there is nobody here to give it")
    text = "".join(block.text for block in result.content if isinstance(block, TextContent))
    if result.is_error:
        raise DemoError(f"{tool}: {text}")
    links = [block for block in result.content if isinstance(block, ResourceLink)]
    structured = orjson.dumps(result.structured_content) if result.structured_content is not None else b""
    return Answer(text, orjson.loads(text), len(structured), sum(link.size or 0 for link in links))


# ── what is counted ────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Source:
    """What the source itself holds: rows, the bytes of their plain JSON, and the checksum of servers/checksum.py."""

    rows: int = 0
    plain_bytes: int = 1
    checksum: str = ""


def read_source(rows: Iterable[Mapping[str, Any]]) -> Source:
    """Count what the rows would be as a plain tool result, and what their checksum must be. Holds one row at a time."""
    seen, digest = Source(), sha256()
    for row in rows:
        line = orjson.dumps(row, option=_LINES)
        digest.update(line)
        seen.plain_bytes += len(line)  # the line's end counts as the comma, the last one as the bracket
        seen.rows += 1
    seen.checksum = digest.hexdigest()
    return seen


@dataclass(frozen=True)
class Step:
    """One thing that the agent did."""

    name: str
    ms: float
    rows: int | None = None
    bytes: int | None = None


@dataclass
class Run:
    """One telling of a story, with all that the report needs."""

    demo: str
    mode: str
    rows_total: int = 0
    rows_arrived: int = 0
    digest_verified: bool = False
    bytes_body: int = 0
    bytes_structured: int = 0
    with_plane: int = 0
    without_plane: int = 0
    to_model: int = 0
    chart: str = ""
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Now]:
        """Time a step; what was seen in it goes into what it yields."""
        with working(f"{self.demo}: {name}") as now:
            began = perf_counter()
            yield now
            self.steps.append(Step(name, round((perf_counter() - began) * 1000, 1), now.rows, now.bytes))

    def count(
        self, found: Answer, arguments: dict[str, Any], shown: Answer, *, plain: int, held: tuple[str, str] = ("", "")
    ) -> None:
        """Add up what passed through the agent, and what would have: `plain` bytes as a result and as an argument.

        `held` names the members of result and arguments that a host may keep away from its model.
        """
        passed = {name: value for name, value in arguments.items() if name not in PASSED_ON}
        answer = _size(shown.text)
        self.bytes_body = found.body_bytes
        self.bytes_structured = found.structured_bytes + shown.structured_bytes
        self.with_plane = _size(found.text) + _size(arguments) + answer
        self.without_plane = plain + plain + _size(passed) + answer
        kept = _size(found.said.get(held[0], "")) + _size(arguments.get(held[1], ""))
        self.to_model = self.with_plane - (kept if held[0] in found.said else 0)

    def as_json(self) -> dict[str, Any]:
        tokens = {"with": _tokens(self.with_plane), "without": _tokens(self.without_plane)}
        saved = 100 * (1 - tokens["with"] / tokens["without"]) if tokens["without"] else 0.0
        return {
            "demo": self.demo,
            "mode": self.mode,
            "rows_total": self.rows_total,
            "rows_arrived": self.rows_arrived,
            "digest_verified": self.digest_verified,
            "bytes_body": self.bytes_body,
            "bytes_structured": self.bytes_structured,
            "tokens": {
                **tokens,
                "saved_percent": round(saved, 4),
                "to_model": _tokens(self.to_model),
                "counted": COUNTED,
            },
            "steps": [{key: value for key, value in vars(step).items() if value is not None} for step in self.steps],
            "chart": self.chart,
        }


def _size(value: Any) -> int:
    return len(value.encode() if isinstance(value, str) else orjson.dumps(value))


def _tokens(size: int) -> int:
    return -(-size // TOKEN_BYTES)


# ── telling it ─────────────────────────────────────────────────────────────────────────────────────────────


class Now:
    """The step that is going on: what was seen in it, and the bar that a person watches meanwhile."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self.rows: int | None = None
        self.bytes: int | None = None
        self._bar, self._task = bar, task

    async def tell(self, progress: float, total: float | None, message: str | None) -> None:
        """What a server reports of its progress."""
        self._bar.update(self._task, completed=progress, total=total)

    def watched(self, rows: Iterable[T], total: int) -> Iterator[T]:
        """The same rows; the bar moves with them."""
        for done, row in enumerate(rows):
            if done % _BAR_ROWS == 0:
                self._bar.update(self._task, completed=done, total=total)
            yield row


@contextmanager
def working(text: str) -> Iterator[Now]:
    """A moving bar on stderr while the work lasts, if a person watches."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Now(bar, bar.add_task(text, total=None))


def play(story: Coroutine[Any, Any, list[Run]], *, json: bool) -> int:
    """Run the story to its end and report; 0 if every body was verified, 1 if not, 130 after Ctrl-C."""
    try:
        runs = asyncio.run(story)
    except KeyboardInterrupt:
        print("Stopped; the servers are ended", file=sys.stderr)
        return 130
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    except MCPError as error:
        print(f"A server did not answer ({error}); what it said stands above", file=sys.stderr)
        return 1
    report(runs, json=json)
    return 0 if all(run.digest_verified for run in runs) else 1


def report(runs: list[Run], *, json: bool) -> None:
    """One JSON object (the largest run, and all of them under `runs`), or tables."""
    if json:
        told = [run.as_json() for run in runs]
        print(orjson.dumps({**max(told, key=lambda one: one["rows_total"]), "runs": told}).decode())
        return
    console = Console()
    for run in runs:
        console.print(_steps_table(run))
        console.print(_tokens_table(run))
        proof = "verified" if run.digest_verified else "[bold red]NOT verified[/]"
        console.print(f"{run.rows_arrived:,} of {run.rows_total:,} rows arrived, {proof}. Chart: {run.chart}\n")
    console.print(f"Counted: {COUNTED}. Structured content and images are counted apart.")


def _steps_table(run: Run) -> Table:
    table = Table("step", title=f"{run.demo}, {run.mode}, {run.rows_total:,} rows", title_justify="left")
    for heading in ("rows", "bytes", "ms"):
        table.add_column(heading, justify="right")
    for step in run.steps:
        table.add_row(step.name, _number(step.rows), _number(step.bytes), f"{step.ms:,.1f}")
    return table


def _tokens_table(run: Run) -> Table:
    tokens = run.as_json()["tokens"]
    table = Table("through the agent", title_justify="left")
    table.add_column("bytes", justify="right")
    table.add_column("tokens", justify="right")
    table.add_row("without the plane", _number(run.without_plane), _number(tokens["without"]))
    table.add_row(f"with the plane ({run.mode})", _number(run.with_plane), _number(tokens["with"]))
    if run.to_model != run.with_plane:
        table.add_row("… where the host holds the body back", _number(run.to_model), _number(tokens["to_model"]))
    table.add_row("structured content, apart", _number(run.bytes_structured), "")
    table.add_row("body over the broker", _number(run.bytes_body), "", end_section=True)
    table.add_row("saved", "", f"{tokens['saved_percent']:.3f} %")
    return table


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
