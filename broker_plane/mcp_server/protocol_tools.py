"""The tools with which a model finds descriptions of protocols, and makes descriptors of them (docs/protocols.md).

Reading tools are always there. Those that publish under this process's owner are there only if the operator says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BeforeValidator, Field

from broker_plane.errors import BrokerPlaneError
from broker_plane.runtime.plane import Plane
from broker_plane.wire import slips

ID = Annotated[
    str,
    BeforeValidator(slips.text),
    Field(description="owner/name, owner/name@^1.2, the name of a built-in one, or a sha256: digest"),
]
TEXT = Annotated[str, BeforeValidator(slips.text)]
TIER = Annotated[Literal["high", "mid", "full"], Field(description="How detailed: high is short, full has everything")]
_MOST_FOUND = 50
_TOOL_FOUND = 10


class ProtocolMcpTools:
    """Each method is a tool; its docstring is what the model reads."""

    def __init__(self, plane: Callable[[], Awaitable[Plane]]) -> None:
        self._plane = plane

    @property
    def reading(self) -> tuple[Callable[..., Awaitable[dict[str, Any]]], ...]:
        """The tools that change nothing."""
        return self.protocol_search, self.protocol_get, self.protocol_compose

    @property
    def publishing(self) -> tuple[Callable[..., Awaitable[dict[str, Any]]], ...]:
        """The tools that write into the registry, signed by this process's owner."""
        return self.protocol_publish, self.protocol_unpublish

    async def protocol_search(
        self,
        query: Annotated[TEXT, Field(description="Any words; none lists all")] = "",
        format: Annotated[TEXT, Field(description="A media type, or a part such as csv")] = "",
        auth: Literal["", "bearer", "header", "query", "hmac", "none"] = "",
        protocol: Annotated[TEXT, Field(description="A protocol or a URL scheme, such as https")] = "",
        mode: Literal["", "fetch", "push", "stream", "collaborate"] = "",
        limit: Annotated[int, BeforeValidator(slips.number), Field(ge=1, le=_MOST_FOUND)] = _TOOL_FOUND,
    ) -> dict[str, Any]:
        """Find descriptions of transfer protocols, best first: how to page through an API, read a stream, and so on."""
        with _as_tool_errors():
            filters = {"format": format, "auth": auth, "protocol": protocol, "mode": mode}
            found = await (await self._plane()).protocols.search(query, limit=limit, **filters)
            names = ("id", "version", "title", "summary", "mode", "format", "auth")
            listed = [{name: each.summary()[name] for name in names} for each, _ in found.protocols]
            return {"protocols": listed, **({"refused": len(found.refused)} if found.refused else {})}

    async def protocol_get(self, protocol: ID, tier: TIER = "high") -> dict[str, Any]:
        """Read a description: its text, constraints, parameters and an example. Its owner's signature was verified."""
        with _as_tool_errors():
            found = await (await self._plane()).protocols.get(protocol)
            about = found.description
            fields = about.fields()
            names = ("constraints", "examples", "parameters", "needs", "schemes", "combines")
            return {
                **found.summary(),
                "tier": about.nearest(tier),
                "text": about.text_of(tier),
                **{name: fields[name] for name in names if name in fields},
            }

    async def protocol_compose(
        self,
        protocols: Annotated[list[str], BeforeValidator(slips.names), Field(description="Ids, as for protocol_get")],
        endpoint: Annotated[TEXT, Field(description="URL: also returns a Level 2 descriptor for it")] = "",
        parameters: Annotated[dict[str, Any] | None, Field(description="Values for the parameters")] = None,
        tier: TIER = "high",
    ) -> dict[str, Any]:
        """Combine descriptions, such as a way to authenticate, one to paginate and a format, if they fit together.

        A credential never passes through you: the one who hands the descriptor on adds its `auth`.
        """
        with _as_tool_errors():
            registry = (await self._plane()).protocols
            if endpoint:
                made = await registry.descriptor(*protocols, endpoint=endpoint, parameters=parameters, tier=tier)
                return {"descriptor": made.to_wire()}
            about = await registry.compose(*protocols)
            return {"id": about.id, "provides": dict(about.provides), "text": about.text_of(tier)}

    async def protocol_publish(
        self, description: Annotated[dict[str, Any], Field(description="id, version, title, tiers and more")]
    ) -> dict[str, Any]:
        """Publish a description, signed by this server's owner. A version is published once and never changes."""
        with _as_tool_errors():
            return (await (await self._plane()).protocols.publish(description)).summary()

    async def protocol_unpublish(
        self, protocol: Annotated[TEXT, Field(description="owner/name")], version: TEXT, reason: TEXT = ""
    ) -> dict[str, Any]:
        """Yank a version of your own: it is not found any more, and still readable by its exact version."""
        with _as_tool_errors():
            entry = await (await self._plane()).protocols.unpublish(protocol, version, reason)
            return {"yanked": f"{protocol}@{entry.version}"}


@contextmanager
def _as_tool_errors() -> Iterator[None]:
    """Turn our errors in the block into tool errors, whose text says what to do."""
    try:
        yield
    except BrokerPlaneError as error:
        raise ToolError(str(error)) from error
