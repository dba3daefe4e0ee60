"""`plane.sessions`: creates collaborative sessions, takes part in them, and closes them (docs/sessions.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from broker_plane.config import Settings
from broker_plane.errors import NotPermittedError, SessionClosedError, WireError
from broker_plane.plane.sessions.channel import SessionChannel
from broker_plane.plane.sessions.host import SessionHost
from broker_plane.runtime import arguments
from broker_plane.runtime.joined_session import JoinedSession, joined
from broker_plane.runtime.offering import terms_of
from broker_plane.runtime.pulls import PullRouter
from broker_plane.runtime.session_addresses import SessionAddress, SessionVia, session_address
from broker_plane.runtime.session_offers import CreatedSession, Invitation
from broker_plane.runtime.session_requests import ParticipantRequests, RequestSender, SessionIdentity
from broker_plane.runtime.session_sources import check_kind, of_body, of_file, of_value
from broker_plane.runtime.session_view import Fields, SessionView
from broker_plane.runtime.wiring import Wiring, access_of
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.participants import OWNER
from broker_plane.sessions.policy import Policy, parse_policy
from broker_plane.sessions.replicas.port import ArtifactKind, Sync
from broker_plane.wire.names import BodyId, is_body_id
from broker_plane.wire.plane_names import Names
from broker_plane.wire.session_roles import Role

if TYPE_CHECKING:
    from broker_plane.client.session_requests import HttpSessionRequests

ROLES: tuple[Role, ...] = ("editor", "reviewer", "observer")
SYNCS = ("crdt", "patch", "ot")
"""The sync protocols; the first is the default."""

SessionOrGrant = str | Mapping[str, Any] | CreatedSession
"""A session id (then this process acts as the owner), a grant, the URL of one, or a descriptor."""


class Sessions:
    """Collaborative sessions. Creating and closing need the role `plane`; whoever has a grant can take part."""

    def __init__(
        self,
        settings: Settings,
        pulls: PullRouter,
        bridge_url: str,
        name: str,
        *,
        wiring: Wiring | None,
        host: Callable[[], SessionHost],
    ) -> None:
        """`host` gives the sessions that this process hosts. Raises NotPermittedError if its role does not permit."""
        self._settings = settings
        self._pulls = pulls
        self._bridge_url = bridge_url
        self._name = name
        self._wiring = wiring
        self._host = host

    async def create(
        self,
        value: Any = None,
        *,
        source: Path | str | None = None,
        kind: ArtifactKind | None = None,
        sync: Sync = "crdt",
        policy: Policy | Mapping[str, Any] | None = None,
        ttl: arguments.Lifetime | None = None,
    ) -> CreatedSession:
        """Create a session over a text, a JSON value or a table, and return it with a grant for each role.

        The artifact is `value`, or `source`: a file, or the `resource_url` of a body, whose type decides the `kind`
        unless it is given. Without both it is empty. `policy` is a Policy or its members (docs/sessions.md); `ttl`,
        how long the session can be used, is by default that of the policy: a day.

        Raises:
            WireError: an argument, or a member of the policy, is not valid. TabularError, OSError: the source cannot
            be read. TooLargeError: the artifact is above the policy's limit.
        """
        check_kind(kind)
        arguments.one_of(sync, "sync", *SYNCS)
        host, terms = self._host(), self._policy(policy, ttl)
        kind, value = await self._artifact(value, source, kind)
        session = await host.create(value, kind=kind, sync=sync, policy=terms, owner=self._settings.owner)
        expires = ceil(self._owner_wiring().now() + terms.seconds)
        invitations = {role: await self._invitation(session, role, kind, sync, expires) for role in ROLES}
        return CreatedSession(session, kind, sync, invitations)

    async def grant(
        self, session: str, role: Role, *, ttl: arguments.Lifetime, intent: str = "", participant: str = ""
    ) -> str:
        """Return another grant for a session of this owner. `participant` is the name that its holder has.

        Raises:
            SessionNotFoundError: this owner has no such session.
        """
        async with self._host().open(session, self._settings.owner):
            expires = ceil(self._owner_wiring().now() + arguments.seconds(ttl))
        return await self._owner_wiring().grants.minting.mint_session(
            BodyId(session), role, expires, intent=intent, participant=participant
        )

    def join(
        self,
        address: SessionOrGrant,
        *,
        name: str = "",
        type: Literal["agent", "human"] = "agent",
        intent: str = "",
        via: SessionVia = "auto",
    ) -> AbstractAsyncContextManager[JoinedSession]:
        """`async with plane.sessions.join(descriptor, name="anna") as session:` take part for the block.

        `address` is a descriptor of the mode `collaborate`, a grant, or the URL of one. `via` chooses a WebSocket
        ("http") or NATS ("nats"). The end of the block leaves the session and releases its leases.

        Raises:
            GrantError, SessionNotFoundError: the session does not admit this grant. WireError: it is not one.
            UntrustedHostError: the settings do not trust the host. BrokerUnavailableError: nothing answers there.
        """
        arguments.one_of(type, "type", "agent", "human")
        found = self._address(address)
        who = SessionIdentity(name or self._settings.puller_name.lower(), type, intent)
        return self._joined(found, who, found.way(via, nats_only=self._pulls.nats_only))

    def requests(
        self, address: SessionOrGrant, *, who: SessionIdentity | None = None, via: SessionVia = "auto"
    ) -> AbstractAsyncContextManager[ParticipantRequests]:
        """Single requests to a session, without joining it: for scripts and tools. Raises as `join`."""
        return self._requests(address, who or SessionIdentity(), via)

    async def show(self, address: SessionOrGrant, revision: int | None = None) -> SessionView:
        """Return the artifact at a revision, by default the newest, with participants, conflicts and notes."""
        async with self.requests(address) as session:
            return await session.read(revision)

    async def log(self, address: SessionOrGrant, after: int = 0, limit: int = 100) -> list[Entry]:
        """Return up to `limit` (at most 500) entries after a revision."""
        async with self.requests(address) as session:
            return await session.log(after, limit)

    async def diff(self, address: SessionOrGrant, start: int, end: int | None = None) -> str:
        """Return what changed from one revision to another, as a unified diff."""
        async with self.requests(address) as session:
            return await session.diff(start, end)

    async def rollback(self, address: SessionOrGrant, revision: int) -> int:
        """Set the artifact back to a revision, as a new one, whose number is returned."""
        async with self.requests(address) as session:
            return await session.rollback(revision)

    async def close(self, address: SessionOrGrant, reason: str = "") -> Fields:
        """Close a session of this owner: `{revision, sha256, resource_url}`. The final artifact is a body.

        It is idempotent: a closed session is described again.

        Raises:
            NotPermittedError: this process does not have the role `plane`. SessionNotFoundError: it has another owner.
        """
        session = address if isinstance(address, str) and is_body_id(address) else self._address(address).session_id
        async with self.requests(session) as owner:
            try:
                return await owner.ask("close", reason=reason or None)
            except SessionClosedError:
                shown = await owner.read()
            result = shown.fields.get("result") or {}
            return {"revision": shown.revision, "sha256": shown.sha256, "resource_url": result.get("resource_url")}

    @asynccontextmanager
    async def _joined(
        self, address: SessionAddress, who: SessionIdentity, way: Literal["http", "nats"]
    ) -> AsyncIterator[JoinedSession]:
        async with self._channel(address, who, way) as channel, joined(channel, who) as session:
            yield session

    @asynccontextmanager
    async def _requests(
        self, given: SessionOrGrant, who: SessionIdentity, via: SessionVia
    ) -> AsyncIterator[ParticipantRequests]:
        if isinstance(given, str) and is_body_id(given):
            async with self._host().open(given, self._settings.owner) as live:
                yield ParticipantRequests(_OwnerRequests(live), SessionIdentity())
            return
        address = self._address(given)
        if address.way(via, nats_only=self._pulls.nats_only) == "http":
            yield ParticipantRequests(self._over_http(address), who)
            return
        async with self._channel(address, who, "nats") as channel:
            yield ParticipantRequests(channel, who)

    def _over_http(self, address: SessionAddress) -> HttpSessionRequests:
        from broker_plane.client.session_requests import HttpSessionRequests

        return HttpSessionRequests(self._pulls.http, address.url)

    @asynccontextmanager
    async def _channel(
        self, address: SessionAddress, who: SessionIdentity, way: Literal["http", "nats"]
    ) -> AsyncIterator[SessionChannel]:
        async with AsyncExitStack() as stack:
            if way == "http":
                yield await stack.enter_async_context(await self._socket(address, who))
            else:
                yield await stack.enter_async_context(await self._subjects(address, stack))

    async def _socket(
        self, address: SessionAddress, who: SessionIdentity
    ) -> AbstractAsyncContextManager[SessionChannel]:
        from broker_plane.client.session_socket import session_socket  # a server that only publishes needs no client

        headers = await self._pulls.http.session_headers(address.url)
        said = {"name": who.name, "type": who.type, "intent": who.intent}
        query = {name: text for name, text in said.items() if text}
        return session_socket(address.websocket, query, timeout=self._settings.pull_timeout_seconds, headers=headers)

    async def _subjects(
        self, address: SessionAddress, stack: AsyncExitStack
    ) -> AbstractAsyncContextManager[SessionChannel]:
        """Over this process's own connection, or, for a guest, over one whose credential is the grant."""
        from broker_plane.subjects.guests import admitted
        from broker_plane.subjects.session_client import session_subjects
        from broker_plane.wire.names import asker_of

        settings, timeout = self._settings, self._settings.request_timeout_seconds
        if self._wiring is not None and settings.role == "plane":
            return session_subjects(self._wiring.connection, address.grant, self._name, timeout=timeout)
        url, names = settings.nats_guest_url or settings.nats_url, Names(settings.prefix)
        access = access_of(settings)
        connecting = admitted(url, address.grant, timeout=timeout, access=access, names=names)
        connection = await stack.enter_async_context(connecting)
        return session_subjects(connection, address.grant, asker_of(address.grant), timeout=timeout)

    def _address(self, given: SessionOrGrant) -> SessionAddress:
        return session_address(given, self._bridge_url)

    def _policy(self, policy: Policy | Mapping[str, Any] | None, ttl: arguments.Lifetime | None) -> Policy:
        found = policy if isinstance(policy, Policy) else parse_policy(policy or {})
        return found if ttl is None else replace(found, seconds=arguments.whole_seconds(ttl))

    async def _artifact(
        self, value: Any, source: Path | str | None, kind: ArtifactKind | None
    ) -> tuple[ArtifactKind, Any]:
        if source is None:
            return of_value(value, kind)
        if value is not None:
            raise WireError("Pass the artifact as value or as source, not both")
        if isinstance(source, Path) or not _is_address(source):
            return await of_file(Path(source), kind)
        return await of_body(self._pulls, source, kind)

    async def _invitation(self, session: str, role: Role, kind: ArtifactKind, sync: Sync, expires: int) -> Invitation:
        wiring = self._owner_wiring()
        grant = await wiring.grants.minting.mint_session(BodyId(session), role, expires)
        return Invitation(grant, kind, sync, self._bridge_url, terms_of(self._settings), wiring.guests)

    def _owner_wiring(self) -> Wiring:
        if self._wiring is None:
            raise NotPermittedError("A session is created where the role is plane; this process is a guest")
        return self._wiring


class _OwnerRequests(RequestSender):
    """Requests of the owner, to a session that this process hosts."""

    def __init__(self, live: Any) -> None:
        self._live = live

    async def request(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = await self._live.ask(fields, OWNER)
        return answer


def _is_address(source: str) -> bool:
    return "://" in source
