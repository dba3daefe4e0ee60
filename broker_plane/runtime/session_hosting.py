"""Wires the host of sessions of one process: a bridge, or the owner's process."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from broker_plane.config import Settings
from broker_plane.errors import NotPermittedError
from broker_plane.plane.fairness.work import Work
from broker_plane.plane.sessions.host import SessionHost
from broker_plane.plane.sessions.results import BodyResults
from broker_plane.plane.sessions.tools import SessionTools
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.keys import NatsKeys
from broker_plane.storage.sessions import NatsSessionLog
from broker_plane.validators.runner import ValidatorRunner, parse_validators
from broker_plane.wire.names import encode_id
from broker_plane.wire.urls import data_url

BridgeUrl = str | Callable[[], str]
"""The base URL of the bridge that serves results; a bridge knows its own only once it has bound its port. Empty: the
one of the settings.
"""


def session_host(
    wiring: Wiring, settings: Settings, bridge_url: BridgeUrl = "", work: Work | None = None
) -> SessionHost:
    """The host of sessions; a resource_url of a closed one leads to `bridge_url`. Close it before the wiring.

    Raises:
        NotPermittedError: this process does not have the role `plane`.
        ConfigError: the setting of validators is wrong.
    """
    return SessionHost(session_tools(wiring, settings, bridge_url, work))


def session_tools(
    wiring: Wiring, settings: Settings, bridge_url: BridgeUrl = "", work: Work | None = None
) -> SessionTools:
    """What the sessions of one process share. Raises as `session_host`."""
    if not isinstance(wiring.keys, NatsKeys):
        raise NotPermittedError("Sessions need the role plane: unset BROKER_PLANE_ROLE")
    base = bridge_url or settings.bridge_url
    results = BodyResults(
        wiring.store,
        wiring.grants,
        wiring.keys,
        url=lambda grant: data_url(base() if callable(base) else base, grant),
        now=wiring.now,
        random_bytes=secrets.token_bytes,
    )
    return SessionTools(
        log=NatsSessionLog(wiring.connection, wiring.store),
        results=results,
        validators=ValidatorRunner(parse_validators(settings.session_validators)),
        work=work or Work(),
        now=wiring.now,
        holder=encode_id(secrets.token_bytes(9)),
    )
