"""The stage of every story: servers as subprocesses, calls as an agent makes them, and an end that cleans up."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from json import loads
from pathlib import Path
from typing import Any

import orjson
from mcp import Client, MCPError, StdioServerParameters
from mcp.types import CallToolResult, ResourceLink, TextContent

from .account import Answer, Run
from .around import saying_what_runs
from .bars import Now
from .report import report

_PACKAGE = __package__ or "demos"
_ROOT = Path(__file__).resolve().parents[_PACKAGE.count(".") + 1]
"""The directory from which this package is imported: the checkout, or site-packages."""


class DemoError(Exception):
    """The story cannot go on; the message is one line for the one who runs it."""


def server(name: str) -> StdioServerParameters:
    """How to start `servers/<name>.py` of this installation: `python -m`, over stdio, with this environment."""
    spelled, path = module(f"servers.{name}")
    return StdioServerParameters(command=sys.executable, args=["-m", spelled], env={**os.environ, "PYTHONPATH": path})


def module(name: str) -> tuple[str, str]:
    """How a module of servers/ or demos/ of this installation is spelled for `python -m`, and its PYTHONPATH."""
    package = _PACKAGE.rpartition(".")[0]
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
    return f"{package}.{name}" if package else name, path


@asynccontextmanager
async def servers(*names: str) -> AsyncIterator[list[Client]]:
    """A client for each server, in their order; they are ended on the way out, also after Ctrl-C."""
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
        raise first(group) from group  # task group and client each wrap what passes through them


async def _hold(client: Client, entered: asyncio.Future[None], end: asyncio.Event) -> None:
    """Hold one client open. In a task of its own, so that the servers start at the same time."""
    async with client:
        entered.set_result(None)
        await end.wait()


def first(error: BaseException) -> BaseException:
    """The first error in the groups that a client wraps what passes through it in."""
    return first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


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
    return Answer(text, loads(text), len(structured), sum(link.size or 0 for link in links))


def play(story: Coroutine[Any, Any, list[Run]], *, json: bool) -> int:
    """Run the story to its end and report; 0 if every body was verified, 1 if not, 130 after Ctrl-C."""
    try:
        with saying_what_runs():
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
