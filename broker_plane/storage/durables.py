"""Durable positions in feeds: JetStream pull consumers (ADR-9, ADR-13) of BP_FEEDS, one for each durable.

`max_ack_pending` is 1, but for webhooks: a notice is under way at one subscriber, and the next one comes after it was
taken or given up, also where several processes share the durable and one of them dies. That keeps the order by key.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import orjson
from nats.aio.msg import Msg

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import status
from broker_plane.broker.subscriptions import Listening
from broker_plane.errors import BrokerUnavailableError, DurableError, DurableLimitError, StorageError, WireError
from broker_plane.plane.feeds.limits import DurableLimits, Payer
from broker_plane.plane.feeds.ports import Delivered, Durable, Standing
from broker_plane.storage.layout import ensure_feeds
from broker_plane.wire.durables import FEEDS
from broker_plane.wire.feeds import again_subject, feed_subject, parse_notice

SEQUENCE_HEADER = "Bp-Sequence"
"""Of a replayed notice: where the notice itself stands."""

_DELIVERY = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20}){4}\Z")
_NANO = 10**9
_GRANT, _OWNER = "bp-grant", "bp-owner"
"""Metadata of a consumer: on whose account it is."""

_FULL_SECONDS = 1.0
_LATE_SECONDS = 2.0
"""After a request's own end; an answer that is later is none."""


class NatsDurables:
    """The Durables port. What makes consumers needs the rights of PLANE; a session does not."""

    def __init__(self, connection: Connection, replicas: int = 1, limits: DurableLimits | None = None) -> None:
        self._connection = connection
        self._replicas = replicas
        self.limits = limits or DurableLimits()
        self._creating = asyncio.Lock()
        self._full: dict[Payer, tuple[float, DurableLimitError]] = {}

    async def ensure(self, durable: Durable, start: Callable[[], Awaitable[int]]) -> None:
        await ensure_feeds(self._connection, self._replicas)
        found = await self._config(durable.name)
        if found is None:
            found = await self._create(durable, start)
        if found.get("filter_subjects") != _subjects(durable):
            raise DurableError(
                f"The durable {durable.name!r} is of another feed; take another name, or remove that one first"
            )
        changed = {"ack_wait": int(durable.ack_seconds * _NANO)}
        if durable.idle_seconds is not None:  # another grant of the same holder may live longer
            changed["inactive_threshold"] = max(int(durable.idle_seconds * _NANO), found.get("inactive_threshold", 0))
        if found | changed != found:
            request = {"stream_name": FEEDS, "config": found | changed, "action": "update"}
            await self._connection.api(f"CONSUMER.CREATE.{FEEDS}.{durable.name}", request)

    async def check(self, payer: Payer) -> None:
        """Raise DurableLimitError unless `payer` may have one more durable, by what the broker has now."""
        now = monotonic()
        until, error = self._full.get(payer, (0.0, None))
        if error is not None and now < until:
            raise error
        self._full = {each: kept for each, kept in self._full.items() if now < kept[0]}
        try:
            self.limits.check(payer, await self._payers())
        except DurableLimitError as refusal:
            # Whoever goes on asking does not make the broker list them each time.
            self._full[payer] = (now + _FULL_SECONDS, refusal)
            raise

    async def exists(self, name: str) -> bool:
        await ensure_feeds(self._connection, self._replicas)
        return await self._config(name) is not None

    async def _create(self, durable: Durable, start: Callable[[], Awaitable[int]]) -> dict[str, Any]:
        """One after the other, so that those who come at once are counted."""
        async with self._creating:
            if durable.payer is not None:
                await self.check(durable.payer)
            config = _config(durable, await start())
            request = {"stream_name": FEEDS, "config": config, "action": "create"}
            try:
                await self._connection.api(f"CONSUMER.CREATE.{FEEDS}.{durable.name}", request)
            except StorageError:  # another process may have made it in between
                if await self._config(durable.name) is None:
                    raise
            return await self._config(durable.name) or config

    async def _payers(self) -> list[Payer]:
        """Of every durable that has one."""
        metadata = [_metadata(consumer) for consumer in await self._consumers()]
        return [Payer(each[_GRANT], each.get(_OWNER, "")) for each in metadata if _GRANT in each]

    async def standings(self, feed: str) -> dict[str, Standing]:
        """Where every durable of `feed` stands, by its name."""
        subject = feed_subject(feed)
        found = [each for each in await self._consumers() if subject in (each["config"].get("filter_subjects") or ())]
        return {each["name"]: _standing(each) for each in found}

    async def _consumers(self) -> list[dict[str, Any]]:
        consumers: list[dict[str, Any]] = []
        while True:
            found = await self._connection.api(f"CONSUMER.LIST.{FEEDS}", {"offset": len(consumers)})
            some = found.get("consumers") or []
            consumers += some
            if not some or len(consumers) >= found["total"]:
                return consumers

    @asynccontextmanager
    async def session(self, durable: Durable) -> AsyncIterator[NatsSession]:
        await self._connection.reachable()  # who waits for events starts no broker: whoever publishes one does
        inbox = self._connection.inbox()
        async with self._connection.listening(inbox) as listening:
            yield NatsSession(self._connection, listening, inbox, durable)

    async def taken(self, durable: Durable, delivery: str) -> None:
        if not _DELIVERY.match(delivery):
            raise WireError("This is no event of a durable; say the id that came with it")
        await self._connection.request(f"$JS.ACK.{FEEDS}.{durable.name}.{delivery}", b"+ACK")

    async def remove(self, name: str) -> None:
        try:
            await self._connection.api(f"CONSUMER.DELETE.{FEEDS}.{name}")
        except StorageError as error:
            if "10014" not in error.reason and "10059" not in error.reason:
                raise

    async def names(self) -> list[str]:
        """Every durable there is."""
        names: list[str] = []
        while True:
            found = await self._connection.asked(f"CONSUMER.NAMES.{FEEDS}", {"offset": len(names)})
            names += found.get("consumers") or []
            if len(names) >= found["total"]:
                return names

    async def _config(self, name: str) -> dict[str, Any] | None:
        try:
            info = await self._connection.asked(f"CONSUMER.INFO.{FEEDS}.{name}")
        except StorageError as error:
            if "10014" in error.reason:
                return None
            raise
        config: dict[str, Any] = info["config"]
        return config


