"""The OpenAI Agents SDK: its runner calls the MCP server by itself, and a function tool is the consumer."""

from __future__ import annotations

import json
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage, function_tool
from agents.mcp import MCPServerStreamableHttp
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from broker_plane.agent.dispatcher import Dispatcher
from broker_plane.agent.openai_agents import reading_tools, wrap_server, wrap_tool
from tests.agents.scripted import PEOPLE, Script, main


class Scripted(Model):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def get_response(self, system_instructions: Any, input: Any, *rest: Any, **options: Any) -> ModelResponse:
        self._script.given.said("input", input)
        said = self._script.next(_last(input))
        turn = self._script.turn
        if said is None:
            text = ResponseOutputText(type="output_text", text="done", annotations=[])
            out: Any = ResponseOutputMessage(
                id=f"m{turn}", type="message", role="assistant", status="completed", content=[text]
            )
        else:
            arguments = json.dumps(said[1])
            out = ResponseFunctionToolCall(
                type="function_call", call_id=f"c{turn}", name=said[0], arguments=arguments, id=f"f{turn}"
            )
        return ModelResponse(output=[out], usage=Usage(), response_id=None)

    def stream_response(self, *rest: Any, **options: Any) -> Any:
        raise NotImplementedError


def _last(given: Any) -> str:
    """The text of the newest item: a message, or what a tool gave."""
    if isinstance(given, str):
        return given
    output = given[-1].get("output", "")
    if isinstance(output, list):
        return str(output[0].get("text", ""))
    found = json.loads(output) if output.startswith('{"type"') else output
    return str(found["text"] if isinstance(found, dict) and "text" in found else output)


async def play(script: Script, dispatcher: Dispatcher | None) -> None:
    async with MCPServerStreamableHttp(params={"url": PEOPLE}, client_session_timeout_seconds=60) as server:
        unwrapped = server.call_tool

        async def draw(abstract_data: str, resource_url: str = "", body_data: str = "") -> str:
            """Draw them."""
            handed = {"abstract_data": abstract_data, "resource_url": resource_url, "body_data": body_data}
            result = await unwrapped("draw", handed)
            return str(result.content[0].text)

        consumer: Any = function_tool(draw, strict_mode=False)
        server.tool_filter = {"allowed_tool_names": ["get_people", "get_directory"]}
        reading: list[Any] = []
        if dispatcher:
            reading = reading_tools(dispatcher)
            wrap_server(dispatcher, server)
            consumer = wrap_tool(dispatcher, consumer)
        agent = Agent(name="scripted", model=Scripted(script), tools=[consumer, *reading], mcp_servers=[server])
        await Runner.run(agent, "Draw team A", run_config=RunConfig(tracing_disabled=True))


if __name__ == "__main__":
    main(play)
