"""mcp-s2sp 0.1's names on the plane: `from broker_plane.compat.mcp_s2sp import S2SPServer`."""

from broker_plane.compat.mcp_sd import (
    DirectChannel,
    S2SPError,
    S2SPServer,
    TransferDeniedError,
    TransferFailedError,
    TransferTimeoutError,
)

__all__ = [
    "DirectChannel",
    "S2SPError",
    "S2SPServer",
    "TransferDeniedError",
    "TransferFailedError",
    "TransferTimeoutError",
]
