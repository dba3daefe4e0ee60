"""A session that was created, and invitations to it: descriptors of the mode `collaborate` (SEP-2433, section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from broker_plane.errors import ConfigError
from broker_plane.runtime.offering import Terms
from broker_plane.sessions.replicas.port import ArtifactKind, Sync
from broker_plane.wire.descriptor import V1, parse_descriptor
from broker_plane.wire.grant import peek, transfer_id_of
from broker_plane.wire.offers import Cargo, Offer, Way, rank
from broker_plane.wire.session_roles import Access, Role, accesses
from broker_plane.wire.urls import SESSION_SUBPROTOCOL, SESSIONS, session_url

FORMATS: Mapping[ArtifactKind, str] = {"text": "text/plain", "json": "application/json", "table": "application/json"}
"""The media type of an artifact by its kind; a table is a JSON array of objects."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """A grant for a session, as descriptors."""

    grant: str = field(repr=False)
    kind: ArtifactKind
    sync: Sync
    bridge_url: str
    terms: Terms
    offers_subject: bool
    """Whether it may be joined over NATS: see `Published.offers_subject`."""
    participants: tuple[Mapping[str, Any], ...] = ()
    """Those who are there: `{id, role, type}`."""

    @property
    def url(self) -> str:
        """`<bridge>/v1/sessions/<grant>`: requests by POST, a WebSocket, and a page for people."""
        return session_url(self.bridge_url, self.grant)

    def offer(self) -> Offer:
        """Return its ways, ranked: a WebSocket of JSON messages, and a presigned subject."""
        said = peek(self.grant)
        role: Role = said.scope.role or "observer"
        collaborate: dict[str, Any] = {
            "session_id": said.body,
            "role": role,
            "participants": [dict(each) for each in self.participants],
            "sync_protocol": self.sync,
            "blackboard_endpoint": self.url,
        }
        if said.scope.intent:
            collaborate["intent"] = said.scope.intent
        shared: dict[str, Any] = {
            "$schema": V1,
            "transfer_id": transfer_id_of(self.grant),
            "mode": "collaborate",
            "format": FORMATS[self.kind],
            "expires": datetime.fromtimestamp(said.expires, UTC),
            "fallback": "error",
            "collaborate": collaborate,
        }
        scheme, _, rest = self.url.partition("://")
        socket = "wss" if scheme == "https" else "ws"
        way = {"protocol": socket, "endpoint": f"{socket}://{rest}", "subprotocol": SESSION_SUBPROTOCOL}
        ways = [Way(parse_descriptor(shared | way))] if self.bridge_url else []
        if self.offers_subject:
            subject = self.terms.names.say_subject(most_access(role), self.grant)
            nats = parse_descriptor(shared | {"protocol": "nats", "endpoint": subject})
            ways.append(Way(nats, self.terms.nats_encrypted, self.terms.nats_near))
        return rank(ways, Cargo(live=True), self.terms.plain)

    def descriptor(self) -> dict[str, Any]:
        """Return the best way, with the others as its `alternatives`.

        Raises:
            ConfigError: no way may be offered.
        """
        found = self.offer().to_wire()
        if found is None:
            raise ConfigError(
                "The bridge is in plain text on a host that BROKER_PLANE_PLAIN_HTTP does not allow; give it https"
            )
        return found


@dataclass(frozen=True, slots=True)
class CreatedSession:
    """A new session. `grants` has one for each of editor, reviewer and observer; narrow them like any grant."""

    session_id: str
    kind: ArtifactKind
    sync: Sync
    invitations: Mapping[Role, Invitation] = field(repr=False)
    """By role."""

    @property
    def grants(self) -> dict[Role, str]:
        return {role: each.grant for role, each in self.invitations.items()}

    @property
    def descriptor(self) -> dict[str, Any]:
        """The invitation of an editor, for a tool's result or `plane.sessions.join`."""
        return self.invitations["editor"].descriptor()

    @property
    def urls(self) -> dict[Role, str]:
        """The page of each role: it opens in a browser."""
        return {role: each.url for role, each in self.invitations.items()}

    @property
    def websocket(self) -> str:
        """The URL to which Yjs clients append a grant: `new WebsocketProvider(websocket, grant, doc)`."""
        bridge_url = self.invitations["editor"].bridge_url
        return "ws" + bridge_url.rstrip("/").removeprefix("http") + SESSIONS.rstrip("/")

    def offer(self, role: Role = "editor") -> Offer:
        """Return the ways of the invitation for a role."""
        return self.invitations[role].offer()

    def to_wire(self) -> dict[str, Any]:
        """The object that `broker-plane session create --json` prints."""
        return {
            "session_id": self.session_id,
            "descriptor": self.descriptor,
            "grants": self.grants,
            "websocket": self.websocket,
        }


def most_access(role: Role) -> Access:
    """The access of a role that includes its others: the token of its presigned subject."""
    return next(each for each in (Access.EDIT, Access.NOTE, Access.READ) if each in accesses(role))
