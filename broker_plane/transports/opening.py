"""Opens servers of every kind as upstreams: Python servers, commands, URLs, and servers behind the carriers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from broker_plane.errors import ConfigError
from broker_plane.proxy.command import opener
from broker_plane.proxy.lines import DEFAULT_LINE_BYTES
from broker_plane.proxy.upstream import Open

if TYPE_CHECKING:
    from broker_plane.transports.python_server import PythonServer

__all__ = ["in_process", "load_server", "open_upstream"]


def in_process(server: PythonServer) -> Open:
    """Runs `server`, an MCPServer or a PlaneServer, in this process: once for each connection, in the era that the
    connection's first request has.

    Raises:
        ConfigError: it is not a server of the SDK.
    """
    from broker_plane.transports import python_server  # commands and carriers need no SDK

    return python_server.in_process(server)


def load_server(word: str) -> PythonServer:
    """Run the file that `word` names (`server.py`, or `server.py:name`) as a module, and return its server.

    Raises:
        ConfigError: there is no such file, it cannot be run, or it has no server.
    """
    from broker_plane.transports import python_server

    return python_server.load_server(word)


def _nats(name: str) -> Open:
    from broker_plane.transports.nats.upstream import nats_upstream

    return nats_upstream(name)


def _webhook(url: str) -> Open:
    from broker_plane.transports.webhook.client import upstream_of_settings

    return upstream_of_settings(url)


_CARRIERS: dict[str, Callable[[str], Open]] = {"nats:": _nats, "webhook:": _webhook}
"""How a server behind a carrier is opened, by the prefix of its word. Each imports its carrier when it is called."""


def open_upstream(
    words: Sequence[str], credentials: Mapping[str, str] | None = None, line_bytes: int = DEFAULT_LINE_BYTES
) -> Open:
    """The upstream that the words of a command line name.

    - `http://…`, `https://…`: a Streamable HTTP server; `credentials` are headers of every request to it.
    - `nats:NAME`: a server behind NATS.
    - `webhook:URL`: a server behind a webhook front.
    - `server.py`, `server.py:name`: a Python server, loaded into this process.
    - anything else: a command. Words after a leading `--` are a command in any case.

    Raises:
        ConfigError: the words name nothing that can be opened, or credentials are given for something else than a URL.
    """
    forced = bool(words) and words[0] == "--"
    words = words[1:] if forced else words
    if not words or not words[0].strip():
        raise ConfigError("Name a server: a file such as server.py, a URL, nats:NAME, or -- and a command")
    word = words[0] if len(words) == 1 and not forced else ""
    if word.startswith(("http://", "https://")):
        from broker_plane.proxy.url_upstream import url_upstream  # commands and carriers need no HTTP client

        return url_upstream(word, credentials or {}, line_bytes)
    if credentials:
        raise ConfigError("--header-env is for the URL of a server; a command reads its environment itself")
    for prefix, opened in _CARRIERS.items():
        if word.startswith(prefix):
            return opened(word.removeprefix(prefix))
    if word.endswith(".py") or word.rpartition(":")[0].endswith(".py"):
        return in_process(load_server(word))
    return opener(words)
