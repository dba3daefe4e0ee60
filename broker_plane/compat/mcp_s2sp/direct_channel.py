"""As mcp_s2sp.direct_channel."""

from broker_plane.compat.mcp_sd.direct_channel import DirectChannel

__all__ = ["DirectChannel"]
