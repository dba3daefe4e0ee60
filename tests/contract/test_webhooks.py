"""Webhooks to a real receiver that is down, slow, answers 500, 429 or 410, and to addresses that nobody may reach."""

from __future__ import annotations

import asyncio
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from msgspec.structs import replace

from broker_plane import Plane
from broker_plane.client.guard import webhook_guard
from broker_plane.client.post import WebhookPost
from broker_plane.config import Settings, load_settings
from broker_plane.errors import UntrustedHostError, WebhookError
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer

pytestmark = pytest.mark.anyio
Answerer = Callable[[int], tuple[int, dict[str, str]]]
"""Of the number of the event's try: status and headers."""


@dataclass
class Heard:
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return json.loads(self.body)

    def signed_by(self, secret: str) -> bool:
        content = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        digest = hmac.digest(b64decode(secret.removeprefix("whsec_")), content, "sha256")
        return f"v1,{b64encode(digest).decode()}" in self.headers["webhook-signature"].split(" ")


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


class Receiver:
    """An HTTP server that keeps what it hears; `answer` says what it answers to an event."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.challenges: list[Heard] = []
        self.answer: Answerer = lambda times: (200, {})
        self.echo = True
        self.port = 0
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def taken(self) -> set[str]:
        return {heard.headers["webhook-id"] for heard in self.heard}

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await asyncio.gather(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            pairs = [line.partition(":") for line in head[1:] if line]
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            heard = Heard(headers, await reader.readexactly(int(headers["content-length"])))
            status, more, body = self._judge(heard)
            fields = "".join(f"{name}: {value}\r\n" for name, value in more.items())
            writer.write(f"HTTP/1.1 {status} X\r\n{fields}content-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        await closed(writer)

    def _judge(self, heard: Heard) -> tuple[int, dict[str, str], bytes]:
        if heard.event.get("type") == "verification":
            self.challenges.append(heard)
            echoed = {"challenge": heard.event["challenge"]} if self.echo else {}
            return 200, {}, json.dumps(echoed).encode()
        self.heard.append(heard)
        times = [each.headers["webhook-id"] for each in self.heard].count(heard.headers["webhook-id"])
        return *self.answer(times), b""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    started = Receiver()
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
def quick(own_server: NatsServer, tmp_path: Path) -> Settings:
    """Webhooks may go to this machine, and are tried again at once."""
    return load_settings(
        nats_url=own_server.url,
        data_dir=tmp_path,
        webhook_networks="127.0.0.0/8",
        webhook_retry_delays_seconds="0.01,0.01,0.01",
    )


@pytest.fixture
async def plane(quick: Settings) -> AsyncIterator[Plane]:
    async with Plane.connect(quick) as connected:
        yield connected


async def publish(plane: Plane, feed: str = "crm.contacts") -> int:
    rows = [{"id": 1, "name": uuid4().hex, "secret": "s"}]
    return (await plane.publish(rows, feed=feed, key="id")).version


async def test_an_endpoint_that_answered_for_itself_is_told_of_each_version(plane: Plane, receiver: Receiver) -> None:
    hooks = plane.webhooks
    endpoint, secret = await hooks.add("crm.contacts", receiver.url, columns=["id", "name"])
    assert receiver.challenges[0].signed_by(secret)
    await publish(plane)
    await until(lambda: receiver.heard, "the event")
    heard = receiver.heard[0]
    assert heard.signed_by(secret)
    assert (heard.event["type"], heard.event["data"]["version"]) == ("feed.version", 1)
    assert heard.event["data"]["columns"] == ["id", "name"]
    assert "secret" not in heard.body.decode()
    async with httpx2.AsyncClient(verify=False, trust_env=False) as client:
        (row,) = (await client.get(heard.event["data"]["resource_url"])).json()
    assert row.keys() == {"id", "name"}
    hooks = plane.webhooks
    (attempt,) = await until(lambda: hooks.attempts(endpoint.id), "the log")
    assert (attempt["status"], attempt["times"]) == (200, 1)


async def test_a_try_that_the_bridge_may_not_make_is_in_the_log_with_the_reason(
    quick: Settings, receiver: Receiver
) -> None:
    """The bridge that sends was started by another process, which did not have the setting."""
    other = replace(quick, webhook_networks="")
    here = replace(quick, bridge_url="http://127.0.0.1:1")  # registers, and sends nothing
    async with Plane.connect(other) as plane, Plane.connect(here) as registering:
        hooks = registering.webhooks
        endpoint, _ = await hooks.add("crm.contacts", receiver.url)
        await publish(plane)
        hooks = plane.webhooks
        attempts = await until(lambda: hooks.attempts(endpoint.id), "the log")
    assert (attempts[0]["status"], attempts[0]["times"]) == (0, 1)
    assert "BROKER_PLANE_WEBHOOK_NETWORKS" in attempts[0]["error"] and "bridge" in attempts[0]["error"]
    assert not receiver.heard


async def test_each_attempt_is_logged_with_its_outcome_and_without_a_grant(
    plane: Plane, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "broker_plane.plane.feeds.webhook_sender")
    receiver.answer = lambda times: (500 if times < 3 else 200, {})
    hooks = plane.webhooks
    endpoint, secret = await hooks.add("crm.contacts", receiver.url)
    await publish(plane)

    def attempts() -> list[tuple[str, int, int]]:
        logged = [each for each in caplog.records if each.name == "broker_plane.plane.feeds.webhook_sender"]
        return [(each.levelname, each.fields["times"], each.fields["status"]) for each in logged]  # type: ignore[attr-defined]

    await until(lambda: len(attempts()) == 3, "three attempts in the log")
    assert attempts() == [("WARNING", 1, 500), ("WARNING", 2, 500), ("INFO", 3, 200)]
    assert endpoint.id in caplog.text
    grant = receiver.heard[0].event["data"]["resource_url"].split("/v1/feeds/")[1].partition("/")[0]
    assert len(grant) > 60
    assert grant not in caplog.text
    assert secret not in caplog.text


async def test_who_does_not_echo_the_challenge_is_not_registered(plane: Plane, receiver: Receiver) -> None:
    receiver.echo = False
    hooks = plane.webhooks
    with pytest.raises(WebhookError, match="challenge"):
        await hooks.add("crm.contacts", receiver.url)
    assert await hooks.list() == []


@pytest.mark.parametrize("status", [500, 302, 404, 503])
async def test_what_was_not_taken_comes_again_with_the_same_id_and_is_a_dead_letter_at_last(
    plane: Plane, receiver: Receiver, status: int
) -> None:
    receiver.answer = lambda times: (status if times < 3 else 200, {"location": receiver.url})
    hooks = plane.webhooks
    endpoint, _ = await hooks.add("crm.contacts", receiver.url)
    await publish(plane)
    await until(lambda: len(receiver.heard) == 3, "the third try")
    assert len(receiver.taken) == 1
    receiver.answer = lambda times: (status, {})
    await publish(plane)
    (letter,) = await until(lambda: plane.feeds.dead_letters(endpoint.durable), "a dead letter")
    assert (letter.notice.version, letter.attempts) == (2, 4)
    assert str(status) in letter.error
    receiver.answer = lambda times: (200, {})
    count = len(receiver.heard)
    await plane.feeds.replay([])
    await until(lambda: len(receiver.heard) > count, "the replay")
    assert receiver.heard[-1].event["data"]["version"] == 2


async def test_an_event_that_waits_does_not_hold_up_those_behind_it(plane: Plane, receiver: Receiver) -> None:
    receiver.answer = lambda times: (429, {"retry-after": "3600"}) if len(receiver.taken) == 1 else (200, {})
    hooks = plane.webhooks
    await hooks.add("crm.contacts", receiver.url)
    await publish(plane)
    await until(lambda: receiver.heard, "the first")
    await publish(plane)
    await until(lambda: len(receiver.taken) == 2, "the second")
    assert len(receiver.heard) == 2


async def test_gone_disables_and_who_answers_again_goes_on_where_it_was(plane: Plane, receiver: Receiver) -> None:
    receiver.answer = lambda times: (410, {})
    hooks = plane.webhooks
    endpoint, _ = await hooks.add("crm.contacts", receiver.url)
    await publish(plane)

    async def disabled() -> bool:
        return [each.state for each in await hooks.list()] == ["disabled"]

    await until(disabled, "the endpoint to be disabled")
    await publish(plane)
    receiver.answer = lambda times: (200, {})
    await hooks.enable(endpoint.id)
    await until(lambda: {heard.event["data"]["version"] for heard in receiver.heard} == {1, 2}, "both versions")


async def test_a_receiver_that_was_down_and_a_plane_that_was_too_lose_no_event(
    quick: Settings, own_server: NatsServer, receiver: Receiver
) -> None:
    patient = replace(quick, webhook_retry_delays_seconds=",".join(["0.05"] * 400))
    async with Plane.connect(patient) as plane:
        hooks = plane.webhooks
        await hooks.add("crm.contacts", receiver.url)
        await receiver.stop()
        for _ in range(5):
            await publish(plane)
    own_server.kill()
    own_server.start()
    await receiver.start()
    async with Plane.connect(patient) as plane:
        await until(lambda: len(receiver.taken) == 5, "every event", 30)
    assert {heard.event["data"]["version"] for heard in receiver.heard} == {1, 2, 3, 4, 5}


async def test_both_secrets_sign_while_they_are_rotated(plane: Plane, receiver: Receiver) -> None:
    hooks = plane.webhooks
    endpoint, old = await hooks.add("crm.contacts", receiver.url)
    new = await hooks.rotate(endpoint.id)
    await publish(plane)
    await until(lambda: receiver.heard, "the event")
    assert receiver.heard[0].signed_by(old) and receiver.heard[0].signed_by(new)
    newest = await hooks.endpoints.rotate(endpoint.id, seconds=0)
    await publish(plane)
    await until(lambda: len(receiver.heard) == 2, "the next")
    assert receiver.heard[1].signed_by(newest) and not receiver.heard[1].signed_by(new)
    assert newest not in repr(await hooks.list()) and "whsec" not in json.dumps(
        [e.to_wire() for e in await hooks.list()]
    )


async def test_who_is_removed_hears_nothing_more(plane: Plane, receiver: Receiver) -> None:
    other = Receiver()
    await other.start()
    try:
        hooks = plane.webhooks
        endpoint, _ = await hooks.add("crm.contacts", receiver.url)
        await hooks.add("crm.contacts", other.url)
        await hooks.remove(endpoint.id)
        await publish(plane)
        await until(lambda: other.heard, "the other's event")
        assert len(await hooks.list()) == 1
        assert not receiver.heard
    finally:
        await other.stop()


async def test_a_receiver_that_is_too_slow_has_not_answered(receiver: Receiver) -> None:
    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while not reader.at_eof():
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.01)
        await closed(writer)
        ended.set()

    ended = asyncio.Event()

    server = await asyncio.start_server(dawdle, "127.0.0.1", 0)
    post = WebhookPost(webhook_guard(("127.0.0.0/8",)), seconds=0.1)
    try:
        port = server.sockets[0].getsockname()[1]
        answer = await post.post(f"http://127.0.0.1:{port}/", b"{}", {}, 0.0)
        assert (answer.status, answer.accepted, answer.error) == (0, False, "TimeoutError")
        await asyncio.wait_for(ended.wait(), 20)
    finally:
        await post.close()
        server.close()


INSIDE = [
    "http://127.0.0.1/",
    "https://127.0.0.1/",
    "https://localhost/",
    "https://0.0.0.0/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://127.1/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://100.64.0.1/",
    "https://224.0.0.1/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fd00::1]/",
    "https://[fe80::1]/",
    "https://user@8.8.8.8/",
    "https://8.8.8.8:22/",
    "http://8.8.8.8/",
    "ftp://8.8.8.8/",
    "https:///",
    "https://8.8.8.8:99999/",
]


@pytest.mark.parametrize("url", INSIDE)
async def test_nothing_is_sent_inside(url: str) -> None:
    with pytest.raises(UntrustedHostError):
        await webhook_guard().check(url)


async def test_what_is_public_or_listed_is_allowed() -> None:
    assert (await webhook_guard().check("https://8.8.8.8/a?b=c")).url == "https://8.8.8.8:443/a?b=c"
    assert (await webhook_guard(("127.0.0.0/8",)).check("http://127.0.0.1:99/")).url == "http://127.0.0.1:99/"
