"""The configuration files of MCP clients: `{"mcpServers": {name: {"command", "args", "env"} | {"type", "url"}}}`."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker_plane.errors import ConfigError
from broker_plane.formats.duplicate_names import duplicate_name
from broker_plane.wire.exact_json import MALFORMED, loads

SERVERS = "mcpServers"
# -P: clients start servers in the project's directory, whose files must not be imported.
_OURS = ["-P", "-m", "broker_plane.cli.main"]
_BEFORE = ["-m", "broker_plane.cli.main"]
"""As earlier versions wrote them."""

_HTTP = ("http", "streamable-http", "streamablehttp", "streamable_http")


@dataclass(frozen=True, slots=True)
class Change:
    """A change to the file."""

    path: Path
    name: str
    entry: dict[str, Any]
    text: str


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise ConfigError(
            "This user has no home directory: set HOME, or give the client's file with --config"
        ) from error


def _claude_desktop() -> Path:
    if sys.platform == "darwin":
        base = _home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or _home() / "AppData" / "Roaming")
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or _home() / ".config")
    return base / "Claude" / "claude_desktop_config.json"


def _claude_code() -> Path:
    """The project's file: Claude Code reads it from its working directory."""
    return Path.cwd() / ".mcp.json"


CLIENTS: dict[str, Callable[[], Path]] = {"claude-desktop": _claude_desktop, "claude-code": _claude_code}


def entry_for(upstream: Sequence[str], options: Sequence[str] = ()) -> dict[str, Any]:
    """The entry for a server behind the proxy; without a server, for the plane's own tools."""
    rest = ["proxy", *options, "--", *upstream] if upstream else ["mcp"]
    return {"command": sys.executable, "args": [*_OURS, *rest]}


def install_into(path: Path, name: str, entry: dict[str, Any] | None, *, dry_run: bool) -> Change:
    """Write `entry` to the file as server `name`. With None, put the existing server `name` behind the proxy.

    Raises:
        ConfigError: the file is not such a configuration, or has no server of that name; nothing was written.
    """
    known = _read(path)
    servers = known.get(SERVERS, {})
    if not isinstance(servers, dict):
        raise ConfigError(f"{path}: {SERVERS} is not an object. Correct it by hand; nothing was written")
    made = _wrapped(path, name, servers) if entry is None else entry
    changed = {**known, SERVERS: {**servers, name: made}}
    text = _json(changed) + "\n"
    if not dry_run:
        _write(path, text)
    return Change(path, name, made, text)


def _json(value: Any) -> str:
    """`value` as indented JSON; escaped only if it has a lone surrogate, which UTF-8 cannot hold."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=2)
    return text


def _wrapped(path: Path, name: str, servers: dict[str, Any]) -> dict[str, Any]:
    found = servers.get(name)
    if not isinstance(found, dict):
        raise ConfigError(f"{path} has no server {name!r}; it has: {', '.join(servers) or 'none'}")
    if "command" in found:
        return _behind_command(path, name, found)
    if "url" in found:
        _check_transport(path, name, found)
        return _behind_url(found)
    raise ConfigError(f"{path}: {name} has neither a command nor a url. Correct it by hand; nothing was written")


def _behind_command(path: Path, name: str, found: dict[str, Any]) -> dict[str, Any]:
    command, args = found["command"], found.get("args") or []
    if not isinstance(command, str) or not all(isinstance(each, str) for each in args):
        raise ConfigError(
            f"{path}: the command or args of {name} are not text. Correct it by hand; nothing was written"
        )
    for ours in (_OURS, _BEFORE):
        if args[: len(ours) + 1] == [*ours, "proxy"]:
            return {**found, "args": [*_OURS, *args[len(ours) :]]}
    if Path(command).stem == "broker-plane" and args[:1] == ["proxy"]:
        return found
    return {**found, **entry_for([command, *args])}


def _check_transport(path: Path, name: str, found: dict[str, Any]) -> None:
    """Reject servers with another transport than Streamable HTTP, which the proxy cannot reach."""
    kind = found.get("type", found.get("transport", "http"))
    if not isinstance(found["url"], str) or str(kind).lower() not in _HTTP:
        raise ConfigError(
            f"{path}: {name} uses the transport {kind!r}, but the proxy supports only Streamable HTTP. Set the URL of "
            "the server's Streamable HTTP endpoint (often /mcp) and the type http; nothing was written"
        )


def _behind_url(found: dict[str, Any]) -> dict[str, Any]:
    """The proxy in front of a URL. Headers of the entry become environment variables that the proxy reads."""
    headers: dict[str, str] = found.get("headers") or {}
    variables = {name: "UPSTREAM_" + re.sub(r"[^A-Z0-9]", "_", name.upper()) for name in headers}
    options = [word for name, variable in variables.items() for word in ("--header-env", f"{name}={variable}")]
    rest = {key: value for key, value in found.items() if key not in ("url", "type", "headers")}
    values = {variables[name]: value for name, value in headers.items()}
    env = {"env": found.get("env", {}) | values} if values else {}
    return rest | entry_for([found["url"]], options) | env


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        known = loads(raw) if raw.strip() else {}
    except MALFORMED as error:
        raise ConfigError(f"{path} is not valid JSON ({error}). Correct it by hand; nothing was written") from error
    if (twice := duplicate_name(raw, known)) is not None:
        raise ConfigError(
            f"{path} has an object with two values for {twice!r}, of which only one could be kept. Correct it by hand; "
            "nothing was written"
        )
    if not isinstance(known, dict):
        raise ConfigError(f"{path} is not a JSON object. Correct it by hand; nothing was written")
    return known


def _write(path: Path, text: str) -> None:
    """Replace the file atomically with its previous mode, and keep a copy of the old one."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    if path.exists():
        shutil.copymode(path, part)
        _keep(path)
    part.replace(path)


def _keep(path: Path) -> None:
    """Back up the file. Earlier backups are kept, so the first one is the original."""
    number = 0
    while (copy := path.with_name(f"{path.name}.bak{number or ''}")).exists():
        if copy.read_bytes() == path.read_bytes():
            return
        number += 1
    shutil.copy2(path, copy)
