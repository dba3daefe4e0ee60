"""The MCP clients whose configuration files are documented, with the source of what is said about each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from broker_plane.errors import ConfigError

Scope = Literal["user", "project"]
Format = Literal["json", "jsonc", "toml"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientProgram:
    """One client. `paths` has its file by scope; the first scope is the default one."""

    name: str
    paths: Mapping[Scope, Callable[[], Path]]
    format: Format = "json"
    servers: str = "mcpServers"
    """The member of the file that has the servers by name."""
    headers: str = "headers"
    """The member of a server with a URL that has the headers of its requests."""
    stdio: str | None = None
    """The `type` of a server that is a command; None if none is needed."""
    http: str | None = None
    """The `type` of a server with a URL."""

    def path(self, scope: Scope | None) -> tuple[Path, Scope]:
        """The file of a scope, and the scope.

        Raises:
            ConfigError: the client has no such scope.
        """
        chosen: Scope = next(iter(self.paths)) if scope is None else scope
        if chosen not in self.paths:
            raise ConfigError(f"{self.name} has no file of the scope {chosen}; it has: {', '.join(self.paths)}")
        return self.paths[chosen](), chosen


def client_named(name: str) -> ClientProgram:
    """The client of this name.

    Raises:
        ConfigError: there is none.
    """
    found = CLIENTS.get(name)
    if found is None:
        raise ConfigError(f"Unknown client {name!r}; choose one of: {', '.join(CLIENTS)}")
    return found


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise ConfigError(
            "This user has no home directory: set HOME, or give the client's file with --config"
        ) from error


def _application_data(name: str) -> Path:
    """The directory in which the desktop applications of this system keep their files."""
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support" / name
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or _home() / "AppData" / "Roaming") / name
    return Path(os.environ.get("XDG_CONFIG_HOME") or _home() / ".config") / name


def _codex_home() -> Path:
    return Path(os.environ.get("CODEX_HOME") or _home() / ".codex")


_LISTED = (
    # modelcontextprotocol.io/docs/develop/connect-local-servers, for macOS and Windows.
    ClientProgram(
        name="claude-desktop",
        paths={"user": lambda: _application_data("Claude") / "claude_desktop_config.json"},
    ),
    # code.claude.com/docs/en/mcp: the scopes "project" (.mcp.json at the root) and "user" (~/.claude.json); an entry
    # without a type is a command.
    ClientProgram(
        name="claude-code",
        paths={"project": lambda: Path.cwd() / ".mcp.json", "user": lambda: _home() / ".claude.json"},
        http="http",
    ),
    # cursor.com/docs/mcp: .cursor/mcp.json in the project, ~/.cursor/mcp.json for all; the transport of a URL is found
    # out by the client.
    ClientProgram(
        name="cursor",
        paths={
            "project": lambda: Path.cwd() / ".cursor" / "mcp.json",
            "user": lambda: _home() / ".cursor" / "mcp.json",
        },
        format="jsonc",
        stdio="stdio",
    ),
    # code.visualstudio.com/docs/copilot/reference/mcp-configuration: .vscode/mcp.json or the user profile, `servers`,
    # the type is required. The default profile is the directory of the user's settings.json
    # (code.visualstudio.com/docs/configure/settings, microsoft/vscode#255943); other profiles need --config.
    ClientProgram(
        name="vscode",
        paths={
            "project": lambda: Path.cwd() / ".vscode" / "mcp.json",
            "user": lambda: _application_data("Code") / "User" / "mcp.json",
        },
        format="jsonc",
        servers="servers",
        stdio="stdio",
        http="http",
    ),
    # developers.openai.com/codex/mcp: ~/.codex/config.toml, or .codex/config.toml in trusted projects; http_headers.
    ClientProgram(
        name="codex",
        paths={
            "user": lambda: _codex_home() / "config.toml",
            "project": lambda: Path.cwd() / ".codex" / "config.toml",
        },
        format="toml",
        servers="mcp_servers",
        headers="http_headers",
    ),
)
CLIENTS: Mapping[str, ClientProgram] = {client.name: client for client in _LISTED}
