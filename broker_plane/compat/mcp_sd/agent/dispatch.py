"""S2SPDispatcher: theirs takes JSON text only; the adapters of ours find a body in every shape."""

from __future__ import annotations

from typing import Any

from broker_plane.agent.shapes import FoundBodies, is_sync_result
from broker_plane.compat.mcp_sd.agent.buffer import DDIBuffer
from broker_plane.tabular.json_values import exact_json_bytes
from broker_plane.wire.exact_json import MALFORMED, loads


class S2SPDispatcher:
    """Bodies leave tool results (`on_tool_result`) and come back into tool calls (`on_tool_call`)."""

    def __init__(self, buffer: DDIBuffer | None = None) -> None:
        self.buffer = DDIBuffer() if buffer is None else buffer

    def on_tool_result(self, tool_name: str, result: Any) -> Any:
        """JSON text of a sync result, with a handle in place of its body; anything else is the same object."""
        if not isinstance(result, (str, bytes)):
            return result
        try:
            shape = loads(result)
        except MALFORMED:
            return result
        if not is_sync_result(shape):
            return result
        shape["resource_url"] = self.buffer.put(shape.pop("body"))
        return exact_json_bytes(shape).decode()

    def on_any_result(self, tool_name: str, result: Any) -> Any:
        """As `on_tool_result`, for content blocks, tuples with an artifact and models too: what adapters call."""
        sighting = FoundBodies(result)
        return sighting.without([self.buffer.put(body) for body in sighting.bodies])

    def on_tool_call(self, tool_name: str, args: dict[str, Any]) -> dict[str, Any]:
        """The arguments, with `body_data` in place of a handle in `resource_url`; a stale one gives `[]`."""
        url = (args or {}).get("resource_url")
        if not DDIBuffer.is_handle(url):
            return args
        kept = {name: value for name, value in args.items() if name != "resource_url"}
        return kept | {"body_data": exact_json_bytes(self.buffer.take(str(url))).decode()}

    def reset(self) -> None:
        """Drop every body that waits."""
        self.buffer.clear()

    @property
    def pending(self) -> int:
        """How many bodies wait."""
        return len(self.buffer)
