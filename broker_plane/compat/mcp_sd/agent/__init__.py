"""mcp-sd's agent side: the lenient buffer and dispatcher. `broker_plane.agent` has the strict ones."""

from broker_plane.compat.mcp_sd.agent.buffer import DDIBuffer
from broker_plane.compat.mcp_sd.agent.dispatch import S2SPDispatcher

__all__ = ["DDIBuffer", "S2SPDispatcher"]
