"""LangGraph: a graph of a scripted chat model and a ToolNode, whose resource tool gives content and artifact."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import END, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from mcp import Client

from broker_plane.agent.dispatcher import Dispatcher
from broker_plane.agent.langchain import reading_tools, tool_node
from tests.agents.scripted import PEOPLE, Script, main


class Model(BaseChatModel):
    """Says what the script says; keeps the messages, as they would go out."""

    script: Any

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *rest: Any, **options: Any) -> ChatResult:
        for message in messages:
            self.script.given.said(message.type, message.model_dump(include={"content", "tool_calls", "name"}))
        said = self.script.next(str(messages[-1].content))
        calls = [] if said is None else [{"name": said[0], "args": said[1], "id": f"call_{self.script.turn}"}]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content="", tool_calls=calls))])


async def play(script: Script, dispatcher: Dispatcher | None) -> None:
    async with Client(PEOPLE) as client:

        @tool(response_format="content_and_artifact")
        async def get_people(abstract_domains: str = "", mode: str = "async") -> tuple[str, Any]:
            """Everybody."""
            result = await client.call_tool("get_people", {"abstract_domains": abstract_domains, "mode": mode})
            return result.content[0].text, result.structured_content  # type: ignore[union-attr]

        @tool(response_format="content_and_artifact")
        async def get_directory() -> tuple[str, Any]:
            """Everybody, from a plain tool."""
            result = await client.call_tool("get_directory", {})
            return result.content[0].text, result.structured_content  # type: ignore[union-attr]

        @tool
        async def draw(abstract_data: str, resource_url: str = "", body_data: str = "") -> str:
            """Draw them."""
            handed = {"abstract_data": abstract_data, "resource_url": resource_url, "body_data": body_data}
            result = await client.call_tool("draw", handed)
            return str(result.content[0].text)  # type: ignore[union-attr]

        tools = [get_people, get_directory, draw, *(reading_tools(dispatcher) if dispatcher else ())]
        graph = StateGraph(MessagesState)
        model = Model(script=script)

        async def think(state: MessagesState) -> Any:
            return {"messages": [await model.ainvoke(state["messages"])]}

        graph.add_node("model", think)
        graph.add_node("tools", tool_node(tools, dispatcher) if dispatcher else ToolNode(tools))
        graph.set_entry_point("model")
        graph.add_conditional_edges("model", tools_condition, {"tools": "tools", END: END})
        graph.add_edge("tools", "model")
        await graph.compile().ainvoke({"messages": [HumanMessage("Draw team A")]})


if __name__ == "__main__":
    main(play)
