"""Errors as MCP results and protocol errors: ours say what to do, an author's say where to look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from mcp.server.mcpserver.exceptions import ResourceError, ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError

from broker_plane.errors import BrokerPlaneError, WireError

INVALID_PARAMS = -32602
FAILED = -31000
"""A code outside the ranges reserved by JSON-RPC and MCP; `data` has our error code."""


def protocol_error(error: BrokerPlaneError) -> MCPError:
    """The JSON-RPC error for one of ours, with our code in `data`."""
    return MCPError(INVALID_PARAMS if isinstance(error, WireError) else FAILED, str(error), {"code": error.code})


@contextmanager
def as_tool_errors(tool: str) -> Iterator[None]:
    """Raise errors of the block as the SDK's tool errors, with a text for the model.

    The text of an unexpected exception may hold secrets, so the model gets only its type and advice; the SDK logs the
    traceback.
    """
    try:
        yield
    except BrokerPlaneError as error:
        raise ToolError(str(error)) from error
    except (MCPError, ToolError, ResourceError):
        raise
    except Exception as error:
        raise UnexpectedToolError(_sentence(tool, error)) from error


def _sentence(tool: str, error: Exception) -> str:
    path = getattr(error, "filename", None)
    name = PurePath(path).name if isinstance(path, (str, PurePath)) else ""
    if isinstance(error, FileNotFoundError) and name:
        return f"{tool} needs the file {name!r}, which does not exist; its author has to create it first"
    if isinstance(error, IsADirectoryError) and name:
        return f"{tool} opened the directory {name!r} as a file; its author has to name a file in it"
    if isinstance(error, PermissionError) and name:
        return f"{tool} may not open {name!r}; the operator of its server has to allow it"
    return (
        f"{tool} raised {type(error).__name__}, which is a fault of the tool or of these arguments; the log of its "
        "server says where. Try other arguments, or tell the user"
    )
