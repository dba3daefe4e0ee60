"""MCP by hand: JSON-RPC lines to a server process over stdio, as any client of the transfer extension writes them."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import forked
from tests.model.holder import Offer
from tests.model.ledger import HarnessError

PATIENCE = 30.0
_EXTENSION = "io.broker-plane/transfer"
_ROOT = Path(__file__).parents[2]
_LINE_BYTES = 64 << 20


@dataclass(frozen=True)
class Said:
    """A result, or the code and the words of an error."""

    result: dict[str, Any]
    code: str = ""


class McpWay:
    """One server process, to which any number of requests are under way."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0

    async def start(self, module: str, **environment: str) -> None:
        forked.fork_server(forked.MCP)
        self._process = await asyncio.create_subprocess_exec(
            *forked.command(module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT), **environment},
            limit=_LINE_BYTES,
        )
        self._reading = asyncio.create_task(self._read())
        declared = {"supportedProtocols": ["http", "https"]}
        await self.ask(
            "initialize",
            protocolVersion="2025-06-18",
            capabilities={"extensions": {_EXTENSION: declared}, "experimental": {}},
            clientInfo={"name": "adversary", "version": "1"},
        )
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def ask(self, method: str, **params: Any) -> Said:
        """The result of a request.

        Raises:
            HarnessError: none came.
        """
        self._number += 1
        number = self._number
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        try:
            said = await asyncio.wait_for(answer, PATIENCE)
        except TimeoutError as error:
            raise HarnessError(f"{method}: no answer") from error
        finally:
            self._waiting.pop(number, None)
        if "error" in said:
            return Said({}, _code_of(said["error"]))
        return Said(said["result"])

    async def offered(self, tool: str, **arguments: Any) -> tuple[str, Offer]:
        """Call a resource tool: the `resource_url` that it gives, and the descriptor's words on it."""
        said = await self.ask("tools/call", name=tool, arguments=arguments)
        if said.code or said.result.get("isError"):
            raise HarnessError(f"{tool}: {said.code or said.result}")
        fields = said.result["_meta"][_EXTENSION]
        offer = Offer(fields["endpoint"], fields["seal"], fields["transfer_id"])
        return said.result["structuredContent"]["resource_url"], offer

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            waiting = self._waiting.get(said.get("id"))
            if waiting is not None and not waiting.done():
                waiting.set_result(said)


def _code_of(error: dict[str, Any]) -> str:
    data = error.get("data")
    code = data.get("code") if isinstance(data, dict) else None
    return str(code or error.get("message") or error.get("code"))
