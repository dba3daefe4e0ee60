"""Signed POSTs without feeds: what is sent, and the verification of a receiver."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from broker_plane.errors import WebhookError
from broker_plane.plane.webhooks.signed_post import NONCE_BYTES, SignedPost, WebhookResponse
from broker_plane.wire.webhook_signing import secret_of, signed_headers

pytestmark = pytest.mark.anyio
SECRET = secret_of(b"s" * 32)
URL = "https://lists.example/hook"
NONCE = bytes(range(NONCE_BYTES))


class Transport:
    """Records what is posted; `answer` makes the response of the body."""

    def __init__(self, answer: Any = lambda body: WebhookResponse(200)) -> None:
        self.sent: list[tuple[str, bytes, dict[str, str]]] = []
        self._answer = answer

    async def post(self, url: str, body: bytes, headers: dict[str, str], now: float) -> WebhookResponse:
        self.sent.append((url, body, headers))
        response: WebhookResponse = self._answer(body)
        return response


def signed(transport: Transport) -> SignedPost:
    return SignedPost(transport, now=lambda: 1_700_000_000.9)


async def test_a_message_is_signed_with_each_secret_and_has_the_senders_headers() -> None:
    transport, other = Transport(), secret_of(b"t" * 32)
    await signed(transport).send(URL, "msg_1", b"{}", [SECRET, other], {"x-mcp-subscription-id": "s"})
    expected = signed_headers("msg_1", 1_700_000_000, b"{}", [SECRET, other]) | {"x-mcp-subscription-id": "s"}
    assert transport.sent == [(URL, b"{}", expected)]


@pytest.mark.parametrize(("status", "accepted"), [(0, False), (199, False), (200, True), (204, True), (300, False)])
def test_a_message_is_accepted_by_any_2xx(status: int, accepted: bool) -> None:
    assert WebhookResponse(status).accepted is accepted


async def test_a_receiver_is_verified_by_the_challenge_that_it_echoes() -> None:
    transport = Transport(
        lambda body: WebhookResponse(200, orjson.dumps({"challenge": orjson.loads(body)["challenge"]}))
    )
    await signed(transport).verify(URL, [SECRET], NONCE, feed="crm.contacts")
    ((_, body, headers),) = transport.sent
    fields = orjson.loads(body)
    assert (fields["type"], fields["feed"]) == ("verification", "crm.contacts")
    assert headers["webhook-id"].startswith("msg_verification_")
    assert fields["challenge"] not in headers["webhook-id"]


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (WebhookResponse(200, b'{"challenge": "another"}'), "answered 200"),
        (WebhookResponse(200, b'["challenge"]'), "answered 200"),
        (WebhookResponse(200, b"\xff"), "answered 200"),
        (WebhookResponse(500, b"{}"), "answered 500"),
        (WebhookResponse(0, error="ConnectError"), "ConnectError"),
    ],
)
async def test_a_receiver_that_does_not_echo_is_refused(response: WebhookResponse, said: str) -> None:
    url = URL.replace("://", "://user:secret@")
    with pytest.raises(WebhookError, match=f"The endpoint at [a-z.:0-9]+ failed the verification.*{said}"):
        await signed(Transport(lambda body: response)).verify(url, [SECRET], NONCE)
