"""The plane's side of the subjects of sessions: opens the grant of each request, and passes it to the session.

A request is a JSON object on `bp.say.<access>.<grant>.<asker>`; its answer is `{"ok": {…}}` or `{"error": {…}}`. The
access of the operation has to be the one in the subject: nats-server lets a client publish only on those of its role,
so neither it nor the plane has to trust the other (sessions/roles.py). Entries are not sent from here: nats-server
republishes them when they are stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message, respond
from broker_plane.broker.subscriptions import Served
from broker_plane.errors import BrokerPlaneError, ForbiddenError, TooLargeError, WireError
from broker_plane.logs import FIELDS
from broker_plane.plane.first_use import FirstUse
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.sessions.roles import OPERATIONS, Access, check_may
from broker_plane.subjects.requests import PendingRequests, RequestClaim, claim_of
from broker_plane.web.access_log import log_request
from broker_plane.web.problems import extra_members, status_of
from broker_plane.wire.exact_json import MALFORMED, dumps, loads
from broker_plane.wire.names import parse_asker
from broker_plane.wire.urls import redact

if TYPE_CHECKING:
    from broker_plane.plane.sessions.granted import GrantedSessions
    from broker_plane.plane.sessions.host import SessionHost

log = redacted_logger(__name__)
_QUEUE = "bp"
_OTHER = "…"
"""In the name of a route: an access that does not exist."""

MOST_REQUEST_BYTES = 1 << 20
"""Maximum size of a request; over HTTP it is the same."""

Observer = Callable[[str, int], None]
"""Called with the route and the status of each answer; the status is that of the same answer over HTTP."""


class SessionRequests:
    """One member of the queue group that answers requests to sessions; every bridge runs one."""

    def __init__(
        self,
        connection: Connection,
        granted: FirstUse[GrantedSessions],
        host: FirstUse[SessionHost],
        *,
        answered: Observer = lambda route, status: None,
    ) -> None:
        """`granted` opens grants for the transport `nats`; `host` has the sessions of this process."""
        self._connection = connection
        self._granted = granted
        self._host = host
        self._answered = answered
        self._served: list[Served] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending = PendingRequests()

    @property
    def routes(self) -> Sequence[str]:
        """The names of the subjects, as they are passed to the observer."""
        return [self._route(access) for access in (*Access, _OTHER)]

    async def start(self) -> None:
        subject = f"{self._connection.names.say_subject('*', '*')}.*"
        self._served.append(await self._connection.serve(subject, self._begin, queue=_QUEUE))

    async def close(self) -> None:
        """Leave the queue group, so that the server sends further requests to another member."""
        await self._connection.stop_serving(self._served)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _route(self, access: str) -> str:
        """The name of a subject: logs and metrics show neither the grant nor what a client made up."""
        return self._connection.names.say_subject(access if access in set(Access) else _OTHER, "…")

    async def _begin(self, message: Message) -> None:
        """Answer in a task, so that a slow request does not delay others."""
        _, _, access, grant, _ = message.subject.split(".")
        claim, route = claim_of(grant, len(message.data)), self._route(access)
        try:
            if claim.size > MOST_REQUEST_BYTES:
                raise TooLargeError(f"A request to a session has at most {MOST_REQUEST_BYTES} bytes")
            self._pending.take(claim)
        except BrokerPlaneError as error:
            await respond(message, _error(error))
            self._answered(route, status_of(error))
            return
        task = asyncio.create_task(self._answer(message, route))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, claim))

    def _ended(self, claim: RequestClaim, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._pending.free(claim)

    async def _answer(self, message: Message, route: str) -> None:
        began, client, status = perf_counter(), "-", 200
        try:
            _, _, access, grant, asker = message.subject.split(".")
            client = parse_asker(asker)
            raw = self._fitting(dumps({"ok": await self._ask(access, grant, client, message.data)}))
        except BrokerPlaneError as error:
            log.info("refused: %s on %s", error.brief, route, extra={FIELDS: {"code": error.code, "path": route}})
            raw, status = _error(error), status_of(error)
        except Exception:
            # The participant must not wait for its time-out because of a bug here.
            log.exception("A request to a session failed")
            raw, status = _error(BrokerPlaneError("The plane failed; see its log")), 500
        self._answered(route, status)
        await respond(message, raw)
        log_request(client, "NATS", route, status, len(raw), perf_counter() - began)

    async def _ask(self, access: str, grant: str, client: str, payload: bytes) -> dict[str, Any]:
        granted = await (await self._granted.get()).open(grant, client, client)
        fields = _request(payload)
        operation = str(fields.get("do"))
        check_may(granted.role, operation)
        if OPERATIONS[operation] != access:
            raise ForbiddenError(f"{operation} is requested on {self._route(OPERATIONS[operation])}, not here")
        host = await self._host.get()
        async with host.open(granted.session, granted.owner) as live:
            return await live.ask(fields, granted)

    def _fitting(self, raw: bytes) -> bytes:
        most = self._connection.max_payload
        if len(raw) > most:
            raise TooLargeError(f"The answer has {len(raw)} bytes, and a message over NATS at most {most}; use HTTP")
        return raw


def _request(payload: bytes) -> dict[str, Any]:
    try:
        fields = loads(payload)
    except MALFORMED as error:
        raise WireError(f"The request is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise WireError('A request to a session is a JSON object such as {"do": "show"}')
    return fields


def _error(error: BrokerPlaneError) -> bytes:
    """The same members as an error on a socket of a bridge."""
    fields: dict[str, Any] = {"code": error.code, "message": redact(str(error))}
    if error.retry_after is not None:
        fields["retry_after"] = error.retry_after
    return dumps({"error": fields | extra_members(error)})
