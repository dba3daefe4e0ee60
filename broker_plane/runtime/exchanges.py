"""`plane.exchanges`: the durable requests to MCP servers that are stored (docs/exchanges.md), for operators."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from broker_plane.errors import ConflictError, ExchangeNotFoundError
from broker_plane.exchange.lines import error_answer, outline
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.plane.exchanges.limits import DEFAULT_SECONDS, MAX_SECONDS
from broker_plane.plane.exchanges.ports import Asked
from broker_plane.plane.exchanges.run import seconds_kept
from broker_plane.runtime.mcp_servers import McpServers
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.exchanges import NatsExchanges
from broker_plane.storage.request_queues import RequestQueue, request_keys, request_queues
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.json_rpc import INTERNAL_ERROR

ExchangeState = Literal["waiting", "claimed", "running", "answered", "expired"]
"""`claimed`: a process has it, or had it and another attempt follows; `running`: an instance says that it runs there;
`expired`: its deadline has passed, and it is answered with an error once it is claimed."""

_CLIENT = "io.modelcontextprotocol/clientInfo"
_AT_ONCE = 32
_ANSWER_SECONDS, _LOOK_SECONDS = 5.0, 0.1
_CANCELLED = "The request was cancelled by an operator"


@dataclass(frozen=True, slots=True)
class StoredExchange:
    """A durable request. Times in unix seconds; `attempts` is None if nobody says; `process` has it."""

    id: str
    server: str
    carrier: str
    method: str
    tool: str
    client: str
    state: ExchangeState
    at: float
    deadline: float
    attempts: int | None
    process: str

    def to_wire(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class _Progress:
    """What is known of all exchanges: their queues, and what runs where, by exchange."""

    queues: Mapping[tuple[str, str], RequestQueue]
    running: Mapping[str, tuple[int, str]]


class Exchanges:
    """The durable requests of all MCP servers and clients. Needs the role `plane`."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._connection = wiring.connection
        self._store = NatsExchanges(wiring.connection)

    async def list(self, server: str = "") -> list[StoredExchange]:
        """Return what is stored for one server, or for all, oldest first.

        Raises:
            BrokerUnavailableError.
        """
        keys = await request_keys(self._connection, server)
        if not keys:
            return []
        progress, room = await self._progress(), asyncio.Semaphore(_AT_ONCE)

        async def described(key: ExchangeKey) -> StoredExchange | None:
            async with room:
                asked = await self._store.find(key)
                return None if asked is None else await self._described(asked, progress)

        found = await asyncio.gather(*map(described, keys))
        return sorted((each for each in found if each is not None), key=lambda each: each.at)

    async def show(self, exchange: str) -> dict[str, Any]:
        """Return an exchange with its request, and the messages about it that are stored.

        Raises:
            ExchangeNotFoundError: there is none, or no longer. BrokerUnavailableError.
        """
        asked = await self._find(exchange)
        described = await self._described(asked, await self._progress())
        messages = await self._store.messages(asked.key)
        return described.to_wire() | {
            "request": _json(asked.line),
            "messages": [{"seq": each.seq, "last": each.last, "message": _json(each.line)} for each in messages],
        }

    async def cancel(self, exchange: str) -> bool:
        """Cancel an exchange, wherever it runs or waits; its client gets an error. False: it was answered before.

        Raises:
            ExchangeNotFoundError: there is none, or no longer. BrokerUnavailableError, StoreFullError.
        """
        asked = await self._find(exchange)
        if await self._is_answered(asked):
            return False
        key = asked.key
        subject = self._connection.names.mcp_subject(key.server, "cancel", key.session, key.exchange)
        await self._connection.publish(subject, b"", headers={"Bp-Durable": "1"})
        instances = [each for server in await McpServers(self._wiring).list(key.server) for each in server.instances]
        for _ in range(int(_ANSWER_SECONDS / _LOOK_SECONDS) if instances else 0):
            if await self._is_answered(asked):
                return True
            await asyncio.sleep(_LOOK_SECONDS)
        return await self._answered(asked, await self._store.last(key))

    async def _is_answered(self, asked: Asked) -> bool:
        """Whether its answer is stored, or its client has it."""
        if await self._store.find(asked.key) is None:
            return True
        queues = [each for each in await request_queues(self._connection) if each.server == asked.key.server]
        queue = next((each for each in queues if each.carrier == asked.key.carrier), None)
        return _state(asked, await self._store.last(asked.key), queue) == "answered"

    async def _answered(self, asked: Asked, last: Said | None) -> bool:
        """Answer in the place of an instance. One that claims it passes the answer on; one that runs it stops."""
        line = error_answer(outline(asked.line).id, INTERNAL_ERROR, _CANCELLED, {"code": "exchange_cancelled"})
        said = Said(last.seq + 1 if last else 1, line, last=True)
        with suppress(ConflictError):
            await self._store.append(asked.key, said, seconds_kept(asked, self._wiring.now()))
            return True
        return False

    async def _find(self, exchange: str) -> Asked:
        keys = await request_keys(self._connection, exchange=exchange) if _is_id(exchange) else []
        if len(keys) > 1:
            raise ConflictError(f"{len(keys)} requests have the id {exchange[:64]}; their clients chose it")
        asked = await self._store.find(keys[0]) if keys else None
        if asked is None:
            raise ExchangeNotFoundError(
                f"There is no stored request {exchange[:64]}; `broker-plane exchanges ls` lists those that there are"
            )
        return asked

    async def _progress(self) -> _Progress:
        servers = await McpServers(self._wiring).list()
        running = {
            exchange: (attempt, instance.process)
            for server in servers
            for instance in server.instances
            for exchange, attempt in instance.running.items()
        }
        queues = {(each.server, each.carrier): each for each in await request_queues(self._connection)}
        return _Progress(queues, running)

    async def _described(self, asked: Asked, progress: _Progress) -> StoredExchange:
        key, request = asked.key, _json(asked.line)
        params = request.get("params") if isinstance(request, dict) else None
        params = params if isinstance(params, dict) else {}
        deadline = min(asked.deadline or asked.at + DEFAULT_SECONDS, asked.at + MAX_SECONDS, asked.expires)
        last = await self._store.last(key)
        attempt, process = progress.running.get(key.exchange, (None, ""))
        state = _state(asked, last, progress.queues.get((key.server, key.carrier)))
        if state in ("waiting", "claimed") and attempt is not None:
            state = "running"
        elif state in ("waiting", "claimed") and self._wiring.now() > deadline:
            state = "expired"
        return StoredExchange(
            id=key.exchange,
            server=key.server,
            carrier=key.carrier,
            method=outline(asked.line).method or "",
            tool=_text(params.get("name")),
            client=_client(params.get("_meta")),
            state=state,
            at=asked.at,
            deadline=deadline,
            attempts=0 if state == "waiting" else attempt,
            process=process,
        )


def _state(asked: Asked, last: Said | None, queue: RequestQueue | None) -> ExchangeState:
    """The state by what is stored. An answer that its client has is not stored: its request is only finished."""
    sequence = int(asked.headers["Nats-Sequence"])
    if last is not None and last.last:
        return "answered"
    if queue is None or sequence > queue.delivered:
        return "waiting"
    return "answered" if sequence <= queue.finished or not queue.claimed else "claimed"


def _client(meta: Any) -> str:
    """Name and version of the client, as it says itself."""
    info = meta.get(_CLIENT) if isinstance(meta, dict) else None
    info = info if isinstance(info, dict) else {}
    return " ".join(filter(None, (_text(info.get(name)) for name in ("name", "version"))))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _is_id(exchange: str) -> bool:
    return bool(exchange) and not set(exchange) & set(".*> \t\r\n")


def _json(line: bytes) -> Any:
    """The message; its text if it is no JSON."""
    try:
        return loads(line)
    except MALFORMED:
        return line.decode("utf-8", "replace")
