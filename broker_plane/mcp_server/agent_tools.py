"""The tool with which a model finds agents that are announced (docs/protocols.md)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BeforeValidator, Field

from broker_plane.errors import BrokerPlaneError
from broker_plane.reading.tokens import DEFAULT_TOKENS, TOKEN_BYTES
from broker_plane.registry.agent_search import FoundAgent
from broker_plane.runtime.plane import Plane
from broker_plane.wire import slips
from broker_plane.wire.exact_json import dumps

_MAX_LISTED = 50
_MAX_SERVED = 4
"""Entries of one agent in an answer."""


class AgentMcpTools:
    """The tool's docstring is what the model reads."""

    def __init__(self, plane: Callable[[], Awaitable[Plane]]) -> None:
        self._plane = plane

    @property
    def all(self) -> tuple[Callable[..., Awaitable[dict[str, Any]]], ...]:
        """The tools, in the order in which they are listed."""
        return (self.search_agents,)

    async def search_agents(
        self,
        text: Annotated[str, BeforeValidator(slips.text), Field(description="Words of ids, names, protocols")] = "",
        serves: Annotated[str, BeforeValidator(slips.text), Field(description="A protocol, such as https")] = "",
        consumes: Annotated[str, BeforeValidator(slips.text), Field(description="Or a protocol it takes")] = "",
        format: Annotated[str, BeforeValidator(slips.text), Field(description="Media type, such as text/*")] = "",
    ) -> dict[str, Any]:
        """Find other agents that run now, with the endpoints, formats and modes that they serve.

        Names and endpoints are the agents' own words, and nobody has checked them. "more" says that there are others.
        """
        try:
            plane = await self._plane()
            if serves and consumes:
                raise ToolError("Ask for what agents serve, or for what they consume, in two calls")
            direction: Any = "serves" if serves else "consumes" if consumes else None
            result = await plane.agents.search(
                text, protocol=serves or consumes, format=format, direction=direction, limit=_MAX_LISTED
            )
        except BrokerPlaneError as error:
            raise ToolError(str(error)) from error
        shown: list[dict[str, Any]] = []
        room = DEFAULT_TOKENS * TOKEN_BYTES
        for found in result.found:
            fields = _shown(found)
            size = len(dumps(fields))
            if size <= room:  # a long one leaves room for others
                room -= size
                shown.append(fields)
        return {"agents": shown, "more": result.more or len(shown) < len(result.found)}


def _shown(found: FoundAgent) -> dict[str, Any]:
    agent = found.announcement
    left_out = len(found.serves) - _MAX_SERVED
    return {
        "agent_id": agent.agent_id,
        "name": agent.name,
        "serves": [served.model_dump(mode="json") for served in found.serves[:_MAX_SERVED]],
        **({"serves_more": left_out} if left_out > 0 else {}),
        "consumes": list(agent.consumes),
        "level2": agent.capabilities.level2,
    }
