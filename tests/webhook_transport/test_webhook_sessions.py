"""The stored sessions of webhooks, over a real nats-server: the latest callback wins, and closed is closed."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from broker_plane.errors import ConflictError, McpSessionNotFoundError, WebhookError
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.buckets import NatsBucket
from broker_plane.transports.webhook.callbacks import Callbacks
from broker_plane.transports.webhook.record import WebhookSession
from broker_plane.transports.webhook.sessions import ROTATE_SECONDS, WebhookSessions
from broker_plane.web.server import HttpServer
from broker_plane.wire.webhook_signing import secret_of
from tests.webhook_transport.world import callback, guarded, leading_to, posting

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def callbacks() -> AsyncIterator[Callbacks]:
    async with posting(guarded()) as made:
        yield made


def sessions_of(wiring: Wiring, callbacks: Callbacks, clock: Clock) -> WebhookSessions:
    bucket = NatsBucket(wiring.connection, wiring.connection.names.mcp_sessions_bucket)
    return WebhookSessions(bucket, "alpha", callbacks, seconds=3600, now=clock, random_bytes=secrets.token_bytes)


@pytest.fixture
def sessions(wiring: Wiring, callbacks: Callbacks, clock: Clock) -> WebhookSessions:
    return sessions_of(wiring, callbacks, clock)


async def test_another_process_finds_what_one_has_stored(
    wiring: Wiring, callbacks: Callbacks, clock: Clock, sessions: WebhookSessions
) -> None:
    async with callback() as place:
        opened = await sessions.open(place.url, place.channel.secret)
        other = sessions_of(wiring, callbacks, clock)
        await other.change(opened.id, lambda found: replace(found, handshake=("{}",), instance="one"))
        found = await sessions.find(opened.id)
        assert found is not None
        assert (found.callback, found.handshake, found.instance) == (opened.callback, ("{}",), "one")


async def test_the_latest_callback_wins(sessions: WebhookSessions) -> None:
    async with callback("first") as first, callback("second") as second:
        opened = await sessions.open(first.url, first.channel.secret)
        moved = await sessions.called_back_at(opened, second.url, second.channel.secret)
        assert moved.callback.url == second.url
        found = await sessions.find(opened.id)
        assert found == moved


async def test_a_callback_that_is_named_again_is_proven_where_its_name_leads_then(wiring: Wiring, clock: Clock) -> None:
    resolver, _ = leading_to("127.0.0.1", "127.0.0.2")
    async with callback() as place, posting(guarded(resolver)) as callbacks:
        port = int(place.url.rpartition(":")[2].partition("/")[0])
        url = f"http://hooks.example:{port}/here"
        sessions = sessions_of(wiring, callbacks, clock)
        opened = await sessions.open(url, place.channel.secret)
        with pytest.raises(WebhookError):  # nothing listens there
            await sessions.called_back_at(opened, url, place.channel.secret)
        assert await sessions.find(opened.id) == opened
        async with HttpServer(place.receiver, "127.0.0.2", port, stop_seconds=1):
            moved = await sessions.called_back_at(opened, url, place.channel.secret)
        assert [opened.callback.address, moved.callback.address] == ["127.0.0.1", "127.0.0.2"]


async def test_of_two_callbacks_at_once_one_wins_and_the_other_is_refused(sessions: WebhookSessions) -> None:
    async with callback("a") as a, callback("b") as b, callback("c") as c:
        opened = await sessions.open(a.url, a.channel.secret)
        moves = [sessions.called_back_at(opened, place.url, place.channel.secret) for place in (b, c)]
        results = await asyncio.gather(*moves, return_exceptions=True)
        assert sorted(type(each).__name__ for each in results) == ["ConflictError", "WebhookSession"]
        winner = next(each for each in results if isinstance(each, WebhookSession))
        found = await sessions.find(opened.id)
        assert found is not None
        assert found.callback == winner.callback


async def test_a_callback_that_proves_nothing_changes_nothing(sessions: WebhookSessions) -> None:
    async with callback() as place:
        opened = await sessions.open(place.url, place.channel.secret)
        with pytest.raises(WebhookError):
            await sessions.called_back_at(opened, place.url + "else", "")
        assert await sessions.find(opened.id) == opened


async def test_a_rotated_secret_signs_beside_the_old_one_for_a_day(sessions: WebhookSessions, clock: Clock) -> None:
    async with callback() as place:
        opened = await sessions.open(place.url, place.channel.secret)
        new = secret_of(secrets.token_bytes(32))
        rotated = await sessions.called_back_at(opened, place.url, new)  # the receiver still knows the old one
        assert rotated.callback.valid_secrets(clock()) == [new, place.channel.secret]
        clock.ahead = ROTATE_SECONDS + 1
        assert rotated.callback.valid_secrets(clock()) == [new]


async def test_a_closed_session_is_closed_for_everybody_who_still_changes_it(sessions: WebhookSessions) -> None:
    async with callback("a") as a, callback("b") as b:
        opened = await sessions.open(a.url, a.channel.secret)
        closed, moved = await asyncio.gather(
            sessions.close(opened.id), sessions.called_back_at(opened, b.url, b.channel.secret), return_exceptions=True
        )
        assert isinstance(closed, WebhookSession)
        assert isinstance(moved, WebhookSession | McpSessionNotFoundError | ConflictError)
        assert await sessions.find(opened.id) is None
        assert await sessions.close(opened.id) is None
        with pytest.raises(McpSessionNotFoundError):
            await sessions.used(opened.id)


async def test_another_caller_does_not_find_a_session(sessions: WebhookSessions) -> None:
    async with callback() as place:
        opened = await sessions.open(place.url, place.channel.secret, "alice")
        assert (await sessions.used(opened.id, "alice")).id == opened.id
        for caller in ("bob", ""):
            with pytest.raises(McpSessionNotFoundError):
                await sessions.used(opened.id, caller)


async def test_a_session_in_use_is_kept(sessions: WebhookSessions, clock: Clock) -> None:
    async with callback() as place:
        opened = await sessions.open(place.url, place.channel.secret)
        assert (await sessions.used(opened.id)).used == opened.used
        clock.ahead = 3000
        assert (await sessions.used(opened.id)).used > opened.used + 2000


@pytest.mark.parametrize("text", ["", "w", "x" * 33, "w" + "." * 32, "w" + "a" * 33])
async def test_what_is_no_session_id_is_not_looked_up(sessions: WebhookSessions, text: str) -> None:
    assert await sessions.find(text) is None
