"""A server's messages about no request, as the channel of a webhook client takes them."""

from __future__ import annotations

import pytest

from broker_plane.transports.webhook.channel import OWN_REPEATED_SECONDS, CallbackChannel, OwnMessages
from broker_plane.transports.webhook.message_ids import OWN_MESSAGES, MessageId

pytestmark = pytest.mark.anyio
CHANGED = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'


async def test_one_that_was_given_up_holds_up_none_that_follow() -> None:
    channel = CallbackChannel(["whsec_"], 1 << 20)
    for number in (1, 3, 3, 4):
        assert channel.take(MessageId("w" * 20, OWN_MESSAGES, number), CHANGED)
    channel.close()
    assert [line async for line in channel.lines()] == [CHANGED + b"\n"] * 3


def test_numbers_that_begin_again_are_no_repeats_once_nothing_is_repeated_any_more() -> None:
    own = OwnMessages()
    assert own.is_new(1, 0.0)
    assert not own.is_new(1, OWN_REPEATED_SECONDS)
    assert own.is_new(1, OWN_REPEATED_SECONDS + 1.0)
