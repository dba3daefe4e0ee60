"""The client of a session's WebSocket, against a server of the library websockets that breaks and refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets import Subprotocol
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from broker_plane.client import session_socket as session_socket_module
from broker_plane.client.session_socket import SessionSocketClient, session_socket
from broker_plane.errors import (
    BrokerUnavailableError,
    GrantExpiredError,
    GrantRevokedError,
    StaleBaseError,
    TooLargeError,
    WireError,
)
from broker_plane.plane.sessions.channel import AccessEnded, EntriesAdded, EventsMissed, PresenceChanged, SessionEvent
from broker_plane.wire.urls import SESSION_SUBPROTOCOL
from tests.unit.runtime.channels import entry

pytestmark = pytest.mark.anyio
Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def joined(handler: Handler, timeout: float = 20, **options: Any) -> AsyncIterator[SessionSocketClient]:
    async with (
        asyncio.timeout(30),
        serve(handler, "127.0.0.1", 0, subprotocols=[Subprotocol(SESSION_SUBPROTOCOL)], **options) as server,
    ):
        port = server.sockets[0].getsockname()[1]
        url = f"ws://127.0.0.1:{port}/v1/sessions/grant"
        async with session_socket(url, {"name": "anna"}, timeout=timeout, headers={}) as socket:
            yield socket


async def greet(socket: ServerConnection) -> None:
    await socket.send(json.dumps({"hello": {"revision": 1}}))


async def next_event(socket: SessionSocketClient) -> SessionEvent:
    async with aclosing(socket.events()) as events:
        return await anext(events)


async def test_a_request_whose_answer_was_lost_is_sent_again_with_the_same_id() -> None:
    received: list[dict[str, Any]] = []

    async def handle(socket: ServerConnection) -> None:
        await greet(socket)
        async for raw in socket:
            received.append(json.loads(raw))
            if len(received) == 1:
                socket.transport.abort()
                return
            await socket.send(json.dumps({"id": received[-1]["id"], "ok": {"revision": 7}}))

    async with joined(handle) as socket:
        assert await socket.request({"do": "propose", "request": "r"}) == {"revision": 7}
        assert await next_event(socket) == EventsMissed(), "after a break the reader looks into the log"
    assert len(received) == 2 and received[0] == received[1]


async def test_a_request_without_an_answer_says_that_the_outcome_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(socket: ServerConnection) -> None:
        await greet(socket)
        async for _ in socket:
            pass

    monkeypatch.setattr(session_socket_module, "_RETRY_SECONDS", 0)
    async with joined(handle, timeout=0.5) as socket:
        with pytest.raises(BrokerUnavailableError, match="unknown whether"):
            await socket.request({"do": "propose"})


async def test_a_refusal_that_passes_is_retried_with_the_same_members() -> None:
    received: list[dict[str, Any]] = []

    async def handle(socket: ServerConnection) -> None:
        await greet(socket)
        async for raw in socket:
            received.append(json.loads(raw))
            number = received[-1].pop("id")
            busy = {"id": number, "error": {"code": "rate_limited", "message": "Slower"}}
            await socket.send(json.dumps(busy if len(received) < 3 else {"id": number, "ok": {"revision": 2}}))

    async with joined(handle) as socket:
        assert await socket.request({"do": "note", "request": "r"}) == {"revision": 2}
    assert received == [{"do": "note", "request": "r"}] * 3


async def test_an_answer_that_is_too_large_is_an_error_and_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def handle(socket: ServerConnection) -> None:
        nonlocal asked
        await greet(socket)
        async for raw in socket:
            asked += 1
            number = json.loads(raw)["id"]
            await socket.send(json.dumps({"id": number, "ok": {"text": "x" * (5_000 if asked == 1 else 5)}}))

    monkeypatch.setattr(session_socket_module, "MAX_MESSAGE_BYTES", 1_000)
    async with joined(handle) as socket:
        with pytest.raises(TooLargeError, match="answer"):
            await socket.request({"do": "log"})
        assert await socket.request({"do": "log"}) == {"text": "xxxxx"}
        with pytest.raises(TooLargeError, match="at most 1 MiB"):
            await socket.request({"do": "propose", "edit": "x" * (1 << 20)})
    assert asked == 2


async def test_answers_and_errors_find_their_request() -> None:
    async def handle(socket: ServerConnection) -> None:
        await greet(socket)
        first, second = json.loads(await socket.recv()), json.loads(await socket.recv())
        stale = {"code": "stale_base", "message": "It has changed", "revision": 9, "diff": "+new"}
        await socket.send(json.dumps({"id": second["id"], "error": stale}))
        await socket.send(json.dumps({"id": 99, "ok": {}}))
        await socket.send(json.dumps({"id": first["id"], "ok": {"of": first["do"]}}))
        await socket.wait_closed()

    async with joined(handle) as socket:
        first = asyncio.create_task(socket.request({"do": "show"}))
        await asyncio.sleep(0)
        with pytest.raises(StaleBaseError) as raised:
            await socket.request({"do": "propose"})
        assert (raised.value.revision, raised.value.diff) == (9, "+new")
        assert await first == {"of": "show"}


async def test_events_are_typed_and_unknown_ones_are_skipped() -> None:
    added = entry(2, "noted", text="a")

    async def handle(socket: ServerConnection) -> None:
        await greet(socket)
        for message in ({"later": 1}, {"entries": [added.to_json()]}, {"presence": [{"id": "b"}]}):
            await socket.send(json.dumps(message))
        await socket.wait_closed()

    async with joined(handle) as socket, aclosing(socket.events()) as events:
        assert socket.greeting == {"revision": 1}
        assert await anext(events) == EntriesAdded((added,))
        assert await anext(events) == PresenceChanged(({"id": "b"},))


async def test_a_reader_that_was_too_slow_reads_the_log() -> None:
    async def handle(socket: ServerConnection) -> None:
        await greet(socket)
        await socket.send(json.dumps({"entries": [entry(2).to_json()]}))
        await socket.send(json.dumps({"resync": {"revision": 9}}))
        await socket.send(json.dumps({"entries": [entry(10).to_json()]}))
        await socket.wait_closed()

    async with joined(handle) as socket, aclosing(socket.events()) as events:
        while await anext(events) != EntriesAdded((entry(10),)):
            pass


async def test_an_end_is_final() -> None:
    connections = 0

    async def handle(socket: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await greet(socket)
        await socket.recv()
        await socket.send(json.dumps({"end": {"code": "grant_revoked", "message": "It was revoked"}}))
        await socket.close(4410, "grant_revoked")

    async with joined(handle) as socket:
        with pytest.raises(GrantRevokedError):
            await socket.request({"do": "show"})
        with pytest.raises(GrantRevokedError):
            await socket.request({"do": "show"})
        async with aclosing(socket.events()) as events:
            last = [event async for event in events][-1]
        assert isinstance(last, AccessEnded) and isinstance(last.error, GrantRevokedError)
    assert connections == 1


async def test_a_refusal_is_raised_with_the_bridges_reason() -> None:
    def refuse(socket: ServerConnection, request: Request) -> Response:
        return socket.respond(HTTPStatus.GONE, json.dumps({"code": "grant_expired", "detail": "It has expired"}))

    with pytest.raises(GrantExpiredError):
        async with joined(greet, process_request=refuse):
            pass


async def test_an_unavailable_bridge_is_tried_again() -> None:
    refused = 0

    def refuse(socket: ServerConnection, request: Request) -> Response | None:
        nonlocal refused
        refused += 1
        unavailable = json.dumps({"code": "broker_away", "detail": "Try again"})
        return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, unavailable) if refused < 3 else None

    async def handle(socket: ServerConnection) -> None:
        await greet(socket)
        await socket.wait_closed()

    async with joined(handle, process_request=refuse):
        assert refused == 3


async def test_a_server_that_is_no_bridge_is_named() -> None:
    async def handle(socket: ServerConnection) -> None:
        await socket.send("welcome")
        await socket.wait_closed()

    with pytest.raises(WireError, match="not a bridge"):
        async with joined(handle):
            pass


async def test_a_redirect_to_another_host_is_not_followed() -> None:
    def redirect(socket: ServerConnection, request: Request) -> Response:
        response = socket.respond(HTTPStatus.TEMPORARY_REDIRECT, "")
        response.headers["Location"] = "ws://127.0.0.1:9/elsewhere"
        return response

    with pytest.raises(Exception, match="redirects"):
        async with joined(greet, process_request=redirect):
            pass
