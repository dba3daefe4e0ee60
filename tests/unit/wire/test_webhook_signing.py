"""Standard Webhooks: the example of the specification, secrets and their rotation."""

from __future__ import annotations

import pytest

from broker_plane.errors import WireError
from broker_plane.wire.webhook_signing import (
    WebhookSecret,
    key_of_secret,
    rotated_secrets,
    secret_of,
    signed_headers,
    valid_secrets,
)


def test_the_example_of_the_specification() -> None:
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_secret_has_24_to_64_bytes(size: int) -> None:
    raw = bytes(size)
    assert key_of_secret(secret_of(raw)) == raw


@pytest.mark.parametrize("size", [0, 23, 65])
def test_a_shorter_or_longer_secret_is_refused(size: int) -> None:
    with pytest.raises(WireError):
        secret_of(bytes(size))


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!", "whsec_QUFB"])
def test_a_malformed_secret_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        key_of_secret(text)


def test_while_a_secret_is_rotated_both_sign_and_then_the_new_one_alone() -> None:
    rotated = rotated_secrets((WebhookSecret("old"), WebhookSecret("older", 50.0)), "new", 100.0)
    assert valid_secrets(rotated, 99.0) == ["new", "old"]
    assert valid_secrets(rotated, 100.0) == ["new"]


def test_a_secret_shows_nothing_of_itself() -> None:
    assert "text" not in repr(WebhookSecret("whsec_text"))
