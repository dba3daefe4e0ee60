"""One connection to nats-server, and what is asked of it: requests with an answer, acknowledged publishes, direct gets.

nats-py's faults that matter here (reference: nats.py#703 and its source): its buffer while disconnected hides that the
broker is away, so it is off; `publish_async` never resolves on an error, so acknowledgements are read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import nats
import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from broker_plane.errors import BrokerAwayError, ConfigError, ConflictError, StorageError, StoreFullError

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
_REFUSED = "NATS refused user or password; check BROKER_PLANE_NATS_URL or BROKER_PLANE_NATS_CREDS"
_FULL = {10023, 10047, 10077, 10122}
"""insufficient resources, storage resources exceeded, stream store failed (maximum bytes), maximum messages."""


class Connection:
    """A connection that recovers by itself; calls wait `grace` seconds for that, then raise BrokerAwayError."""

    def __init__(self, client: Client, timeout: float) -> None:
        self.client = client
        self.timeout = timeout
        self._acks: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._ack_inbox = client.new_inbox()
        self._ack_count = 0

    @property
    def max_payload(self) -> int:
        return self.client.max_payload

    def inbox(self) -> str:
        return self.client.new_inbox()

    async def start(self) -> None:
        await self.client.subscribe(f"{self._ack_inbox}.*", cb=self._acknowledged, pending_bytes_limit=0)

    async def request(self, subject: str, payload: bytes = b"", headers: Headers | None = None) -> Msg:
        """The answer to a request.

        Raises:
            BrokerAwayError: none came in time; whether the request was done is not known.
        """
        await self._connected()
        try:
            return await self.client.request(
                subject, payload, timeout=self.timeout, headers=dict(headers) if headers else None
            )
        except _AWAY as error:
            raise _away(error) from error

    async def api(self, subject: str, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON answer of a JetStream API request; `{"error": …}` is raised."""
        answer = await self.request(f"$JS.API.{subject}", orjson.dumps(fields) if fields is not None else b"")
        parsed: dict[str, Any] = orjson.loads(answer.data)
        if "error" in parsed:
            raise storage_error(parsed["error"])
        return parsed

    async def send(
        self, subject: str, payload: bytes, headers: Headers | None = None
    ) -> asyncio.Future[dict[str, Any]]:
        """Publish to a stream; the future is its acknowledgement, or the error of the stream. Order is kept."""
        await self._connected()
        self._ack_count += 1
        number = str(self._ack_count)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._acks[number] = future
        future.add_done_callback(lambda _: self._acks.pop(number, None))
        try:
            await self.client.publish(
                subject, payload, reply=f"{self._ack_inbox}.{number}", headers=dict(headers) if headers else None
            )
        except _AWAY as error:
            future.cancel()
            raise _away(error) from error
        return future

    async def acknowledged(self, future: asyncio.Future[dict[str, Any]]) -> dict[str, Any]:
        """Wait for an acknowledgement: `{"stream", "seq"}`.

        Raises:
            BrokerAwayError: none came in time; the outcome is unknown.
            ConflictError, StoreFullError, StorageError: the stream refused.
        """
        try:
            return await asyncio.wait_for(future, self.timeout)
        except _AWAY as error:
            raise _away(error) from error

    async def store(self, subject: str, payload: bytes, headers: Headers | None = None) -> int:
        """Publish one message to a stream and return its sequence."""
        ack = await self.acknowledged(await self.send(subject, payload, headers))
        sequence: int = ack["seq"]
        return sequence

    @asynccontextmanager
    async def listening(self, subject: str) -> AsyncIterator[Any]:
        """A subscription for the time of the block."""
        await self._connected()
        subscription = await self.client.subscribe(subject, pending_bytes_limit=0, pending_msgs_limit=0)
        try:
            yield subscription
        finally:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def next_message(self, subscription: Any) -> Msg:
        try:
            message: Msg = await subscription.next_msg(self.timeout)
        except _AWAY as error:
            raise _away(error) from error
        return message

    async def publish(self, subject: str, payload: bytes, **options: Any) -> None:
        await self._connected()
        try:
            await self.client.publish(subject, payload, **options)
        except _AWAY as error:
            raise _away(error) from error

    async def close(self) -> None:
        for future in list(self._acks.values()):
            future.cancel()
        with suppress(nats.errors.Error, asyncio.TimeoutError, OSError):
            await self.client.close()

    async def _connected(self) -> None:
        """Wait a moment for a connection that is being made again."""
        if self.client.is_connected:
            return
        deadline = asyncio.get_running_loop().time() + min(1.0, self.timeout)
        while not self.client.is_connected:
            if self.client.is_closed or asyncio.get_running_loop().time() > deadline:
                raise _away(None)
            await asyncio.sleep(0.01)

    async def _acknowledged(self, message: Msg) -> None:
        future = self._acks.get(message.subject.rpartition(".")[2])
        if future is None or future.done():
            return
        if message.headers and message.headers.get("Status") == "503":
            future.set_exception(_away(None))
            return
        answer = orjson.loads(message.data)
        if "error" in answer:
            future.set_exception(storage_error(answer["error"]))
        else:
            future.set_result(answer)


async def connect(
    url: str, *, timeout: float, creds: str = "", inbox: str = "_INBOX", name: str = "broker-plane"
) -> Connection:
    """A connection to `url`.

    Raises:
        BrokerAwayError: nothing answers there.
        ConfigError: user, password or credentials are refused.
    """
    client = Client()
    options: dict[str, Any] = {"user_credentials": creds} if creds else {}
    try:
        await client.connect(
            url,
            name=name,
            connect_timeout=timeout,  # type: ignore[arg-type]  # it goes to asyncio.wait_for
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.05,  # type: ignore[arg-type]  # and this to asyncio.sleep
            pending_size=0,
            error_cb=_quiet,
            ping_interval=20,
            inbox_prefix=inbox.encode(),
            **options,
        )
    except nats.errors.AuthorizationError as error:
        raise ConfigError(_REFUSED) from error
    except (TimeoutError, nats.errors.Error, OSError) as error:
        await client.close()
        if "uthorization" in str(error):
            raise ConfigError(_REFUSED) from error
        raise _away(error) from error
    connection = Connection(client, timeout)
    await connection.start()
    return connection


def storage_error(error: Mapping[str, Any]) -> StorageError:
    """The error of ours for one of JetStream's: its numbers are in nats-server's errors.json."""
    number = error.get("err_code")
    reason = f"{error.get('description', '')} ({number})"
    if number == _WRONG_LAST_SEQUENCE:
        return ConflictError("Another writer was faster", reason=reason)
    if number in _FULL or "maximum bytes" in reason or "no space" in reason:
        return StoreFullError(
            "The store is full; delete bodies, wait for some to expire, or enlarge it (BROKER_PLANE_STORE_BYTES)",
            reason=reason,
        )
    if error.get("code") == 503:
        return BrokerAwayError("JetStream is not ready; try again", reason=reason, retry_after=1)
    return StorageError(f"NATS refused: {error.get('description', 'no reason given')}", reason=reason)


def _away(error: BaseException | None) -> BrokerAwayError:
    return BrokerAwayError(
        "The broker does not answer; it is restarting or out of reach. Try again", reason=repr(error), retry_after=1
    )


async def _quiet(error: Exception) -> None:
    """Reconnecting is silent: what fails meanwhile says so itself, and nats-py's default prints to the log."""
