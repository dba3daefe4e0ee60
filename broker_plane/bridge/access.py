"""The access of the features of a bridge to their clients: who they are, how much they may use, and when to stop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from starlette.types import Scope

from broker_plane.bridge.admission import Admission
from broker_plane.bridge.audience import NO_AUDIENCES, Audiences
from broker_plane.web.request import headers_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAccess:
    """Shared by all features of one bridge."""

    admission: Admission
    audiences: Audiences = NO_AUDIENCES
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the bridge stops: endless answers end, and their clients reconnect to another bridge."""

    def who(self, scope: Scope) -> str:
        """The name of the puller whose bearer token a request has; empty without one."""
        return self.audiences.who(headers_of(scope)) if self.audiences.names else ""


def grant_of(scope: Scope) -> str:
    """The part of the path that should be a grant."""
    grant: str = scope["path_params"]["grant"]
    return grant
