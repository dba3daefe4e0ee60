"""The auth callout: nats-server asks here about each client without a user of its own, whose token is its grant.

Every bridge runs one, as a queue group, on a connection as the user `callout` of the account AUTH. The server asks only
about clients of GUEST (`allowed_accounts`) and waits two seconds; if no bridge answers, it refuses the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from broker_plane.broker.access import NatsAccess
from broker_plane.broker.connecting import connect
from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message, respond
from broker_plane.broker.urls import as_user
from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.grants.grants import Grants
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.wire.callout import CalloutRequest, Issuer, parse_callout
from broker_plane.wire.nkey import check_seed
from broker_plane.wire.plane_names import Names

log = redacted_logger(__name__)
_SUBJECT = "$SYS.REQ.USER.AUTH"
_QUEUE = "bp"
_CONCURRENT = 8
_SECONDS = 1.5
"""After two seconds the server has given up."""


class AuthCallout:
    """One member of the queue group that decides what a client with a grant may do."""

    def __init__(self, connection: Connection, grants: Grants, issuer: Issuer, now: Callable[[], float]) -> None:
        self._connection = connection
        self._grants = grants
        self._issuer = issuer
        self._now = now

    async def start(self) -> None:
        # nats-py awaits the callback of a subscription, so as many clients are checked at once as there are of these.
        for _ in range(_CONCURRENT):
            await self._connection.serve(_SUBJECT, self._answer, queue=_QUEUE)

    async def close(self) -> None:
        await self._connection.close()

    async def _answer(self, message: Message) -> None:
        with suppress(BrokerPlaneError):
            asked = parse_callout(message.data)
            await respond(message, await self._decide(asked))

    async def _decide(self, asked: CalloutRequest) -> bytes:
        try:
            async with asyncio.timeout(_SECONDS):
                # Without a name: a grant for a named puller does not admit a client that only has the grant.
                opened = await self._grants.open(asked.token)
        except (BrokerPlaneError, TimeoutError) as error:
            log.info("Refused a client: %s", getattr(error, "code", "late"))
            return self._issuer.refuse(asked, self._now())
        return self._issuer.admit(asked, opened.grant, self._now())


async def auth_callout(
    url: str, settings: Settings, grants: Grants, now: Callable[[], float], access: NatsAccess | None = None
) -> AuthCallout:
    """A callout that answers, connected to the server at `url`. The settings have its password and its seed.

    Raises:
        ConfigError: the server refuses the password, or the seed is not one of an account.
    """
    password, seed = settings.callout_password.get_secret_value(), settings.callout_seed.get_secret_value()
    issuer = Issuer(check_seed(seed), Names(settings.prefix))
    as_callout = as_user(url, "callout", password)
    own = (access or NatsAccess()).of_user("BROKER_PLANE_CALLOUT_PASSWORD")
    connection = await connect(as_callout, timeout=settings.request_timeout_seconds, access=own)
    callout = AuthCallout(connection, grants, issuer, now)
    await callout.start()
    return callout
