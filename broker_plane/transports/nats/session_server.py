"""An instance's side of sessions of the handshake era, which live in the instance that answered `initialize`.

Messages of the client are requests of NATS to `bp.mcp.<server>.in.at.<instance>.<session>`, numbered, and acknowledged
by an empty answer. Messages to the client are numbered as well (`outbox.py`).
"""

from __future__ import annotations

import asyncio

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message as NatsMessage
from broker_plane.broker.service import ServiceCounts
from broker_plane.broker.subscriptions import Served
from broker_plane.errors import BrokerPlaneError, UpstreamError
from broker_plane.exchange.headers import SESSION
from broker_plane.plane.exchanges.places import Places
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.messages import failed_line, key_asked
from broker_plane.transports.hosting import ServerHost
from broker_plane.transports.nats.outbox import Outbox
from broker_plane.transports.nats.replies import Replies, acknowledge, busy_line, inbox_of
from broker_plane.transports.nats.served_session import ServedSession
from broker_plane.transports.nats.wire_form import ALIVE_SECONDS, CLOSED, END, SESSION_LETTER, new_id

log = redacted_logger(__name__)

MOST_SESSIONS = 256


class SessionServer:
    """The sessions of one instance."""

    def __init__(
        self, connection: Connection, host: ServerHost, server: str, counts: ServiceCounts, most_bytes: int
    ) -> None:
        self._connection = connection
        self._host = host
        self._counts = counts
        self._most_bytes = most_bytes
        self._instance = new_id()
        self._subject = connection.names.mcp_subject(server, "at", self._instance)
        self._places = Places(MOST_SESSIONS, 1)
        self._sessions: dict[str, ServedSession] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._served: list[Served] = []

    async def start(self) -> None:
        self._served = [await self._connection.serve(f"{self._subject}.*", self._arrived, queue="")]

    async def open(self, message: NatsMessage) -> None:
        """Answer `initialize`, and open a session."""
        inbox = inbox_of(self._connection.names, message)
        client = self._connection.names.client_of(inbox)
        if not self._places.take(client, 0):
            await Replies(self._connection, inbox).say(busy_line(message.data), last=True)
            return
        name = SESSION_LETTER + new_id()
        outbox = Outbox(self._connection, inbox, {SESSION: f"{self._instance}.{name}"}, self._most_bytes)
        session = self._sessions[name] = ServedSession(outbox, self._most_bytes)
        session.put(message.data)
        task = asyncio.create_task(self._run(name, session, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._places.give(client, 0))

    async def settled(self, seconds: float) -> None:
        """Wait up to `seconds` until no session has an open request."""
        await asyncio.gather(*(session.settled(seconds) for session in list(self._sessions.values())))

    async def close(self) -> None:
        """End all sessions. Their clients open them again with another instance."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connection.stop_serving(self._served)

    async def _run(self, name: str, session: ServedSession, opening: NatsMessage) -> None:
        self._counts.note(0)
        living = asyncio.create_task(_live(session.outbox))
        try:
            async with self._host.session(session.outbox.say) as hosted:
                await session.run(hosted)
        except UpstreamError as error:
            log.warning("%s", error)
            self._counts.fail(str(error))
            await session.outbox.say(failed_line(key_asked(opening.data), str(error)))
        except BrokerPlaneError as error:
            log.warning("A session has ended: %s", error)
        finally:
            living.cancel()
            self._sessions.pop(name, None)

    async def _arrived(self, message: NatsMessage) -> None:
        """Acknowledge a message of a client once it is taken."""
        session = self._sessions.get(message.subject.rpartition(".")[2])
        headers = message.headers or {}
        if session is None:
            await acknowledge(self._connection, message, {CLOSED: "1"})
        elif END in headers:
            session.end()
            await acknowledge(self._connection, message)
        elif await session.take(message.data, headers):
            await acknowledge(self._connection, message)


async def _live(outbox: Outbox) -> None:
    """Say that a session is being opened, for which a command may need some time."""
    while not outbox.said:
        await asyncio.sleep(ALIVE_SECONDS)
        await outbox.alive()
