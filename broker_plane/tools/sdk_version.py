"""Which major version of the SDK is installed, and what needs the second one."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from broker_plane.errors import ConfigError


def sdk_major() -> int:
    """The major version of the installed SDK; 0 if there is none."""
    try:
        return int(version("mcp").partition(".")[0])
    except PackageNotFoundError:
        return 0


def need_sdk_2(what: str) -> None:
    """Raise ConfigError unless mcp 2.x is installed. `what` begins the sentence."""
    if sdk_major() < 2:
        raise sdk_2_missing(what)


def sdk_2_missing(what: str) -> ConfigError:
    """The error of something that only mcp 2.x has."""
    there = f"mcp {version('mcp')}" if sdk_major() else "no mcp"
    return ConfigError(
        f"{what} needs mcp 2.3 or later, and this environment has {there}. Plane, broker_plane.tools, the agent "
        "adapters and the command line work here; install the rest in an environment of its own"
    )
