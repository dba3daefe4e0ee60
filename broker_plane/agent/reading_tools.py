"""The tools with which an agent reads what was held back, for the adapters of frameworks.

Bodies in the plane are read by its bridge. Bodies in memory are read here, by the same code; SQL needs the plane, so
`query_body` is not among the tools of a dispatcher whose bodies are in memory, unless it is given a plane as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from broker_plane.agent.buffer import SCHEME, Buffer, is_handle
from broker_plane.agent.dispatcher import Dispatcher
from broker_plane.agent.memory_reading import MemoryReader
from broker_plane.agent.plane_bodies import PlaneBodies
from broker_plane.errors import ConfigError, WireError
from broker_plane.reading.answers import BodyDescription, ReadAnswer
from broker_plane.reading.tools import DESCRIBE_BODY, PREFIX, READ_BODY, ReadingTool, ToolAnswer
from broker_plane.runtime.plane import Plane
from broker_plane.runtime.readers import tools_here

MARK = "broker-plane reading tool"


@dataclass(frozen=True, slots=True)
class AgentTool:
    """A reading tool under the name that the model sees, with what it reads from."""

    name: str
    tool: ReadingTool
    source: Any

    async def call(self, arguments: Mapping[str, Any]) -> ToolAnswer:
        """The result of one call, also for arguments that are wrong."""
        return await self.tool.call(self.source, arguments)


class BodyReader:
    """Reads handles in memory or in the plane, and URLs in the plane: what `ReadingTool` needs of a plane."""

    def __init__(self, memory: MemoryReader | None, plane: Plane | None) -> None:
        self._memory = memory
        self._plane = plane

    async def read(self, address: str, **what: Any) -> ReadAnswer:
        """As `Plane.read`."""
        if self._memory is not None and is_handle(address):
            return await self._memory.read(address, **what)
        return await self._of_plane(address).read(address.removeprefix(SCHEME), **what)

    async def describe(self, address: str) -> BodyDescription:
        """As `Plane.describe`."""
        if self._memory is not None and is_handle(address):
            return await self._memory.describe(address)
        return await self._of_plane(address).describe(address.removeprefix(SCHEME))

    async def query(self, sql: str, bodies: Mapping[str, str] | None = None, /, *, rows: int = 20) -> Any:
        """As `Plane.query`."""
        named = dict(bodies or {})
        if self._memory is not None and any(is_handle(address) for address in named.values()):
            raise WireError("query_body reads bodies of the plane; read a ddi:// handle with read_body")
        plane = self._of_plane("")
        return await plane.query(sql, {name: each.removeprefix(SCHEME) for name, each in named.items()}, rows=rows)

    def _of_plane(self, address: str) -> Plane:
        if self._plane is None:
            raise WireError(f"This agent reads ddi:// handles only; {address[:40]} is read by a tool of its server")
        return self._plane


def agent_tools(
    source: Dispatcher | Plane, *, plane: Plane | None = None, taken: Collection[str] = ()
) -> list[AgentTool]:
    """The reading tools for a dispatcher or a plane. `taken` are names of other tools; ours then begin with `plane_`.

    A dispatcher from then on names them in what it tells the model. `plane` reads URLs beside a dispatcher's handles.

    Raises:
        ConfigError: the dispatcher's bodies are of a class that this module does not know.
    """
    memory = None
    if isinstance(source, Dispatcher):
        bodies = source.bodies
        if isinstance(bodies, PlaneBodies):
            plane = plane or bodies.plane
        elif isinstance(bodies, Buffer):
            memory = MemoryReader(bodies)
        else:
            raise ConfigError("Reading tools need bodies in a Buffer or in PlaneBodies; pass a Plane instead")
    else:
        plane = source
    reader = BodyReader(memory, plane)
    tools = (READ_BODY, DESCRIBE_BODY) if plane is None else tools_here(plane.settings)
    made = [AgentTool(PREFIX + tool.name if tool.name in taken else tool.name, tool, reader) for tool in tools]
    if isinstance(source, Dispatcher):
        source.readers |= {each.name for each in made}
    return made
