"""An MCP server that offers, as a process over stdio, or over HTTP for the clients `ann` and `bob`, by their names.

python -m tests.interaction.offering_server [PORT]
"""

from __future__ import annotations

import sys
from typing import Any

from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from pydantic import AnyHttpUrl
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from broker_plane import PlaneServer

ROWS = [{"n": number, "text": f"row {number}"} for number in range(300)]
RAW = bytes(range(256)) * 40


class Names:
    """Everybody's bearer token is their name."""

    async def verify_token(self, token: str) -> AccessToken | None:
        return AccessToken(token=token, client_id=token, scopes=[]) if token in ("ann", "bob") else None


def make_server(url: str = "") -> PlaneServer:
    known: dict[str, Any] = {}
    if url:
        auth = AuthSettings(issuer_url=AnyHttpUrl(url), resource_server_url=AnyHttpUrl(url), required_scopes=[])
        known = {"token_verifier": Names(), "auth": auth.model_copy(update={"validate_token_resource": False})}
    server = PlaneServer("offering", **known)

    @server.resource_tool()
    def table() -> list[dict[str, Any]]:
        return ROWS

    @server.resource_tool()
    def picture() -> bytes:
        return RAW

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok")

    server.mcp.custom_route("/healthz", ["GET"])(healthz)
    return server


if __name__ == "__main__":
    if len(sys.argv) > 1:
        make_server(f"http://127.0.0.1:{sys.argv[1]}/mcp").run("streamable-http", port=int(sys.argv[1]))
    else:
        make_server().run()
