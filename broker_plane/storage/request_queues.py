"""What is stored of durable requests, for operators: the keys, and how far the processes of each server are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_plane.broker.connection import Connection
from broker_plane.errors import StorageError, WireError
from broker_plane.exchange.messages import ExchangeKey

_NOT_FOUND = "10059"


@dataclass(frozen=True, slots=True)
class RequestQueue:
    """The queue of a server's requests by one carrier. `delivered` and `finished` are stream sequences: up to the
    first, requests were claimed at least once; up to the second, they are finished."""

    server: str
    carrier: str
    waiting: int
    claimed: int
    """Requests under a lease, or that wait for another attempt."""
    delivered: int
    finished: int


async def request_queues(connection: Connection) -> list[RequestQueue]:
    """The queues of all servers; none if no request was ever stored.

    Raises:
        BrokerUnavailableError.
    """
    found: list[RequestQueue] = []
    seen = 0
    while True:
        page = await _api(connection, f"CONSUMER.LIST.{connection.names.requests_stream}", {"offset": seen})
        consumers = page.get("consumers") or []
        found += [queue for each in consumers if (queue := _queue(each)) is not None]
        seen += len(consumers)
        if not consumers or seen >= page["total"]:
            return found


async def request_keys(connection: Connection, server: str = "", exchange: str = "") -> list[ExchangeKey]:
    """The keys of the requests that are stored: of one server, or of all; of one exchange, or of all.

    Raises:
        BrokerUnavailableError.
    """
    names = connection.names
    wanted = names.mcp_subject(server or "*", "ask", "*", "*", exchange or "*")
    keys: list[ExchangeKey] = []
    seen = 0
    while True:
        asked = {"subjects_filter": wanted, "offset": seen}
        info = await _api(connection, f"STREAM.INFO.{names.requests_stream}", asked)
        subjects = _mapping(_mapping(info.get("state")).get("subjects"))
        keys += [key for each in subjects if (key := _key(each)) is not None]
        seen += len(subjects)
        if not subjects or seen >= info.get("total", 0):
            return keys


async def _api(connection: Connection, subject: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The answer about the stream of requests; an empty one if nothing was ever stored."""
    try:
        return await connection.retrying_api(subject, asked)
    except StorageError as error:
        if _NOT_FOUND in error.reason:
            return {}
        raise


def _queue(info: Mapping[str, Any]) -> RequestQueue | None:
    """A consumer as `storage/exchanges.py` makes it, `ask_<carrier>_<server>`; None for another one."""
    kind, _, rest = str(info.get("name", "")).partition("_")
    carrier, found, server = rest.partition("_")
    if kind != "ask" or not found:
        return None
    return RequestQueue(
        server=server,
        carrier=carrier,
        waiting=int(info["num_pending"]),
        claimed=int(info["num_ack_pending"]),
        delivered=int(info["delivered"]["stream_seq"]),
        finished=int(info["ack_floor"]["stream_seq"]),
    )


def _key(subject: str) -> ExchangeKey | None:
    """The key in the subject of a request; None if a client has made one that names no exchange."""
    *tokens, session, exchange = subject.split(".")
    try:
        return ExchangeKey(tokens[2], session, exchange)
    except WireError:
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
