"""The MCP SDK alone: PlaneClient stands between the model and the server."""

from __future__ import annotations

from mcp import Client

from broker_plane.agent.client import PlaneClient
from broker_plane.agent.dispatcher import Dispatcher
from tests.agents.scripted import PEOPLE, Script, main


async def play(script: Script, dispatcher: Dispatcher | None) -> None:
    async with Client(PEOPLE) as client:
        agent = PlaneClient(client, dispatcher)
        listed = [*(await client.list_tools()).tools, *agent.reading_tools()]
        assert {tool.name for tool in listed} >= {"get_directory", "read_body", "describe_body"}
        text = "Draw team A"
        while (said := script.next(text)) is not None:
            result = await client.call_tool(*said) if dispatcher is None else await agent.call(*said)
            assert result.content[0].type == "text"
            text = result.content[0].text


if __name__ == "__main__":
    main(play)
