"""As mcp_s2sp.server."""

from broker_plane.compat.mcp_sd.server import S2SPServer

__all__ = ["S2SPServer"]
