"""What every demo uses: servers as subprocesses, tool calls as an agent makes them, and cleanup."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from json import loads
from pathlib import Path
from typing import Any, TypeVar

import orjson
from mcp import Client, MCPError, StdioServerParameters
from mcp.types import CallToolResult, ResourceLink, TextContent

from broker_plane.errors import BrokerPlaneError
from broker_plane.testing.embedded import stop

from .account import Answer, Run
from .around import saying_what_runs
from .bars import Now
from .report import report

T = TypeVar("T")

_PACKAGE = __package__ or "demos"
_ROOT = Path(__file__).resolve().parents[_PACKAGE.count(".") + 1]
"""The directory from which this package is imported: the checkout, or site-packages."""


class DemoError(Exception):
    """The demo cannot continue; the message is one line for its user."""


def server(name: str) -> StdioServerParameters:
    """Return how to start `servers/<name>.py` of this installation: `python -m`, over stdio, with this environment."""
    spelled, path = module(f"servers.{name}")
    return StdioServerParameters(command=sys.executable, args=["-m", spelled], env={**os.environ, "PYTHONPATH": path})


def module(name: str) -> tuple[str, str]:
    """Return the name of a module of servers/ or demos/ for `python -m`, and its PYTHONPATH."""
    package = _PACKAGE.rpartition(".")[0]
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
    return f"{package}.{name}" if package else name, path


@asynccontextmanager
async def servers(*names: str) -> AsyncIterator[list[Client]]:
    """Yield a client per server, in order; the servers are ended after the block, also after Ctrl-C."""
    clients = [Client(server(name)) for name in names]
    end = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as tasks:
            ready = [asyncio.get_running_loop().create_future() for _ in clients]
            for client, entered in zip(clients, ready, strict=True):
                tasks.create_task(_hold(client, entered, end))
            await asyncio.gather(*ready)
            try:
                yield clients
            finally:
                end.set()
    except BaseExceptionGroup as group:
        raise first(group) from group  # task group and client wrap errors in groups


async def _hold(client: Client, entered: asyncio.Future[None], end: asyncio.Event) -> None:
    """Keep one client open, in a task of its own, so that the servers start at the same time."""
    async with client:
        entered.set_result(None)
        await end.wait()


def first(error: BaseException) -> BaseException:
    """Return the first error in nested exception groups."""
    return first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


async def call(client: Client, tool: str, arguments: Mapping[str, Any], now: Now) -> Answer:
    """Call a tool as an agent does; progress that the server reports is shown in the bar of this step.

    Raises:
        DemoError: the tool failed; the message is the tool's.
    """
    result = await client.call_tool(tool, dict(arguments), progress_callback=now.tell)
    if not isinstance(result, CallToolResult):
        raise DemoError(f"{tool} requested input, which a demo cannot give")
    text = "".join(block.text for block in result.content if isinstance(block, TextContent))
    if result.is_error:
        raise DemoError(f"{tool}: {text}")
    links = [block for block in result.content if isinstance(block, ResourceLink)]
    structured = orjson.dumps(result.structured_content) if result.structured_content is not None else b""
    return Answer(text, loads(text), len(structured), sum(link.size or 0 for link in links))


def perform(
    story: Coroutine[Any, Any, T],
    report: Callable[[T], None],
    is_right: Callable[[T], bool],
    around: AbstractContextManager[object] | None = None,
) -> int:
    """Play a story inside `around` and report what it returns; 0 if that `is_right`, 1 if not, 130 after Ctrl-C.

    Without `around`, a private broker that still runs afterwards is named.
    """
    try:
        with around or saying_what_runs():
            told = asyncio.run(story)
    except KeyboardInterrupt:
        print("Stopped; what the demo started has ended", file=sys.stderr)
        return 130
    except (BrokerPlaneError, DemoError) as error:
        print(error, file=sys.stderr)
        return 1
    except MCPError as error:
        print(f"A server did not answer ({error}); its output is above", file=sys.stderr)
        return 1
    report(told)
    return 0 if is_right(told) else 1


def play(story: Coroutine[Any, Any, list[Run]], *, json: bool) -> int:
    """Run a story of runs and report them; 0 if every body was verified."""
    return perform(story, lambda runs: report(runs, json=json), lambda runs: all(run.digest_verified for run in runs))


@contextmanager
def own_broker(scratch: Path) -> Iterator[None]:
    """After the block, stop the private broker whose directory is `plane` in `scratch`."""
    try:
        yield
    finally:
        stop(scratch / "plane")
