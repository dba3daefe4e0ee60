"""Runs where asyncmcp is installed: its client initializes, lists and calls at the URL of the question."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

types: Any = import_module("mcp.types")  # mcp 1.x
session_message: Any = import_module("mcp.shared.message").SessionMessage
webhook: Any = import_module("asyncmcp.webhook")

HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


class Ready(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
        self.ready = anyio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()


async def main(url: str) -> None:
    config = webhook.WebhookClientConfig(server_url=url)
    async with webhook.webhook_client(config, "/hook") as (read, write, client):

        async def hook(request: Request) -> Response:
            answer: Response = await client.handle_webhook_response(request)
            return answer

        server = Ready(Starlette(routes=[Route("/hook", hook, methods=["POST"])]))
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve)
            await server.ready.wait()
            port = server.servers[0].sockets[0].getsockname()[1]
            hello = HELLO | {"_meta": {"webhookUrl": f"http://127.0.0.1:{port}/hook"}}
            answers = [await asked(read, write, 1, "initialize", hello)]
            done = types.JSONRPCNotification(jsonrpc="2.0", method="notifications/initialized")
            await write.send(session_message(types.JSONRPCMessage(done)))
            answers.append(await asked(read, write, 2, "tools/list", {}))
            answers.append(await asked(read, write, 3, "tools/call", {"name": "add", "arguments": {"a": 3}}))
            server.should_exit = True
        print(json.dumps(answers))


async def asked(read: Any, write: Any, number: int, method: str, params: dict[str, Any]) -> Any:
    """The answer to one request."""
    request = types.JSONRPCRequest(jsonrpc="2.0", id=number, method=method, params=params)
    await write.send(session_message(types.JSONRPCMessage(request)))
    with anyio.fail_after(60):
        async for message in read:
            answer = message.message.root
            if getattr(answer, "id", None) == number:
                return answer.model_dump(mode="json")
    return None


if __name__ == "__main__":
    anyio.run(main, json.loads(sys.stdin.read())["url"])
