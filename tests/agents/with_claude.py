"""The Claude Agent SDK: its client, its MCP bridge and its hooks, with a scripted transport in the CLI's place.

The transport does what the CLI does with a tool call: it runs the hooks, sends the call to the SDK's MCP server, and
what is left after the hooks is what the model gets. `get_people` is wrapped by hooks, as a server of the CLI's would
be; `draw` by the decorator.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import anyio
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, Transport, create_sdk_mcp_server, tool
from mcp import Client

from broker_plane.agent.claude import hooks, reading_tools, wrap_tool
from broker_plane.agent.dispatcher import Dispatcher
from tests.agents.scripted import PEOPLE, Script, main

SERVER = "people"


class ScriptedCli(Transport):
    """Plays the CLI: answers the SDK's control requests and makes its own."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._out, self._messages = anyio.create_memory_object_stream[dict[str, Any]](100)
        self._answers: dict[str, Any] = {}
        self._answered: dict[str, anyio.Event] = {}
        self._hooks: dict[str, Any] = {}
        self._count = 0
        self._talk: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        pass

    def is_ready(self) -> bool:
        return True

    async def end_input(self) -> None:
        pass

    async def close(self) -> None:
        if self._talk is not None:
            self._talk.cancel()
        self._out.close()

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        async for message in self._messages:
            yield message

    async def write(self, data: str) -> None:
        message = json.loads(data)
        if message["type"] == "control_request":
            if message["request"]["subtype"] == "initialize":
                self._hooks = message["request"].get("hooks") or {}
            done = {"subtype": "success", "request_id": message["request_id"], "response": {"commands": []}}
            await self._out.send({"type": "control_response", "response": done})
        elif message["type"] == "control_response":
            answer = message["response"]
            self._answers[answer["request_id"]] = answer
            self._answered[answer["request_id"]].set()
        elif message["type"] == "user":
            self._talk = asyncio.create_task(self._converse(message["message"]["content"]))

    async def _ask(self, **request: Any) -> Any:
        self._count += 1
        key = f"cli_{self._count}"
        self._answered[key] = anyio.Event()
        await self._out.send({"type": "control_request", "request_id": key, "request": request})
        await self._answered[key].wait()
        assert self._answers[key]["subtype"] == "success", self._answers[key]
        return self._answers[key].get("response")

    async def _hook(self, event: str, use: str, **given: Any) -> dict[str, Any]:
        """What the hooks of an event say together; only those of the matcher are asked."""
        said: dict[str, Any] = {}
        for matcher in self._hooks.get(event) or []:
            if not re.fullmatch(matcher["matcher"], given["tool_name"]):
                continue
            for callback in matcher["hookCallbackIds"]:
                about = {"hook_event_name": event, "session_id": "s", "transcript_path": "", "cwd": "", **given}
                answer = await self._ask(subtype="hook_callback", callback_id=callback, input=about, tool_use_id=use)
                said |= answer.get("hookSpecificOutput") or {}
        return said

    async def _mcp(self, method: str, **params: Any) -> Any:
        self._count += 1
        message = {"jsonrpc": "2.0", "id": self._count, "method": method, "params": params}
        return (await self._ask(subtype="mcp_message", server_name=SERVER, message=message))["mcp_response"]

    async def _converse(self, prompt: Any) -> None:
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "cli", "version": "1"}}
        await self._mcp("initialize", **hello)
        text = str(prompt)
        while (said := self._script.next(text)) is not None:
            name, arguments = said
            use, tool_name = f"use_{self._script.turn}", f"mcp__{SERVER}__{name}"
            before = await self._hook("PreToolUse", use, tool_name=tool_name, tool_input=arguments)
            arguments = before.get("updatedInput", arguments)
            answer = await self._mcp("tools/call", name=name, arguments=arguments)
            content = answer["result"]["content"]
            after = await self._hook(
                "PostToolUse", use, tool_name=tool_name, tool_input=arguments, tool_response=content
            )
            content = after.get("updatedMCPToolOutput", content)
            self._script.given.said(f"tool_result of {name}", content)
            text = content[0]["text"]
        done = {"subtype": "success", "is_error": False, "num_turns": 1, "session_id": "s", "total_cost_usd": 0}
        await self._out.send({"type": "result", "duration_ms": 1, "duration_api_ms": 1, "result": "done", **done})


async def play(script: Script, dispatcher: Dispatcher | None) -> None:
    async with Client(PEOPLE) as client:

        async def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
            result = await client.call_tool(name, arguments)
            content = [block.model_dump(by_alias=True, exclude_none=True) for block in result.content[:1]]
            return {"content": content, "is_error": bool(result.is_error)}

        async def get(arguments: dict[str, Any]) -> dict[str, Any]:
            return await call("get_people", arguments)

        async def get_all(arguments: dict[str, Any]) -> dict[str, Any]:
            return await call("get_directory", arguments)

        async def consume(arguments: dict[str, Any]) -> dict[str, Any]:
            return await call("draw", arguments)

        taken = {"abstract_data": str, "resource_url": str}
        options = ClaudeAgentOptions()
        if dispatcher:
            options.hooks = hooks(dispatcher, matcher=f"mcp__{SERVER}__(get_.*|read_body)")
        get_people = tool("get_people", "Everybody", {"abstract_domains": str, "mode": str})(get)
        draw = tool("draw", "Draw them", taken)(wrap_tool(dispatcher, "draw")(consume) if dispatcher else consume)
        get_directory = tool("get_directory", "Everybody, from a plain tool", {})(get_all)
        tools = [get_people, get_directory, draw, *(reading_tools(dispatcher) if dispatcher else ())]
        options.mcp_servers = {SERVER: create_sdk_mcp_server(SERVER, tools=tools)}
        async with ClaudeSDKClient(options, transport=ScriptedCli(script)) as session:
            await session.query("Draw team A")
            async for _ in session.receive_response():
                pass


if __name__ == "__main__":
    main(play)
