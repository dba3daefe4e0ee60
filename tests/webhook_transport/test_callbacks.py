"""Callbacks that prove themselves, and addresses to which no packet is sent."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest

from broker_plane.errors import UntrustedHostError, WebhookError, WireError
from broker_plane.testing.processes import until
from broker_plane.transports.webhook.record import Callback
from broker_plane.wire.webhook_signing import WebhookSecret, secret_of
from tests.webhook_transport.world import Place, callback, counted, guarded, leading_to, posting

pytestmark = pytest.mark.anyio

LINE = b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}'


def signing(place: Place) -> tuple[WebhookSecret, ...]:
    return (WebhookSecret(place.channel.secret),)


async def test_a_callback_that_echoes_the_challenge_is_proven_and_gets_signed_messages() -> None:
    async with callback() as place, posting(guarded()) as callbacks:
        proven = await callbacks.prove(place.url, signing(place))
        response = await callbacks.send(proven, "wS:E:1", LINE, {})
        assert response.accepted
        (message_id, message) = place.channel.taken[0]
        assert str(message_id) == "wS:E:1"
        assert message["method"] == "notifications/message"


async def test_a_callback_that_does_not_know_the_secret_is_refused() -> None:
    async with callback() as place, posting(guarded()) as callbacks:
        other = (WebhookSecret(secret_of(secrets.token_bytes(32))),)
        with pytest.raises(WebhookError, match="answered 401"):
            await callbacks.prove(place.url, other)
        with pytest.raises(WebhookError, match="answered 404"):
            await callbacks.prove(place.url + "else", signing(place))


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",  # 169.254.169.254 as one number
        "http://10.0.0.1/",
        "ftp://example.com/",
        "http://user:secret@127.0.0.1/",
    ],
)
async def test_no_packet_goes_to_an_address_that_is_not_allowed(url: str) -> None:
    async with posting(guarded()) as callbacks:
        with pytest.raises(UntrustedHostError):
            await callbacks.prove(url, (WebhookSecret(secret_of(bytes(32))),))


async def test_without_a_setting_a_callback_on_this_machine_is_refused_with_no_connection() -> None:
    async with counted() as found, posting(guarded(networks="")) as callbacks:
        for host in ("127.0.0.1", "localhost", "[::1]"):
            with pytest.raises(UntrustedHostError):
                await callbacks.prove(f"http://{host}:{found[0]}/", (WebhookSecret(secret_of(bytes(32))),))
        assert found[1:] == []


async def test_a_name_that_rebinds_leads_nowhere_new() -> None:
    """It is resolved once: at 127.0.0.1 it was proven, and 127.0.0.2 gets nothing afterwards."""
    resolver, asked = leading_to("127.0.0.1", "127.0.0.2")
    async with callback() as place, counted("127.0.0.2") as other, posting(guarded(resolver)) as callbacks:
        proven = await callbacks.prove(place.url.replace("127.0.0.1", "rebinds.example"), signing(place))
        assert (await callbacks.send(proven, "wS:E:1", LINE, {})).accepted
        assert asked == ["rebinds.example"]
        assert other[1:] == []


async def test_a_callback_has_moved_once_its_name_leads_elsewhere() -> None:
    resolver, asked = leading_to("127.0.0.1", "127.0.0.1", "127.0.0.2")
    async with callback() as place, posting(guarded(resolver)) as callbacks:
        proven = await callbacks.prove(place.url.replace("127.0.0.1", "hooks.example"), signing(place))
        assert [await callbacks.moved(proven), await callbacks.moved(proven)] == [False, True]
        assert asked == ["hooks.example"] * 3


async def test_a_name_that_leads_to_a_forbidden_address_is_refused_with_no_connection() -> None:
    resolver, _ = leading_to("127.0.0.2")
    async with counted("127.0.0.2") as other, posting(guarded(resolver, "127.0.0.1/32")) as callbacks:
        with pytest.raises(UntrustedHostError):
            await callbacks.prove(f"http://inside.example:{other[0]}/", (WebhookSecret(secret_of(bytes(32))),))
        assert other[1:] == []


async def test_an_address_that_is_no_longer_allowed_gets_nothing() -> None:
    async with counted("127.0.0.2") as other, posting(guarded(networks="127.0.0.1/32")) as callbacks:
        secret = WebhookSecret(secret_of(bytes(32)))
        proven = Callback(url=f"http://name.example:{other[0]}/", address="127.0.0.2", secrets=(secret,))
        with pytest.raises(UntrustedHostError):
            await callbacks.send(proven, "wS:E:1", LINE, {})
        assert other[1:] == []


@asynccontextmanager
async def redirecting(port: int) -> AsyncIterator[str]:
    async def moved(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:{port}/\r\ncontent-length: 0\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(moved, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_a_redirect_is_not_followed() -> None:
    async with counted() as found, redirecting(found[0]) as url, posting(guarded()) as callbacks:
        with pytest.raises(WebhookError, match="answered 307"):
            await callbacks.prove(url, (WebhookSecret(secret_of(bytes(32))),))
        assert found[1:] == []


async def test_a_url_that_is_too_long_is_refused() -> None:
    async with posting(guarded()) as callbacks:
        with pytest.raises(WireError):
            await callbacks.prove("http://127.0.0.1/" + "a" * 2048, (WebhookSecret(secret_of(bytes(32))),))


async def test_sockets_that_are_not_used_are_closed_also_if_nothing_else_is_sent() -> None:
    async with callback() as place, posting(guarded(), kept_seconds=0.2) as callbacks:
        proven = await callbacks.prove(place.url, signing(place))
        place.held.clear()
        sending = [asyncio.create_task(callbacks.send(proven, f"wS:E:{n}", LINE, {})) for n in range(1, 9)]
        await until(lambda: place.under_way == 8, "eight messages under way")
        assert sockets_to(place) == 8
        place.held.set()
        assert all(response.accepted for response in await asyncio.gather(*sending))
        await until(lambda: not sockets_to(place), "no socket")
        assert (await callbacks.send(proven, "wS:E:9", LINE, {})).accepted


def sockets_to(place: Place) -> int:
    """The sockets of this process that lead to a callback."""
    found = psutil.Process().net_connections("tcp4")
    return len([each for each in found if each.raddr and f":{each.raddr.port}/" in place.url])
