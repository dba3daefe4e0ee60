"""mcp-sd 0.1 on the plane: `from broker_plane.compat.mcp_sd import S2SPServer`, and nothing else changes.

Bodies lie in the plane and not in the server's memory, and grants are ours; what a caller sees keeps S2SP's form and
its leniency (docs/decisions/0034, 0035).
"""

from broker_plane.compat.mcp_sd.agent import DDIBuffer, S2SPDispatcher
from broker_plane.compat.mcp_sd.direct_channel import DirectChannel
from broker_plane.compat.mcp_sd.errors import (
    InvalidStateTransitionError,
    InvalidTokenError,
    S2SPError,
    TransferDeniedError,
    TransferFailedError,
    TransferTimeoutError,
)
from broker_plane.compat.mcp_sd.server import S2SPServer

__all__ = [
    "DDIBuffer",
    "DirectChannel",
    "InvalidStateTransitionError",
    "InvalidTokenError",
    "S2SPDispatcher",
    "S2SPError",
    "S2SPServer",
    "TransferDeniedError",
    "TransferFailedError",
    "TransferTimeoutError",
]
