"""Sessions for holders of a grant."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from broker_plane.errors import ForbiddenError, WireError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.grants.grants import Opened
from broker_plane.sessions.participants import parse_name
from broker_plane.sessions.roles import Role
from broker_plane.wire.grant import Kind
from broker_plane.wire.scope import NO_INTENT, NOBODY, Scope


@dataclass(frozen=True, slots=True)
class SessionGrant:
    """A grant of a session that was verified, and what it says of its holder."""

    session: str
    role: Role
    intent: str
    """Empty: any that the policy allows to the role."""
    participant: str
    """The verified name of the holder; empty: the one that it gives itself."""
    opened: Opened
    text: str = field(repr=False)

    @property
    def owner(self) -> str:
        """Whose session it has to be."""
        return self.opened.owner


class GrantedSessions:
    """Opens grants of sessions, and checks them again."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    async def open(self, text: str, who: str = "", asker: str = "") -> SessionGrant:
        """Verify the grant `text`; `who` and `asker` as in `Deliveries.open`.

        Raises:
            GrantError: as `Deliveries.open`.
            ForbiddenError: it is for something else, or it was narrowed to what no participant can be.
        """
        opened = await self._deliveries.open(text, who, asker)
        scope = opened.grant.scope
        if opened.grant.kind is not Kind.SESSION:
            raise ForbiddenError("This grant is not for a session")
        if scope.limits_body or opened.grant.counters:
            raise ForbiddenError(
                "The grant of a session can be narrowed by role, intent, participant, expiry and audience only"
            )
        if scope.intent == NO_INTENT:
            raise ForbiddenError("This grant was narrowed to two different intents")
        return SessionGrant(
            opened.grant.body, scope.role or "observer", scope.intent or "", _participant(scope), opened, text
        )

    async def check(self, granted: SessionGrant) -> None:
        """Raise GrantError once the grant has expired or was revoked."""
        await self._deliveries.grants.check(granted.opened, granted.opened.who)

    def guarding(self, granted: SessionGrant) -> AbstractContextManager[None]:
        """Run the block until the grant is revoked: then it is cancelled, and GrantRevokedError is raised."""
        return self._deliveries.grants.revoked.guarding(granted.opened.grant.id)


def _participant(scope: Scope) -> str:
    """The name that the grant fixes; empty if it fixes none."""
    names = {name for name in (scope.participant, scope.audience) if name is not None}
    if NOBODY in names or len(names) > 1:
        raise ForbiddenError("This grant was narrowed to two different participants")
    if not names:
        return ""
    try:
        return parse_name(names.pop())
    except WireError as error:
        raise ForbiddenError(
            "The audience of this grant cannot be the name of a participant: 1 to 32 characters of a-z, 0-9, _, . and -"
        ) from error
