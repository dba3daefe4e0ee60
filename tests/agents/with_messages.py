"""LangChain tools that return messages and commands: what the model would read of them."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.types import Command

from broker_plane.agent.dispatcher import Dispatcher
from broker_plane.agent.langchain import wrap_tool

LOG = "".join(f"line {n} of a log\n" for n in range(60_000))


def message(content: Any) -> ToolMessage:
    return ToolMessage(content=content, tool_call_id="c1", artifact={"kept": LOG})


@tool
def get_message() -> Any:
    """A message."""
    return message(LOG)


@tool
async def get_blocks() -> Any:
    """A message with blocks."""
    return message([{"type": "text", "text": LOG}, {"type": "image_url", "image_url": {"url": "data:,x"}}])


@tool
def get_command() -> Any:
    """A command that changes the state as well."""
    return Command(update={"messages": [message(LOG)], "rows": LOG}, goto="next")


@tool
async def get_command_later() -> Any:
    """The same, awaited."""
    return Command(update={"messages": [message(LOG)], "rows": LOG}, goto="next")


async def main() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in (get_message, get_blocks, get_command, get_command_later):
        dispatcher = Dispatcher()
        wrapped = wrap_tool(dispatcher, each)
        result = await wrapped.ainvoke({}) if each.coroutine else wrapped.invoke({})
        seen = result.update["messages"][0] if isinstance(result, Command) else result
        text = json.dumps(seen.content)
        found[each.name] = {
            "held": len(text) < 3000 and "ddi://held/" in text,
            "kept": seen.artifact == {"kept": LOG} and seen.tool_call_id == "c1",
            "state": not isinstance(result, Command) or (result.update["rows"] == LOG and result.goto == "next"),
            "recorded": dispatcher.transcript.tokens < 3000,
        }
    return found


if __name__ == "__main__":
    sys.stdin.read()
    print(json.dumps(asyncio.run(main())))
