"""The Durables port: each durable is a JetStream pull consumer (ADR-9, ADR-13) of BP_FEEDS of the same name.

`max_ack_pending` is 1, except for webhooks: the next notice is delivered only after the last one was acknowledged or
given up, even if several processes share the durable and one of them dies. That keeps the order for each key.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import status
from broker_plane.broker.messages import Message
from broker_plane.broker.subscriptions import Subscription
from broker_plane.errors import (
    BrokerUnavailableError,
    DurableError,
    DurableLimitError,
    StorageError,
    WireError,
)
from broker_plane.plane.feeds.limits import DurableLimits, DurablePayer
from broker_plane.plane.feeds.ports import DeliveredNotice, Durable, DurablePosition
from broker_plane.storage.layout import ensure_feeds
from broker_plane.wire.feeds import parse_notice
from broker_plane.wire.plane_names import Names

SEQUENCE_HEADER = "Bp-Sequence"
"""The sequence of the original notice, on a replayed one."""

_ACK_ID = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20}){4}\Z")
_NANO = 10**9
_GRANT, _OWNER = "bp-grant", "bp-owner"
"""Metadata of a JetStream consumer: the account it counts against."""

_REFUSAL_SECONDS = 1.0
"""How long a refusal is repeated without counting again."""

_GRACE_SECONDS = 2.0
"""How long after the expiry of a request its answer is awaited."""


class NatsDurables:
    """The Durables port. Creating durables needs the rights of the user `plane`; a cursor does not."""

    def __init__(self, connection: Connection, limits: DurableLimits | None = None) -> None:
        self._connection = connection
        self._names = connection.names
        self.limits = limits or DurableLimits()
        self._creating = asyncio.Lock()
        self._refused: dict[DurablePayer, tuple[float, DurableLimitError]] = {}

    async def ensure(self, durable: Durable, start: Callable[[], Awaitable[int]]) -> None:
        """As `Durables.ensure`."""
        await ensure_feeds(self._connection)
        found = await self._config(durable.name)
        if found is None:
            found = await self._create(durable, start)
        if found.get("filter_subjects") != _subjects(self._names, durable):
            raise DurableError(
                f"The durable {durable.name!r} belongs to another feed; choose another name, or remove that one first"
            )
        changed = {"ack_wait": int(durable.ack_seconds * _NANO)}
        if durable.idle_seconds is not None:  # another grant of the same holder may live longer
            changed["inactive_threshold"] = max(int(durable.idle_seconds * _NANO), found.get("inactive_threshold", 0))
        if found | changed != found:
            request = {
                "stream_name": self._names.feeds_stream,
                "config": found | changed,
                "action": "update",
            }
            await self._connection.api(f"CONSUMER.CREATE.{self._names.feeds_stream}.{durable.name}", request)

    async def check(self, payer: DurablePayer) -> None:
        """Raise DurableLimitError unless `payer` may have one more durable, by those that the broker has now."""
        now = monotonic()
        until, error = self._refused.get(payer, (0.0, None))
        if error is not None and now < until:
            raise error
        self._refused = {each: kept for each, kept in self._refused.items() if now < kept[0]}
        try:
            self.limits.check(payer, await self._payers())
        except DurableLimitError as refusal:
            # Repeated requests do not make the broker list all durables each time.
            self._refused[payer] = (now + _REFUSAL_SECONDS, refusal)
            raise

    async def exists(self, name: str) -> bool:
        """As `Durables.exists`."""
        await ensure_feeds(self._connection)
        return await self._config(name) is not None

    async def _create(self, durable: Durable, start: Callable[[], Awaitable[int]]) -> dict[str, Any]:
        """Create it. One at a time, so that concurrent requests are counted."""
        async with self._creating:
            if durable.payer is not None:
                await self.check(durable.payer)
            config = _config(self._names, durable, await start())
            request = {"stream_name": self._names.feeds_stream, "config": config, "action": "create"}
            try:
                await self._connection.api(f"CONSUMER.CREATE.{self._names.feeds_stream}.{durable.name}", request)
            except StorageError:  # another process may have created it meanwhile
                if await self._config(durable.name) is None:
                    raise
            return await self._config(durable.name) or config

    async def _payers(self) -> list[DurablePayer]:
        """Return the payers of all durables that have one."""
        metadata = [_metadata(consumer) for consumer in await self._consumers()]
        return [DurablePayer(each[_GRANT], each.get(_OWNER, "")) for each in metadata if _GRANT in each]

    async def positions(self, feed: str) -> dict[str, DurablePosition]:
        """Return the position of every durable of `feed`, by name."""
        subject = self._names.feed_subject(feed)
        found = [each for each in await self._consumers() if subject in (each["config"].get("filter_subjects") or ())]
        return {each["name"]: _position(each) for each in found}

    async def _consumers(self) -> list[dict[str, Any]]:
        consumers: list[dict[str, Any]] = []
        while True:
            found = await self._connection.api(f"CONSUMER.LIST.{self._names.feeds_stream}", {"offset": len(consumers)})
            some = found.get("consumers") or []
            consumers += some
            if not some or len(consumers) >= found["total"]:
                return consumers

    @asynccontextmanager
    async def cursor(self, durable: Durable) -> AsyncIterator[NatsDurableCursor]:
        """As `Durables.cursor`."""
        await self._connection.wait_connected()  # waiting for events starts no broker; publishing one does
        inbox = self._connection.inbox()
        async with self._connection.subscribe(inbox) as listening:
            yield NatsDurableCursor(self._connection, listening, inbox, durable)

    async def ack(self, durable: Durable, ack_id: str) -> None:
        """As `Durables.ack`."""
        if not _ACK_ID.match(ack_id):
            raise WireError("Invalid id of an event; send the id that the event came with")
        await self._connection.request(f"$JS.ACK.{self._names.feeds_stream}.{durable.name}.{ack_id}", b"+ACK")

    async def remove(self, name: str) -> None:
        """As `Durables.remove`."""
        try:
            await self._connection.api(f"CONSUMER.DELETE.{self._names.feeds_stream}.{name}")
        except StorageError as error:
            if "10014" not in error.reason and "10059" not in error.reason:
                raise

    async def names(self) -> list[str]:
        """Return the names of all durables."""
        names: list[str] = []
        while True:
            found = await self._connection.retrying_api(
                f"CONSUMER.NAMES.{self._names.feeds_stream}", {"offset": len(names)}
            )
            names += found.get("consumers") or []
            if len(names) >= found["total"]:
                return names

    async def _config(self, name: str) -> dict[str, Any] | None:
        try:
            info = await self._connection.retrying_api(f"CONSUMER.INFO.{self._names.feeds_stream}.{name}")
        except StorageError as error:
            if "10014" in error.reason:
                return None
            raise
        config: dict[str, Any] = info["config"]
        return config


class NatsDurableCursor:
    """The DurableCursor port: one request for one notice at a time, on an inbox of its own."""

    def __init__(self, connection: Connection, listening: Subscription, inbox: str, durable: Durable) -> None:
        self._connection = connection
        self._names = connection.names
        self._listening = listening
        self._inbox = inbox
        self._durable = durable

    async def next(self, seconds: float) -> DeliveredNotice | None:
        """As `DurableCursor.next`."""
        await self._connection.wait_connected()
        request = {"batch": 1, "expires": int(seconds * _NANO)}
        subject = f"{self._connection.js_api}.CONSUMER.MSG.NEXT.{self._names.feeds_stream}.{self._durable.name}"
        await self._connection.publish(subject, orjson.dumps(request), reply=self._inbox)
        message = await self._listening.next(seconds + _GRACE_SECONDS)
        number = status(message)
        if not number:
            return _delivered(message)
        description = (message.headers or {}).get("Description", "")
        if number in ("404", "408"):
            return None
        if number == "409" and "Deleted" in description:
            raise DurableError(f"The durable {self._durable.name!r} was deleted; subscribe again")
        reason = f"{number} {description}"
        raise BrokerUnavailableError("The broker cannot deliver notices now; try again", reason=reason, retry_after=1)

    async def ack(self, delivered: DeliveredNotice) -> None:
        """As `DurableCursor.ack`."""
        await self._connection.publish(delivered.ack_subject, b"+ACK")

    async def nack(self, delivered: DeliveredNotice, delay: float) -> None:
        """As `DurableCursor.nack`."""
        nack = b"-NAK " + orjson.dumps({"delay": int(delay * _NANO)})
        await self._connection.publish(delivered.ack_subject, nack)

    async def in_progress(self, delivered: DeliveredNotice) -> None:
        """As `DurableCursor.in_progress`."""
        await self._connection.publish(delivered.ack_subject, b"+WPI")


def _metadata(consumer: dict[str, Any]) -> dict[str, str]:
    metadata: dict[str, str] = consumer["config"].get("metadata") or {}
    return metadata


def _position(consumer: dict[str, Any]) -> DurablePosition:
    # Subscribers with several pending notices are webhooks, which are given no changes.
    in_order = consumer["num_ack_pending"] == 1 and consumer["config"].get("max_ack_pending") == 1
    pending = consumer["delivered"]["stream_seq"] if in_order else 0
    return DurablePosition(acked=consumer["ack_floor"]["stream_seq"], pending=pending)


def _subjects(names: Names, durable: Durable) -> list[str]:
    return [names.feed_subject(durable.feed), names.again_subject(durable.name, durable.feed)]


def _config(names: Names, durable: Durable, start: int) -> dict[str, Any]:
    idle = {} if durable.idle_seconds is None else {"inactive_threshold": int(durable.idle_seconds * _NANO)}
    return {
        "durable_name": durable.name,
        "name": durable.name,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": max(1, start),
        "ack_policy": "explicit",
        "ack_wait": int(durable.ack_seconds * _NANO),
        # No limit in the server: it would drop a notice that is to become a dead letter.
        "max_deliver": -1,
        "max_ack_pending": durable.max_ack_pending,
        "filter_subjects": _subjects(names, durable),
        "replay_policy": "instant",
        **idle,
        **({"metadata": {_GRANT: durable.payer.grant, _OWNER: durable.payer.owner}} if durable.payer else {}),
    }


def _delivered(message: Message) -> DeliveredNotice:
    """Parse the reply subject (ADR-15): `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<sequence>.….`"""
    tokens = message.reply.split(".")
    first = 4 if len(tokens) == 9 else 6
    attempt, sequence = int(tokens[first]), int(tokens[first + 1])
    original = (message.headers or {}).get(SEQUENCE_HEADER)
    notice = parse_notice(message.data, int(original or sequence))
    ack_id = ".".join(tokens[first : first + 5])
    return DeliveredNotice(notice=notice, attempt=attempt, ack_subject=message.reply, ack_id=ack_id)
