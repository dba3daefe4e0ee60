"""WebSocket handlers whose client goes away, or that fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from broker_plane.bridge.routing import GuardedEndpoint, RouteEndpoint
from broker_plane.plane.first_use import FirstUse
from broker_plane.web.cors import NO_CORS
from broker_plane.web.guard import ANY_HOST

pytestmark = pytest.mark.anyio


async def upgrade(handler: Any, *, client_is_there: bool) -> None:
    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        if not client_is_there:
            raise OSError

    endpoint = RouteEndpoint(name="/x", path="/x", methods={}, websocket="serve")
    answers = FirstUse.of(SimpleNamespace(serve=handler))
    scope = {"type": "websocket", "path": "/x", "headers": [(b"host", b"127.0.0.1")]}
    await GuardedEndpoint(endpoint, answers, ANY_HOST, NO_CORS)(scope, receive, send)


async def accepting(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept"})


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    await accepting(scope, receive, send)
    raise ValueError


async def test_a_client_that_is_away_before_the_answer_is_no_error() -> None:
    await upgrade(accepting, client_is_there=False)


async def test_a_handler_that_fails_is_one() -> None:
    with pytest.raises(RuntimeError, match="after it had accepted"):
        await upgrade(failing, client_is_there=True)
