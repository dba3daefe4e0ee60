"""As mcp_s2sp.errors."""

from broker_plane.compat.mcp_sd.errors import (
    InvalidStateTransitionError,
    InvalidTokenError,
    S2SPError,
    TransferDeniedError,
    TransferFailedError,
    TransferTimeoutError,
)

__all__ = [
    "InvalidStateTransitionError",
    "InvalidTokenError",
    "S2SPError",
    "TransferDeniedError",
    "TransferFailedError",
    "TransferTimeoutError",
]
