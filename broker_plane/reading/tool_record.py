"""A reading tool without an SDK, and its answer. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from broker_plane.errors import BrokerPlaneError


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """The result of a tool: one text block, without structured content."""

    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingTool:
    """One tool. It changes nothing, so its annotation readOnlyHint is true."""

    name: str
    title: str
    description: str
    input_schema: dict[str, Any]
    run: Callable[[Any, Mapping[str, Any]], Awaitable[str]]
    """Given a plane and the arguments, the text of the result. Errors are raised."""

    async def call(self, plane: Any, arguments: Mapping[str, Any]) -> ToolAnswer:
        """The result of one call, also for arguments that are wrong: the text then says what to do."""
        try:
            return ToolAnswer(await self.run(plane, arguments))
        except BrokerPlaneError as error:
            return ToolAnswer(str(error), is_error=True)
        except UnicodeEncodeError:
            return ToolAnswer(
                "An argument has half a surrogate pair, which is no character; leave it out", is_error=True
            )
