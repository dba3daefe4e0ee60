"""Which framework a function is made for."""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec
from typing import Literal, get_args

from broker_plane.errors import ConfigError
from broker_plane.tools.frameworks import Framework

FrameworkName = Literal["auto", "mcp", "fastmcp"]


def framework_for(name: FrameworkName, contexts: tuple[type, ...]) -> Framework:
    """The framework that will register a function.

    `auto` is the one whose Context the function takes (one of `contexts`), else FastMCP if the process has imported it,
    else the SDK.

    Raises:
        ConfigError: an unknown name, or neither framework is installed.
    """
    if name not in get_args(FrameworkName):
        raise ConfigError(f'framework={name!r} is not known: write "mcp", "fastmcp" or "auto"')
    if name == "auto":
        homes = {kind.__module__.partition(".")[0] for kind in contexts}
        name = "fastmcp" if "fastmcp" in homes or ("mcp" not in homes and "fastmcp" in sys.modules) else "mcp"
    if find_spec(name) is None:
        raise ConfigError(f"Tools need an MCP framework: pip install {name}")
    return _made(name)


@cache
def _made(name: str) -> Framework:
    if name == "fastmcp":
        from broker_plane.tools.fastmcp import FastMcpFramework

        return FastMcpFramework()
    from broker_plane.tools.sdk import SdkFramework

    return SdkFramework()
