"""The entry of one server: behind the proxy, and in front of it again. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from broker_plane.cli.clients.launcher import Launcher, arguments_of, is_earlier
from broker_plane.cli.clients.registry import ClientProgram
from broker_plane.errors import ConfigError

Entry = dict[str, Any]
_HTTP = ("http", "streamable-http", "streamablehttp", "streamable_http")
_HEADER = "--header-env"
_UNREADABLE = ("bearer_token_env_var", "env_http_headers", "oauth")
"""Ways to authorize at a URL that the proxy does not have."""


def entry_for(
    client: ClientProgram, launcher: Launcher, upstream: Sequence[str] = (), options: Sequence[str] = ()
) -> Entry:
    """The entry for a server behind the proxy; without a server, for the plane's own tools."""
    rest = ["proxy", *options, "--", *upstream] if upstream else ["mcp"]
    return {**_typed(client.stdio), **launcher.entry(rest)}


def is_ours(entry: Any) -> bool:
    """Whether an entry starts broker-plane."""
    return _arguments(entry) is not None


def is_proxied(entry: Any) -> bool:
    """Whether an entry starts the proxy."""
    return (_arguments(entry) or ["mcp"])[0] == "proxy"


def is_outdated(entry: Entry) -> bool:
    """Whether an earlier version wrote how this entry starts broker-plane."""
    return is_earlier(entry.get("args") or [])


def upstream_of(entry: Any) -> list[str]:
    """The command or the URL that an entry has behind the proxy; empty without one."""
    words = _arguments(entry) or []
    return words[words.index("--") + 1 :] if words[:1] == ["proxy"] and "--" in words else []


def same_server(one: Entry, other: Entry) -> bool:
    """Whether two entries start the same command or name the same URL."""
    first, second = ((each.get("command"), each.get("args") or [], each.get("url")) for each in (one, other))
    return first == second


def wrapped(client: ClientProgram, launcher: Launcher, name: str, found: Entry, options: Sequence[str] = ()) -> Entry:
    """The entry of a configured server, behind the proxy with these options.

    Raises:
        ConfigError: the proxy cannot be in front of it; the message lacks the file.
    """
    if "command" in found:
        return _behind_command(launcher, name, found, options)
    if "url" in found:
        _check_transport(name, found)
        return _behind_url(client, launcher, found, options)
    raise ConfigError(f"{name} has neither a command nor a url. Correct it by hand; nothing was written")


def unwrapped(client: ClientProgram, name: str, found: Any) -> Entry:
    """The entry of the server that is behind the proxy in `found`, without the proxy.

    Raises:
        ConfigError: `found` does not start the proxy; the message lacks the file.
    """
    words, upstream = _arguments(found), upstream_of(found)
    if not words or not upstream:
        raise ConfigError(f"{name} is not behind the proxy; nothing was written")
    options = words[1 : words.index("--")]
    env = dict(found.get("env") or {})
    rest = {key: value for key, value in found.items() if key not in ("command", "args", "env", "type")}
    if len(upstream) > 1 or not upstream[0].startswith(("http://", "https://")):
        # Its type stays as it is, because the proxy is a command as well.
        return {**found, "command": upstream[0], "args": upstream[1:]}
    named = [word.partition("=") for before, word in pairwise(options) if before == _HEADER]
    headers = {header: env.pop(variable) for header, _, variable in named if variable in env}
    made = {**_typed(client.http), "url": upstream[0]}
    return {**rest, **made, **({client.headers: headers} if headers else {}), **({"env": env} if env else {})}


def _typed(kind: str | None) -> Entry:
    return {} if kind is None else {"type": kind}


def _arguments(entry: Any) -> list[str] | None:
    args = entry.get("args") or [] if isinstance(entry, dict) else None
    if not isinstance(args, list) or not all(isinstance(word, str) for word in args):
        return None
    found = arguments_of(entry.get("command"), args)
    return found if found and found[0] in ("proxy", "mcp") else None


def _behind_command(launcher: Launcher, name: str, found: Entry, options: Sequence[str]) -> Entry:
    command, args = found["command"], found.get("args") or []
    if not isinstance(command, str) or not isinstance(args, list) or not all(isinstance(each, str) for each in args):
        raise ConfigError(f"The command or args of {name} are not text. Correct it by hand; nothing was written")
    words = arguments_of(command, args)
    if words is not None and words[:1] == ["proxy"]:
        return {**found, **launcher.entry(words)}
    return {**found, **launcher.entry(["proxy", *options, "--", command, *args])}


def _check_transport(name: str, found: Entry) -> None:
    """Reject servers with another transport than Streamable HTTP, or another authorization than headers."""
    kind = found.get("type", found.get("transport", "http"))
    if not isinstance(found["url"], str) or str(kind).lower() not in _HTTP:
        raise ConfigError(
            f"{name} uses the transport {kind!r}, but the proxy supports only Streamable HTTP. Set the URL of "
            "the server's Streamable HTTP endpoint (often /mcp) and the type http; nothing was written"
        )
    for way in _UNREADABLE:
        if found.get(way):
            raise ConfigError(f"{name} is authorized by {way}, which the proxy does not have; nothing was written")


def _behind_url(client: ClientProgram, launcher: Launcher, found: Entry, asked: Sequence[str]) -> Entry:
    """The proxy in front of a URL. Headers of the entry become environment variables that the proxy reads."""
    headers: dict[str, str] = found.get(client.headers) or {}
    variables = {name: "UPSTREAM_" + re.sub(r"[^A-Z0-9]", "_", name.upper()) for name in headers}
    options = [*asked, *(word for name, variable in variables.items() for word in (_HEADER, f"{name}={variable}"))]
    rest = {key: value for key, value in found.items() if key not in ("url", "type", "transport", client.headers)}
    values = {variables[name]: value for name, value in headers.items()}
    env = {"env": {**(found.get("env") or {}), **values}} if values else {}
    return rest | entry_for(client, launcher, [found["url"]], options) | env