class NatsSession:
    """The Session port: one request for one notice at a time, on an inbox of its own."""

    def __init__(self, connection: Connection, listening: Listening, inbox: str, durable: Durable) -> None:
        self._connection = connection
        self._listening = listening
        self._inbox = inbox
        self._durable = durable

    async def next(self, seconds: float) -> Delivered | None:
        await self._connection.reachable()
        request = {"batch": 1, "expires": int(seconds * _NANO)}
        subject = f"{self._connection.js_api}.CONSUMER.MSG.NEXT.{FEEDS}.{self._durable.name}"
        await self._connection.publish(subject, orjson.dumps(request), reply=self._inbox)
        message = await self._listening.next(seconds + _LATE_SECONDS)
        number = status(message)
        if not number:
            return _delivered(message)
        said = (message.headers or {}).get("Description", "")
        if number in ("404", "408"):
            return None
        if number == "409" and "Deleted" in said:
            raise DurableError(f"The durable {self._durable.name!r} was removed; subscribe again")
        raise BrokerUnavailableError(
            "The broker does not deliver now; try again", reason=f"{number} {said}", retry_after=1
        )

    async def done(self, delivered: Delivered) -> None:
        await self._connection.publish(delivered.ack, b"+ACK")

    async def again(self, delivered: Delivered, seconds: float) -> None:
        await self._connection.publish(delivered.ack, b"-NAK " + orjson.dumps({"delay": int(seconds * _NANO)}))

    async def still(self, delivered: Delivered) -> None:
        await self._connection.publish(delivered.ack, b"+WPI")


def _metadata(consumer: dict[str, Any]) -> dict[str, str]:
    metadata: dict[str, str] = consumer["config"].get("metadata") or {}
    return metadata


def _standing(consumer: dict[str, Any]) -> Standing:
    # Of those that have many notices under way nobody is told what changed.
    in_hand = consumer["num_ack_pending"] == 1 and consumer["config"].get("max_ack_pending") == 1
    under_way = consumer["delivered"]["stream_seq"] if in_hand else 0
    return Standing(taken=consumer["ack_floor"]["stream_seq"], under_way=under_way)


def _subjects(durable: Durable) -> list[str]:
    return [feed_subject(durable.feed), again_subject(durable.name, durable.feed)]


def _config(durable: Durable, start: int) -> dict[str, Any]:
    idle = {} if durable.idle_seconds is None else {"inactive_threshold": int(durable.idle_seconds * _NANO)}
    return {
        "durable_name": durable.name,
        "name": durable.name,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": max(1, start),
        "ack_policy": "explicit",
        "ack_wait": int(durable.ack_seconds * _NANO),
        # Without a limit of the server's: it would drop a notice where ours keeps it as a dead letter.
        "max_deliver": -1,
        "max_ack_pending": durable.under_way,
        "filter_subjects": _subjects(durable),
        "replay_policy": "instant",
        **idle,
        **({"metadata": {_GRANT: durable.payer.grant, _OWNER: durable.payer.owner}} if durable.payer else {}),
    }


def _delivered(message: Msg) -> Delivered:
    """ADR-15: `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<sequence>.….`"""
    tokens = message.reply.split(".")
    first = 4 if len(tokens) == 9 else 6
    times, sequence = int(tokens[first]), int(tokens[first + 1])
    own = (message.headers or {}).get(SEQUENCE_HEADER)
    delivery = ".".join(tokens[first : first + 5])
    notice = parse_notice(message.data, int(own or sequence))
    return Delivered(notice=notice, times=times, ack=message.reply, id=delivery)
