"""The DeadLetters port: messages on `bp.dead.<durable>.<feed>` in the JetStream stream BP_DEAD."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every
from broker_plane.errors import StorageError, WireError
from broker_plane.plane.feeds.ports import DeadLetter
from broker_plane.storage.durables import SEQUENCE_HEADER
from broker_plane.storage.layout import ensure_feeds
from broker_plane.wire.feeds import parse_notice

_REPLAY_SECONDS = 7 * 86_400
_MAX_ERROR = 500


class NatsDeadLetters:
    """The DeadLetters port."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names = connection.names

    async def add(self, letter: DeadLetter) -> None:
        """As `DeadLetters.add`."""
        fields = {
            "at": letter.at,
            "durable": letter.durable,
            "sequence": letter.notice.sequence,
            "notice": orjson.loads(letter.notice.pack()),
            "times": letter.attempts,
            "error": letter.error[:_MAX_ERROR],
        }
        # The message id makes repeats within the server's window for duplicates idempotent.
        message_id = f"{letter.durable}.{letter.notice.sequence}"
        subject = self._names.dead_letter_subject(letter.durable, letter.notice.feed)
        raw = orjson.dumps(fields)
        await self._connection.retry(lambda: self._connection.store(subject, raw, {"Nats-Msg-Id": message_id}))

    async def read(self) -> AsyncGenerator[DeadLetter, None]:
        """As `DeadLetters.read`."""
        await ensure_feeds(self._connection)
        async with aclosing(
            every(self._connection, self._names.dead_letter_stream, self._names.dead_letter_subjects)
        ) as messages:
            async for message in messages:
                with suppress(WireError, ValueError, KeyError):
                    yield _letter(message.data, sequence_of(message))

    async def replay(self, letter: DeadLetter) -> None:
        """As `DeadLetters.replay`."""
        # In this order an interruption in between leads to a second replay, and not to a loss.
        headers = {SEQUENCE_HEADER: str(letter.notice.sequence), "Nats-TTL": f"{_REPLAY_SECONDS}s"}
        await self._connection.store(
            self._names.again_subject(letter.durable, letter.notice.feed), letter.notice.pack(), headers
        )
        await self.drop(letter)

    async def drop(self, letter: DeadLetter) -> None:
        """As `DeadLetters.drop`."""
        try:
            await self._connection.retrying_api(
                f"STREAM.MSG.DELETE.{self._names.dead_letter_stream}", {"seq": letter.id, "no_erase": True}
            )
        except StorageError as error:
            if "10057" not in error.reason and "10037" not in error.reason:  # deleted already
                raise


def _letter(raw: bytes, number: int) -> DeadLetter:
    fields = orjson.loads(raw)
    notice = parse_notice(orjson.dumps(fields["notice"]), int(fields["sequence"]))
    return DeadLetter(
        id=number,
        at=float(fields["at"]),
        durable=str(fields["durable"]),
        notice=notice,
        attempts=int(fields["times"]),
        error=str(fields["error"]),
    )
