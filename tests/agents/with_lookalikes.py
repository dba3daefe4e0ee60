"""Every adapter is given each look-alike by a tool of its framework; the names of those that it changed."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from agents import function_tool
from agents.tool_context import ToolContext
from claude_agent_sdk import tool as claude_tool
from langchain_core.tools import tool
from mcp.types import CallToolResult, TextContent

from broker_plane.agent import claude, langchain, openai_agents
from broker_plane.agent.dispatcher import Dispatcher
from tests.agents.lookalikes import LOOKALIKES, SPLIT


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


async def by_claude(value: Any) -> Any:
    given = {"content": [{"type": "text", "text": text_of(value)}]}

    @claude_tool("get", "…", {})
    @claude.wrap_tool(Dispatcher(), "get")
    async def get(args: dict[str, Any]) -> dict[str, Any]:
        return given

    return (await get.handler({}))["content"][0]["text"]


async def by_claudes_hooks(value: Any) -> Any:
    (matcher,) = claude.hooks(Dispatcher())["PostToolUse"]
    block = [{"type": "text", "text": text_of(value)}]
    answer = await matcher.hooks[0]({"tool_name": "mcp__x__get", "tool_response": block}, "1", None)
    seen = answer.get("hookSpecificOutput", {}).get("updatedMCPToolOutput", block)
    return seen[0]["text"]


async def by_openai(value: Any) -> Any:
    def get() -> Any:
        """Get it."""
        return text_of(value)

    wrapped = openai_agents.wrap_tool(Dispatcher(), function_tool(get, strict_mode=False))
    context = ToolContext(context=None, tool_name="get", tool_call_id="1", tool_arguments="{}")
    return await wrapped.on_invoke_tool(context, "{}")


async def by_openais_server(value: Any) -> Any:
    class Server:
        async def call_tool(self, name: str, arguments: Any) -> CallToolResult:
            structured = value if isinstance(value, dict) else {"result": value}
            block = TextContent(type="text", text=text_of(value))
            return CallToolResult(content=[block], structured_content=structured)

    server = openai_agents.wrap_server(Dispatcher(), Server())
    result = await server.call_tool("get", {})
    structured = value if isinstance(value, dict) else {"result": value}
    return result.content[0].text if result.structured_content == structured else str(result.structured_content)


async def by_langchain(value: Any) -> Any:
    @tool(response_format="content_and_artifact")
    async def get() -> tuple[str, Any]:
        """Get it."""
        return text_of(value), value

    message = await langchain.wrap_tool(Dispatcher(), get).ainvoke(
        {"args": {}, "id": "1", "name": "get", "type": "tool_call"}
    )
    return message.content if message.artifact == value else str(message.artifact)


async def by_langchains_plain_tool(value: Any) -> Any:
    @tool
    def get() -> str:
        """Get it."""
        return text_of(value)

    return langchain.wrap_tool(Dispatcher(), get).invoke({})


ADAPTERS = (by_claude, by_claudes_hooks, by_openai, by_openais_server, by_langchain, by_langchains_plain_tool)


async def main() -> dict[str, Any]:
    changed, leaked = [], []
    for adapter in ADAPTERS:
        for name, value in LOOKALIKES.items():
            if await adapter(value) != text_of(value):
                changed.append(f"{adapter.__name__}: {name}")
        for name, value in SPLIT.items():
            if "ddi://" not in str(await adapter(value)):
                leaked.append(f"{adapter.__name__}: {name}")
    return {"adapters": len(ADAPTERS), "changed": changed, "leaked": leaked}


if __name__ == "__main__":
    sys.stdin.read()
    print(json.dumps(asyncio.run(main())))
