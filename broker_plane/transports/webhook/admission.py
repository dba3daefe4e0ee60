"""Which requests a front reads at all: none that a page in a browser was made to send, and none without a token."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

from broker_plane.bridge.audience import NO_AUDIENCES, Audiences
from broker_plane.errors import AuthenticationRequiredError
from broker_plane.web.guard import Guard
from broker_plane.web.request import headers_of

LOOPBACK_GUARD = Guard(loopback_origins=True, guard_reads=True)
"""Of a front on loopback: a foreign Host is refused (421), and a foreign Origin (403)."""

PUBLIC_GUARD = Guard(hosts=None, guard_reads=True)
"""Of other fronts, whose names are not known here: a foreign Origin is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontAdmission:
    """The rules of one front. With audiences, every request needs the bearer token of one of them."""

    guard: Guard = LOOPBACK_GUARD
    audiences: Audiences = NO_AUDIENCES

    def caller(self, scope: Scope) -> str:
        """The name of the caller; empty if no tokens are required.

        Raises:
            WireError, UnknownHostError, ForeignOriginError: a page may have been made to send this request.
            AuthenticationRequiredError: it has no token that is known here.
        """
        self.guard.check(scope)
        if not self.audiences.names:
            return ""
        who = self.audiences.who(headers_of(scope))
        if not who:
            raise AuthenticationRequiredError("This server requires a bearer token that BROKER_PLANE_AUDIENCES lists")
        return who
