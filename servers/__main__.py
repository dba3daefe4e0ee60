"""Runs one of the servers, over stdio or over HTTP (at /mcp, with /healthz beside it).

python -m servers NAME [--http PORT [--host ADDRESS] [--name HOST]], where NAME is a file of this directory
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import cast

from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from broker_plane import PlaneServer

NAMES = ("weather", "stats", "warehouse", "analytics", "crm", "email", "files", "processor", "analysis")


def server_of(name: str) -> PlaneServer:
    """Return the server in the file of this name, importing its packages only now."""
    module = import_module(f".{name}", __package__)
    return cast(PlaneServer, module.build(module.Sample()) if name == "weather" else module.server)


def serve_http(server: PlaneServer, *, host: str, port: int, name: str) -> None:
    """Serve until Ctrl-C or SIGTERM, to clients that address this host by `name` or as localhost."""

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok")

    server.mcp.custom_route("/healthz", ["GET"])(healthz)
    # Without it a web page could call the tools, through a name of its own that resolves to this host (DNS rebinding).
    names = [f"{known}:*" for known in (name, "127.0.0.1", "localhost")]
    security = TransportSecuritySettings(allowed_hosts=names, allowed_origins=[f"http://{known}" for known in names])
    server.run("streamable-http", host=host, port=port, transport_security=security)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m servers", description=__doc__)
    parser.add_argument("server", choices=NAMES)
    parser.add_argument("--http", type=int, metavar="PORT", help="default: stdio")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--name", default="localhost", help="by which clients on other hosts reach it")
    options = parser.parse_args(argv)
    server = server_of(options.server)
    if options.http is None:
        server.run()
    else:
        serve_http(server, host=options.host, port=options.http, name=options.name)


if __name__ == "__main__":
    main()
