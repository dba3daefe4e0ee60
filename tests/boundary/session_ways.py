"""The ways into a session, as the table of roles tries them: each says what it lets the holder of a grant do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import anyio
import nats.errors

from broker_plane.sessions.roles import OPERATIONS, Access
from broker_plane.wire.grant import peek
from broker_plane.wire.names import asker_of
from broker_plane.wire.plane_names import Names
from tests.boundary.client import Client
from tests.boundary.conftest import Admit

REFUSALS = frozenset({"forbidden", "unidentified", "unknown_grant", "grant_expired", "grant_revoked"})
"""The codes of errors that refuse a request because of who sends it; any other one is an answer of the session."""

HEAR = "hear"

REQUESTS: Mapping[str, Mapping[str, Any]] = {
    "show": {},
    "log": {},
    "diff": {"from": 1},
    "join": {"name": "anna"},
    "present": {"at": {"cursor": 1}},
    "note": {"type": "comment", "text": "good"},
    "propose": {"base": 1, "edit": "b", "stale": "merge"},
    "update": {"base": 1, "change": ["c"]},
    "lease": {"region": {"start": 0, "end": 1}},
    "release": {"lease": "l1"},
    "decide": {"conflict": "c1", "choice": "ours"},
    "undo": {"intent": "write"},
    "accept": {"proposal": "p1"},
    "rollback": {"to": 1},
    "confirm": {},
    "leave": {},
    "close": {},
}
"""A valid request for each operation but `hear`, which is none."""

ALWAYS_DONE = frozenset({"show", "log", "diff", "join", "present", "note", "update", "lease", "rollback", "leave"})
"""Operations that need nothing else in the session, so that they succeed whenever they are allowed."""


class NotLetInError(Exception):
    """The way is closed to this grant."""


def request_to(operation: str) -> dict[str, Any]:
    return {"do": operation, **REQUESTS[operation]}


def lets(operation: str, answer: Mapping[str, Any]) -> bool:
    """Whether an answer comes from the session and not from a guard before it."""
    if "error" not in answer:
        return True
    code = answer["error"]["code"]
    assert code in REFUSALS or operation not in ALWAYS_DONE, (operation, answer)
    assert code not in ("bad_request", "error"), (operation, answer)
    return code not in REFUSALS


class Holder(Protocol):
    """Somebody who was let in with a grant."""

    async def may(self, operation: str) -> bool:
        """Do `operation`, in every way that might work; whether one did."""

    async def ended(self, seconds: float) -> None:
        """The way is closed to a holder who was let in. Raises TimeoutError where it is not in time."""


class Way(Protocol):
    """One way into a session."""

    operations: frozenset[str]

    async def enter(self, grant: str) -> Holder:
        """Let the holder of `grant` in. Raises NotLetInError."""

    async def answers_after_the_end(self, grant: str, operation: str) -> bool:
        """Whether the plane itself still does `operation` for a grant that has expired or was revoked."""

    async def steal(self, grant: str, named: str, operation: str) -> bool:
        """Whether a thief may do `operation` with `grant`, or with `named`, which is for another audience."""


class NatsWay:
    """Requests to nats-server, which checks the subject, and behind it to the plane, which checks the grant."""

    operations = frozenset(OPERATIONS)

    def __init__(self, admit: Admit, plane: Client, user: Client, thief: Client) -> None:
        """`plane` is not held by any permission, `user` is one of the configuration, and `thief` has another grant."""
        self._admit = admit
        self._plane = plane
        self._user = user
        self._thief = thief
        self._turn = anyio.Lock()
        """One thief at a time: a refusal does not say which of its requests it is for."""

    async def enter(self, grant: str) -> NatsHolder:
        try:
            return NatsHolder(await self._admit(grant), grant, asker_of(grant))
        except nats.errors.Error as error:
            raise NotLetInError from error

    async def answers_after_the_end(self, grant: str, operation: str) -> bool:
        if operation == HEAR:
            return False
        subject = f"{Names().say_subject(OPERATIONS[operation], grant)}.{asker_of(grant)}"
        return lets(operation, await answer_to(self._plane, subject, operation))

    async def steal(self, grant: str, named: str, operation: str) -> bool:
        async with self._turn:
            for asker in (asker_of(grant), self._thief.asker):
                if await NatsHolder(self._thief, grant, asker).may(operation):
                    return True
            try:
                await self._admit(named)
            except nats.errors.Error:
                return await NatsHolder(self._user, named, self._user.asker).may(operation)
            return True


class NatsHolder:
    """Requests with one grant over one connection, in the name of `asker`."""

    def __init__(self, client: Client, grant: str, asker: str) -> None:
        self._client = client
        self._grant = grant
        self._asker = asker

    async def may(self, operation: str) -> bool:
        if operation == HEAR:
            subjects = (name(peek(self._grant).body) for name in (Names().said_subject, Names().here_subject))
            return all([not await self._client.subscribe(subject) for subject in subjects])
        done = [access for access in Access if await self._asks(operation, access)]
        assert done in ([], [OPERATIONS[operation]])  # on no other subject than its own
        return bool(done)

    async def ended(self, seconds: float) -> None:
        await self._client.ended(seconds)

    async def _asks(self, operation: str, access: Access) -> bool:
        subject = f"{Names().say_subject(access, self._grant)}.{self._asker}"
        if await self._client.publish(subject, b"{}"):  # what is no request is refused by the plane
            return False
        return lets(operation, await answer_to(self._client, subject, operation))


async def answer_to(client: Client, subject: str, operation: str) -> dict[str, Any]:
    answer = await client.request(subject, json.dumps(request_to(operation)).encode(), 10)
    found: dict[str, Any] = json.loads(answer.data)
    return found
