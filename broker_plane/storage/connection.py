"""One connection to nats-server, and what is asked of it: requests with an answer, acknowledged publishes, direct gets.

nats-py's faults that matter here (reference: nats.py#703 and its source): its buffer while disconnected hides that the
broker is away, so it is off; `publish_async` never resolves on an error, so acknowledgements are read here; a refused
publish is only told to the error callback, so who waits for its answer is looked up there.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import nats.aio.client
import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from broker_plane.errors import (
    BrokerAwayError,
    ConfigError,
    ConflictError,
    DiskFullError,
    NotAdmittedError,
    NotPermittedError,
    StorageError,
    StoreFullError,
)
from broker_plane.plane.admission import READ_BYTES, Admission
from broker_plane.plane.patience import patiently
from broker_plane.plane.quiet import quiet, quiet_logger
from broker_plane.storage.clock import ServerClock
from broker_plane.storage.urls import Seeds, seeds_of

# nats-py reads 32 KiB at a time otherwise; a body of 5 MB then costs 160 turns of its parser instead of 20.
nats.aio.client.DEFAULT_BUFFER_SIZE = 1 << 18
quiet("nats")
log = quiet_logger(__name__)

T = TypeVar("T")
Headers = Mapping[str, str]
_AWAY = (
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionDrainingError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.OutboundBufferLimitError,
    nats.errors.StaleConnectionError,
    nats.errors.NoServersError,
    nats.errors.NoRespondersError,
    nats.errors.TimeoutError,
    asyncio.TimeoutError,
    ConnectionError,
)
_WRONG_LAST_SEQUENCE = 10071
_SOON_SECONDS = 0.5
"""After which a write without an answer is looked into; most take a millisecond."""

_DISK = ("error creating store", "no space left", "quota exceeded", "read-only file system", "input/output error")
_REFUSED = "NATS refused user or password; check BROKER_PLANE_NATS_URL or BROKER_PLANE_NATS_CREDS"
_NOT_ADMITTED = (
    "NATS does not let this grant in: it is forged, over, or for a named asker; or no bridge runs that could tell. "
    "Call the resource tool again, or pull the resource_url over HTTP"
)
_UNTRUSTED = "The certificate of NATS is not trusted here; name its CA in SSL_CERT_FILE, or check BROKER_PLANE_NATS_URL"
_NO_LEADER = {10008, 10009}
"""JetStream system temporarily unavailable (a group without a leader), and without its own leader."""

_NO_PEERS = 10005
"""No suitable peers for placement: also of a cluster that has only just been started."""

_IN_PROCESS = 10158
"""A message with the same Nats-Msg-Id has not been stored by all yet."""

_CLOSE_SECONDS = 1
_ELECTING = "The cluster is electing a leader, or too few of its nodes can be reached. Try again in a few seconds"
_ATTEMPT_SECONDS = 2.0
"""For one answer in a cluster: what went to a node that has just died is never answered. An election takes longer."""

_ASK_SECONDS = 1.0
_PING_SECONDS = 4
_LONGEST_WAIT_SECONDS = 0.25
"""Between two attempts; who has no leader is told so at once, and an election ends at any moment."""

_NODE_SECONDS = 2.0
"""To reach one node of a cluster before the next one is tried."""

_NOT_PERMITTED = re.compile(r'permissions violation for (?:publish|subscription) to "([^"]*)"', re.IGNORECASE)
NO_RESPONDERS = "no responders"
NO_ANSWER = "no answer in time"
_STORE_FAILED = 10077
_FULL = {10023, 10047, 10077, 10122}
"""insufficient resources, storage resources exceeded, stream store failed (maximum bytes), maximum messages."""


class Listening:
    """The messages of one subscription. Where the connection broke, that stands among them as an error."""

    def __init__(self, subject: str, arrived: Callable[[Msg], None] | None = None) -> None:
        self.subject = subject
        self._arrived = arrived
        self._messages: asyncio.Queue[Msg | StorageError] = asyncio.Queue()

    async def take(self, message: Msg) -> None:
        if self._arrived is not None:
            self._arrived(message)
        self._messages.put_nowait(message)

    def lose(self, error: StorageError) -> None:
        """What the server sent after this is lost: whoever waits for it need not wait for a time-out."""
        self._messages.put_nowait(error)

    async def next(self, seconds: float | None) -> Msg:
        """The next message.

        Raises:
            BrokerAwayError: the connection broke, or nothing came in time.
            NotPermittedError: this user may not listen there.
        """
        try:
            async with asyncio.timeout(seconds):
                message = await self._messages.get()
        except TimeoutError as error:
            raise _away(error, NO_ANSWER) from error
        if isinstance(message, StorageError):
            raise message
        return message


class Connection:
    """A connection that recovers by itself; calls wait a moment for that, then raise BrokerAwayError.

    Whoever waits for an answer when it breaks is told at once: that answer does not come any more.
    """

    def __init__(self, timeout: float) -> None:
        self.client = Client()
        self.timeout = timeout
        self.clock = ServerClock()
        self.store_bytes = -1
        """Of the server's store, where it is known; streams are made for a share of it."""
        self._answers: dict[str, asyncio.Future[Msg]] = {}
        self._asked_of: dict[str, str] = {}
        self._answer_inbox = ""
        self._deaf: StorageError | None = None
        self._asked = 0
        self._probed: set[tuple[str, ...]] = set()
        self._listenings: set[Listening] = set()
        self._looking: asyncio.Task[None] | None = None
        self.leaderless: dict[str, float] = {}
        """Streams that had no leader, and until when (monotonic) that is believed."""
        self.reads = Admission(READ_BYTES)
        """What all reads of stored data together have asked for and not yet received."""

    @property
    def max_payload(self) -> int:
        return self.client.max_payload

    @property
    def clustered(self) -> bool:
        """Whether the server belongs to a cluster: another replica than the leader may answer, and leaders change."""
        return bool(self.client._server_info.get("cluster"))

    @property
    def attempt_seconds(self) -> float:
        """What to wait for one answer before the same is asked again."""
        return min(self.timeout, _ATTEMPT_SECONDS) if self.clustered else self.timeout

    @property
    def ask_seconds(self) -> float:
        """The same for a request that only reads: a stream without a leader does not answer it at all."""
        return min(self.timeout, _ASK_SECONDS) if self.clustered else self.timeout

    @property
    def patience(self) -> float:
        """How long to try again what may be repeated, so that it outlasts an election; on one server, not at all."""
        return 2 * self.timeout if self.clustered else 0.0

    async def repeat(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` returns. In a cluster it is made again while a leader is being elected: it is idempotent."""
        if not self.clustered:
            return await attempt()
        return await patiently(attempt, self.patience, only=BrokerAwayError, longest_wait=_LONGEST_WAIT_SECONDS)

    def inbox(self) -> str:
        return self.client.new_inbox()

    async def start(self) -> None:
        """For a client that has just connected: from here on it connects again for as long as it takes."""
        self.client.options |= {"allow_reconnect": True, "max_reconnect_attempts": -1}
        if self.clustered:
            self.client.options |= {"ping_interval": _PING_SECONDS}
            self.client.options["connect_timeout"] = min(self.client.options["connect_timeout"], _NODE_SECONDS)
        self._answer_inbox = self.client.new_inbox()
        await self.client.subscribe(f"{self._answer_inbox}.*", cb=self._answered, pending_bytes_limit=0)

    async def request(
        self, subject: str, payload: bytes = b"", headers: Headers | None = None, *, seconds: float = 0
    ) -> Msg:
        """The answer to a request, within `seconds`; 0 is this connection's time-out.

        Raises:
            BrokerAwayError: none came in time; whether the request was done is not known.
            NotPermittedError: this user may not ask that.
        """
        return await self.answer(await self.send(subject, payload, headers), seconds)

    async def api(self, subject: str, fields: Mapping[str, Any] | None = None, *, seconds: float = 0) -> dict[str, Any]:
        """The JSON answer of a JetStream API request; `{"error": …}` is raised."""
        payload = orjson.dumps(fields) if fields is not None else b""
        started = self.clock.started()
        parsed = _parsed(await self.request(f"$JS.API.{subject}", payload, seconds=seconds))
        self.clock.heard(parsed.get("ts"), started)
        return parsed

    async def asked(self, subject: str, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As `api`, for what may be asked twice: in a cluster again while a leader is being elected."""
        return await self.repeat(lambda: self.api(subject, fields, seconds=self.ask_seconds))

    async def send(self, subject: str, payload: bytes, headers: Headers | None = None) -> asyncio.Future[Msg]:
        """Publish with a reply subject of its own; the future is the answer. Order is kept."""
        await self._connected()
        if self._deaf:
            raise self._deaf
        self._asked += 1
        number = str(self._asked)
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._answers[number], self._asked_of[number] = future, subject
        future.add_done_callback(lambda _: self._forget(number))
        try:
            await self.client.publish(
                subject, payload, reply=f"{self._answer_inbox}.{number}", headers=dict(headers) if headers else None
            )
        except _AWAY as error:
            future.cancel()
            raise _away(error) from error
        except BaseException:
            future.cancel()
            raise
        return future

    async def acknowledged(self, future: asyncio.Future[Msg], seconds: float = 0) -> dict[str, Any]:
        """Wait for the acknowledgement of a stream: `{"stream", "seq"}`.

        Raises:
            BrokerAwayError: none came in time; the outcome is unknown.
            ConflictError, StoreFullError, StorageError: the stream refused.
        """
        if not self.clustered:  # what a dead leader did not answer was not dropped for lack of space, and is sent again
            await self._answered_or_dropped(future, seconds or self.timeout)
        return _parsed(await self.answer(future, seconds))

    async def _answered_or_dropped(self, future: asyncio.Future[Msg], seconds: float) -> None:
        now = asyncio.get_running_loop().time
        deadline = now() + seconds
        while not await self._answered_soon(future) and now() < deadline:
            await self._fail_dropped(future)

    async def _answered_soon(self, future: asyncio.Future[Msg]) -> bool:
        await asyncio.wait({future}, timeout=min(_SOON_SECONDS, self.timeout))
        return future.done()

    async def _fail_dropped(self, future: asyncio.Future[Msg]) -> None:
        """Fail what a stream dropped. One that could not write to its disk answers no further write, until a restart.

        A stream takes its messages in order. So where it refuses a message that it would never store, it has dropped
        those before it that it did not answer. (With replicas it refuses before it asks them: that proves nothing.)
        """
        subject = next((self._asked_of[number] for number, each in self._answers.items() if each is future), "")
        same = subject.split(".")[:2]
        if tuple(same) in self._probed:  # another's probe says it for all of us
            return
        self._probed.add(tuple(same))
        try:
            await self._probe(future, subject, same)
        finally:
            self._probed.discard(tuple(same))

    async def _probe(self, future: asyncio.Future[Msg], subject: str, same: list[str]) -> None:
        before = self._asked
        with suppress(BrokerAwayError):
            refusal = orjson.loads((await self.request(subject, b"", {"Nats-Expected-Stream": "-"})).data)
            if future.done() or await self._replicated(str(refusal.get("stream", ""))):
                return
            for number, asked in list(self._asked_of.items()):
                if int(number) <= before and asked.split(".")[:2] == same:
                    _fail(self._answers[number], DiskFullError("writes are dropped"))

    async def _replicated(self, stream: str) -> bool:
        try:
            info = await self.api(f"STREAM.INFO.{stream}")
        except NotPermittedError:  # a resource server's user
            return False
        return int(info["config"]["num_replicas"]) > 1

    async def store(self, subject: str, payload: bytes, headers: Headers | None = None, *, seconds: float = 0) -> int:
        """Publish one message to a stream and return its sequence."""
        ack = await self.acknowledged(await self.send(subject, payload, headers), seconds)
        sequence: int = ack["seq"]
        return sequence

    async def listen(self, listening: Listening) -> Subscription:
        """What comes on its subject goes to `listening`, as long as there is this connection."""
        await self._connected()
        subscription = await self.client.subscribe(
            listening.subject, cb=listening.take, pending_bytes_limit=0, pending_msgs_limit=0
        )
        self._listenings.add(listening)
        return subscription

    @asynccontextmanager
    async def listening(self, subject: str, arrived: Callable[[Msg], None] | None = None) -> AsyncIterator[Listening]:
        """A subscription for the time of the block; `arrived` is told of each message before anybody reads it."""
        listening = Listening(subject, arrived)
        subscription = await self.listen(listening)
        try:
            yield listening
        finally:
            self._listenings.discard(listening)
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def leave(self, subscriptions: list[Subscription]) -> None:
        """Nothing comes on these any more, and the server knows it; where it does not answer, it will notice itself."""
        with suppress(nats.errors.Error, asyncio.TimeoutError, OSError):
            for subscription in subscriptions:
                await subscription.unsubscribe()
            await asyncio.sleep(0)  # nats-py writes its PING before what is still in its queue
            await self.client.flush(1)

    async def next_message(self, listening: Listening) -> Msg:
        return await listening.next(self.timeout)

    async def publish(self, subject: str, payload: bytes, **options: Any) -> None:
        await self._connected()
        try:
            await self.client.publish(subject, payload, **options)
        except _AWAY as error:
            raise _away(error) from error

    async def close(self) -> None:
        for future in list(self._answers.values()):
            future.cancel()
        if self._looking is not None:
            self._looking.cancel()
        with suppress(nats.errors.Error, asyncio.TimeoutError, OSError):
            # nats-py waits for ever for the end of a connection whose TLS handshake failed.
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.client.close()

    async def broken(self) -> None:
        """For nats-py, which calls this when the connection breaks."""
        if not self.client.is_closed:
            log.warning("the connection to NATS is lost; trying to connect again")
        # It would send what it had not yet sent to the next server: writes whose writers were told that they failed,
        # after the purge by which these undo them.
        self.client._pending.clear()
        self.client._pending_data_size = 0
        for future in list(self._answers.values()):
            _fail(future, _away(None, "the connection broke"))
        for listening in self._listenings:
            listening.lose(_away(None, "the connection broke"))

    async def back(self) -> None:
        """For nats-py, which calls this when it has connected again."""
        where = self.client.connected_url
        log.warning("connected to NATS again, at %s", where.netloc.rpartition("@")[2] if where else "an unknown server")

    async def refused(self, error: Exception) -> None:
        """For nats-py, which calls this with what the server said. Who waits for what was refused is told.

        Everything else is silent: what fails while it connects again says so itself.
        """
        found = _NOT_PERMITTED.search(str(error))
        if found is None:
            return
        subject = found[1].lower()  # nats-py makes all of the server's words lower-case
        refusal = _not_permitted(self.user, subject)
        if subject == f"{self._answer_inbox}.*".lower():
            self._deaf = refusal  # no answer will ever come: another user's name, or another role than was said
        for number, asked in list(self._asked_of.items()):
            if self._deaf or asked.lower() == subject:
                _fail(self._answers[number], refusal)
        for listening in self._listenings:
            if listening.subject.lower() == subject:
                listening.lose(refusal)

    @property
    def user(self) -> str:
        """The user's name, for messages."""
        return str(self.client.options.get("user") or "this user")

    def _forget(self, number: str) -> None:
        self._answers.pop(number, None)
        self._asked_of.pop(number, None)

    async def _connected(self) -> None:
        """Wait a moment for a connection that is being made again."""
        if self.client.is_connected:
            return
        deadline = asyncio.get_running_loop().time() + min(1.0, self.timeout)
        while not self.client.is_connected:
            if self.client.is_closed or asyncio.get_running_loop().time() > deadline:
                raise _away(None, f"not connected: {self.client.last_error!r}")
            await asyncio.sleep(0.01)

    async def answer(self, future: asyncio.Future[Msg], seconds: float = 0) -> Msg:
        """Wait for the answer to what was sent. Raises as `request` does."""
        await asyncio.wait({future}, timeout=seconds or self.timeout)
        if not future.done() and self.clustered and self._looking is None:
            self._looking = asyncio.create_task(self._leave_a_dead_node())
        _fail(future, self._unanswered(NO_ANSWER))
        return future.result()

    async def _leave_a_dead_node(self) -> None:
        """Where our own node does not even answer a ping, go to another one; nats-py would wait for much longer."""
        try:
            await self.client.flush(1)
        except (TimeoutError, nats.errors.Error, OSError):
            writer = getattr(self.client._transport, "_io_writer", None)
            if self.client.is_connected and writer is not None:
                writer.transport.abort()  # a close would wait until the dead node takes what is still to be sent
        finally:
            self._looking = None

    def _unanswered(self, reason: str) -> BrokerAwayError:
        return _electing(reason) if self.clustered else _away(None, reason)

    async def _answered(self, message: Msg) -> None:
        future = self._answers.get(message.subject.rpartition(".")[2])
        if future is None or future.done():
            return
        headers = message.headers or {}
        if headers.get("Status") == "503" and "Nats-Stream" not in headers:  # ADR-4; a stored message may say it, too
            _fail(future, self._unanswered(NO_RESPONDERS))
        else:
            future.set_result(message)


async def connect(
    url: str,
    *,
    timeout: float,
    creds: str = "",
    token: str = "",
    inbox: str = "_INBOX",
    name: str = "broker-plane",
    connect_seconds: float = 0,
) -> Connection:
    """A connection to `url`, which may be a list, with `timeout` for each answer on it.

    Where nothing answers, it is tried again for `connect_seconds`; 0 is `timeout`, too.
    `token` is a grant, for whoever has nothing else. Answers come to subjects below `inbox`.

    Raises:
        BrokerAwayError: nothing answers there.
        ConfigError: user, password or credentials are refused.
        NotAdmittedError: the grant is.
    """
    seeds = seeds_of(url)
    options: dict[str, Any] = dict(seeds.credentials())
    options |= {"user_credentials": creds} if creds else {"token": token} if token else {}
    seconds = connect_seconds or timeout
    # A node that does not answer must not use up the time for those that would.
    options |= {"connect_timeout": min(seconds, _NODE_SECONDS) if len(seeds.urls) > 1 else seconds}
    return await patiently(lambda: _connect(seeds, timeout, inbox, name, options), seconds)


async def _connect(seeds: Seeds, timeout: float, inbox: str, name: str, options: dict[str, Any]) -> Connection:
    connection = Connection(timeout)
    try:
        await connection.client.connect(
            list(seeds.urls),
            name=name,
            # A client that may connect again tries the first time for ever, too, even with a wrong password.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0.05,  # type: ignore[arg-type]  # and this to asyncio.sleep
            pending_size=0,
            error_cb=connection.refused,
            disconnected_cb=connection.broken,
            reconnected_cb=connection.back,
            ping_interval=20,
            inbox_prefix=inbox.encode(),
            **options,
        )
        await connection.start()
    except nats.errors.AuthorizationError as error:
        await connection.close()
        raise _refusal(options) from error
    except ssl.SSLCertVerificationError as error:
        await connection.close()
        raise ConfigError(_UNTRUSTED) from error
    except (TimeoutError, nats.errors.Error, OSError) as error:
        await connection.close()
        if "uthorization" in str(error):
            raise _refusal(options) from error
        raise _away(error) from error
    return connection


def _refusal(options: Mapping[str, Any]) -> ConfigError | NotAdmittedError:
    return NotAdmittedError(_NOT_ADMITTED) if "token" in options else ConfigError(_REFUSED)


def storage_error(error: Mapping[str, Any]) -> StorageError:
    """The error of ours for one of JetStream's: its numbers are in nats-server's errors.json."""
    number = error.get("err_code")
    reason = f"{error.get('description', '')} ({number})"
    if number == _WRONG_LAST_SEQUENCE:
        return ConflictError("Another writer was faster", reason=reason)
    if number == _STORE_FAILED and "clos" in reason:  # the node is being stopped
        return _electing(reason)
    if any(words in reason for words in _DISK):
        return DiskFullError(reason)
    if number in _FULL or "maximum bytes" in reason or "no space" in reason:
        return StoreFullError(
            "The store is full; delete bodies, wait for some to expire, or enlarge it (BROKER_PLANE_STORE_BYTES)",
            reason=reason,
        )
    if number in _NO_LEADER:
        return _electing(reason)
    if number == _NO_PEERS:
        return BrokerAwayError(
            "Too few nodes of the cluster can be reached for a new stream of so many replicas (BROKER_PLANE_REPLICAS)",
            reason=reason,
            retry_after=1,
        )
    if number == _IN_PROCESS:
        return BrokerAwayError("The broker is still storing this; try again", reason=reason, retry_after=1)
    if error.get("code") == 503:
        return BrokerAwayError("JetStream is not ready; try again", reason=reason, retry_after=1)
    return StorageError(f"NATS refused: {error.get('description', 'no reason given')}", reason=reason)


def _parsed(answer: Msg) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(answer.data)
    if "error" in parsed:
        raise storage_error(parsed["error"])
    return parsed


def _fail(future: asyncio.Future[Msg], error: StorageError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever gave up waiting for it does not look at it any more


def _away(error: BaseException | None, reason: str = "") -> BrokerAwayError:
    return BrokerAwayError(
        "The broker does not answer; it is restarting or out of reach. Try again",
        reason=reason or repr(error),
        retry_after=1,
    )


def _electing(reason: str) -> BrokerAwayError:
    return BrokerAwayError(_ELECTING, reason=reason, retry_after=1)


def _not_permitted(user: str, subject: str) -> NotPermittedError:
    # Not the subject: it may hold a grant.
    return NotPermittedError(
        f"NATS does not let {user} do that. If it is a resource server's user, set BROKER_PLANE_ROLE=source and "
        "BROKER_PLANE_OWNER to its name; if it is an asker's, BROKER_PLANE_ROLE=guest (docs/accounts.md)",
        reason=subject.partition(".")[0],
    )
