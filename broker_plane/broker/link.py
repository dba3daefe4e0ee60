"""The link to nats-server under a `Connection`: it breaks, reconnects, and may start the broker again.

nats-py's faults that matter here (nats.py#703 and its source):

- Its buffer while disconnected hides that the broker is unavailable, so the buffer is off.
- When it has reconnected it sends what it had not sent before, so that is dropped when the link breaks.
- A refused publish or subscription is reported to the error callback only, so who waits for it is looked up here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence

import nats.errors

from broker_plane.broker.client import NatsClient
from broker_plane.broker.diagnosis import diagnose, error_of
from broker_plane.broker.errors import NOT_PERMITTED, not_permitted, unavailable
from broker_plane.broker.lifeline import Lifeline
from broker_plane.broker.requests import Requests
from broker_plane.broker.subscriptions import Subscriptions
from broker_plane.broker.urls import hosts_of, seeds_of
from broker_plane.errors import BrokerUnavailableError, StorageError
from broker_plane.plane.redacted_logs import redact_loggers, redacted_logger

redact_loggers("nats")
log = redacted_logger(__name__)

_PING_SECONDS = 4
_NODE_SECONDS = 2.0
_RECONNECT_SECONDS = 1.0
_RESTARTED_SECONDS = 10.0
"""To reconnect to a broker that was just started again: it is ready, so this takes some milliseconds."""

_LOST: Counter[str] = Counter()
"""The number of this process's links that are lost, by their servers. A bridge has several links to one NATS."""


class Link:
    """A client that reconnects by itself. If the link breaks, everything that waits for the server fails at once."""

    def __init__(self, timeout: float, client: NatsClient) -> None:
        self.client = client
        self.url = ""
        """The servers' addresses, with user and password."""
        self.lifeline: Lifeline | None = None
        """Set if this process may start the broker again."""
        self.breaks = 0
        """Number of times that it broke."""
        self.requests = Requests(client)
        self.subscriptions = Subscriptions(client)
        self.refusals: list[Callable[[str, StorageError], None]] = []
        """Called with the subject (in lower case) of each publish or subscription that the server does not permit."""
        self._timeout = timeout
        self._lost_from = ""
        self._checking: asyncio.Task[None] | None = None

    @property
    def user(self) -> str:
        """The user's name, for messages."""
        return str(self.client.options.get("user") or "this user")

    @property
    def hosts(self) -> str:
        """The servers' addresses, for messages: nothing secret."""
        return hosts_of(self.url)

    async def start(self, url: str, servers: Sequence[str] = ()) -> None:
        """Called once the client has connected to `url`: from now on it reconnects, also to one of `servers`."""
        self.url = url
        self.client.establish(servers)
        if self.client.clustered:
            self.client.options |= {"ping_interval": _PING_SECONDS}
            self.client.options["connect_timeout"] = min(self.client.options["connect_timeout"], _NODE_SECONDS)
        await self.requests.start()

    async def close(self) -> None:
        self._found()
        self.requests.cancel()
        if self._checking is not None:
            self._checking.cancel()
        await self.client.abandon()

    async def wait_connected(self) -> None:
        """Wait a moment for a reconnect. Unlike other calls, this never starts a broker.

        Raises:
            BrokerUnavailableError: there is no connection.
        """
        await self._reconnected(min(_RECONNECT_SECONDS, self._timeout))

    async def ensure_running(self) -> None:
        """Start the broker if it does not run and this process may start it; for calls that reach it another way."""
        if self.lifeline is not None:
            await self.connected()

    async def on_break(self) -> None:
        """Called by nats-py when the connection breaks."""
        if not self.client.is_closed and not self._lost_from:
            self._lost_from = self.hosts
            _LOST[self.hosts] += 1
            log.log(_level(_LOST[self.hosts] == 1), "Lost the connection to NATS at %s; reconnecting", self.hosts)
        # Unsent writes fail now, and their writers undo them with a purge. nats-py would send them to the next server
        # after that purge.
        self.client.forget_unsent()
        self.breaks += 1
        error = unavailable(None, "the connection broke")
        self.requests.fail(error)
        self.subscriptions.lose(error)

    async def on_reconnect(self) -> None:
        """Called by nats-py when it has reconnected."""
        url = self.client.connected_url
        place = url.netloc.rpartition("@")[2] if url else "an unknown server"
        log.log(_level(self._found() == 0), "Reconnected to NATS at %s", place)

    def _found(self) -> int:
        """The number of this process's links to these servers that are still lost, without this one."""
        hosts, self._lost_from = self._lost_from, ""
        if hosts:
            _LOST[hosts] -= 1
        return _LOST[hosts]

    async def on_error(self, error: Exception) -> None:
        """Called by nats-py with an error of the server. A refused request or subscription fails at once.

        Other errors are ignored: what fails while it reconnects raises by itself.
        """
        found = NOT_PERMITTED.search(str(error))
        if found is None:
            return
        subject = found[1].lower()  # nats-py makes all of the server's words lower-case
        refusal = not_permitted(self.user, subject, self.hosts)
        self.requests.refuse(subject, refusal)
        self.subscriptions.refuse(subject, refusal)
        for heard in self.refusals:
            heard(subject, refusal)

    async def connected(self) -> None:
        """Wait a moment for a reconnect, or start the broker again if this process may."""
        if self.lifeline is None:
            if not self.client.is_connected:
                await self.wait_connected()
            return
        if await self.lifeline.holds(self.client):
            return
        url = await self.lifeline.start()
        if url != self.url:
            seeds, self.url = seeds_of(url), url
            self.client.readdress(seeds.urls, seeds.user, seeds.password)
        await self._reconnected(_RESTARTED_SECONDS)

    async def _reconnected(self, seconds: float) -> None:
        if self.client.is_connected:
            return
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.client.is_connected:
            if self.client.is_closed or asyncio.get_running_loop().time() > deadline:
                raise self._not_connected()
            await asyncio.sleep(0.01)

    def _not_connected(self) -> BrokerUnavailableError:
        failed = self.client.failed
        if failed is None or not failed.refused:
            return unavailable(None, f"not connected: {self.client.last_error!r}")
        found = diagnose(failed, self.client.access, self.client.options["connect_timeout"])
        return BrokerUnavailableError(str(error_of([found], token=False)), reason=repr(failed.error), retry_after=1)

    def check_node(self) -> None:
        """Find out whether our own node of a cluster still answers, and leave it if it does not."""
        if self.client.clustered and self._checking is None:
            self._checking = asyncio.create_task(self._leave_dead_node())

    async def _leave_dead_node(self) -> None:
        """Move to another node if ours does not even answer a ping; nats-py would wait for much longer."""
        try:
            await self.client.flush(1)
        except (TimeoutError, nats.errors.Error, OSError):
            if self.client.is_connected:
                self.client.drop()
        finally:
            self._checking = None


def _level(matters: bool) -> int:
    """One loss and one return are logged for all links to a NATS; those of further links at debug."""
    return logging.WARNING if matters else logging.DEBUG
