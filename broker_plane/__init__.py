"""broker_plane: the abstract goes through the model, the body goes over NATS.

    from broker_plane import Plane, PlaneServer

`Plane` publishes and pulls; `PlaneServer` is an MCP server whose tools do so. Both are imported when they are
first named: a bridge needs no MCP SDK, and its second of import time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker_plane.config import Settings
    from broker_plane.mcp_server.server import PlaneServer
    from broker_plane.runtime.connect import Plane

__version__ = "0.1.0"
__all__ = ["Plane", "PlaneServer", "Settings", "__version__"]

_HOMES = {
    "Plane": "broker_plane.runtime.connect",
    "PlaneServer": "broker_plane.mcp_server.server",
    "Settings": "broker_plane.config",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'broker_plane' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
