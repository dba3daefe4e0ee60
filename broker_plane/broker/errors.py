"""Translates errors of nats-server, JetStream and nats-py into errors of the plane."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import nats.errors
import orjson

from broker_plane.broker.messages import Message
from broker_plane.errors import (
    BrokerUnavailableError,
    ConflictError,
    DiskFullError,
    NotPermittedError,
    StorageError,
    StoreFullError,
)

UNAVAILABLE = (
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
NO_RESPONDERS = "no responders"
NO_ANSWER = "no answer in time"
NOT_PERMITTED = re.compile(r'permissions violation for (?:publish|subscription) to "([^"]*)"', re.IGNORECASE)

_WRONG_LAST_SEQUENCE = 10071
_DISK = ("error creating store", "no space left", "quota exceeded", "read-only file system", "input/output error")
_NO_LEADER = {10008, 10009}
"""JetStream system temporarily unavailable (a group without a leader), and JetStream without a leader."""

_NO_PEERS = 10005
"""No suitable peers for placement; also in a cluster that has just been started."""

_IN_PROCESS = {10158, 10164}
"""A message with the same Nats-Msg-Id is still being stored; a conditional write of the same subject is (a cluster)."""

_ELECTING = "The cluster is electing a leader, or too few of its nodes can be reached. Try again in a few seconds"
_STORE_FAILED = 10077
_FULL = {10023, 10047, 10077, 10122}
"""Insufficient resources, storage resources exceeded, stream store failed (maximum bytes), maximum messages."""


def storage_error(error: Mapping[str, Any]) -> StorageError:
    """The error for one of JetStream's; their numbers are in nats-server's errors.json."""
    number = error.get("err_code")
    reason = f"{error.get('description', '')} ({number})"
    if number == _WRONG_LAST_SEQUENCE:
        return ConflictError("Another writer was faster", reason=reason)
    if number == _STORE_FAILED and "clos" in reason:  # the node is being stopped
        return electing(reason)
    if any(words in reason for words in _DISK):
        return DiskFullError(reason)
    if number in _FULL or "maximum bytes" in reason or "no space" in reason:
        return StoreFullError(
            "The store is full; delete bodies, wait for some to expire, or enlarge it (BROKER_PLANE_MAX_STORE_BYTES)",
            reason=reason,
        )
    if number in _NO_LEADER:
        return electing(reason)
    if number == _NO_PEERS:
        return BrokerUnavailableError(
            "Too few nodes of the cluster can be reached for the replicas of a new stream (BROKER_PLANE_REPLICAS)",
            reason=reason,
            retry_after=1,
        )
    if number in _IN_PROCESS:
        return BrokerUnavailableError("The broker is still storing this; try again", reason=reason, retry_after=1)
    if error.get("code") == 503:
        return BrokerUnavailableError("JetStream is not ready; try again", reason=reason, retry_after=1)
    return StorageError(f"NATS refused: {error.get('description', 'no reason given')}", reason=reason)


def parsed(answer: Message) -> dict[str, Any]:
    """The JSON of an answer; `{"error": …}` is raised."""
    answered: dict[str, Any] = orjson.loads(answer.data)
    if "error" in answered:
        raise storage_error(answered["error"])
    return answered


def fail(future: asyncio.Future[Message], error: StorageError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # nobody may be waiting for it any more: mark it as retrieved


def unavailable(error: BaseException | None, reason: str = "") -> BrokerUnavailableError:
    return BrokerUnavailableError(
        "The broker does not answer; it is restarting or out of reach. Try again",
        reason=reason or repr(error),
        retry_after=1,
    )


def electing(reason: str) -> BrokerUnavailableError:
    return BrokerUnavailableError(_ELECTING, reason=reason, retry_after=1)


def not_permitted(user: str, subject: str, where: str) -> NotPermittedError:
    # Without the subject, which may contain a grant.
    prefix, *tokens = subject.split(".")
    if tokens[:1] in (["pull"], ["confirm"]):
        needed = f"{prefix}.pull.*.{tokens[-1]} and {prefix}.confirm.*.{tokens[-1]}"
        return NotPermittedError(
            f"NATS at {where} does not permit {user} to pull: that needs permission to publish on {needed}; "
            f"broker-plane accounts --user {user} prints the entry for nats.conf",
            reason=prefix,
        )
    return NotPermittedError(
        f"NATS at {where} does not permit {user} to do that. If it is a resource server's user, set "
        "BROKER_PLANE_ROLE=source and BROKER_PLANE_OWNER to its name; if it is a puller's, BROKER_PLANE_ROLE=guest "
        "(docs/accounts.md)",
        reason=subject.partition(".")[0],
    )
