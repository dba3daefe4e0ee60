"""Plane's owner: its bodies, their grants, keys and audit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.audit import audit_of
from broker_plane.plane.grants.owners import Revocation
from broker_plane.plane.ports import Readiness
from broker_plane.runtime import arguments
from broker_plane.runtime.guests import why_no_guests
from broker_plane.runtime.narrowing import Less, Narrowed, known
from broker_plane.runtime.parts import Parts
from broker_plane.storage.replication import Replication, replication_of
from broker_plane.wire.audit import AuditEntry
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.grant import grant_id_of, grant_of, peek
from broker_plane.wire.names import BodyId


class Owning(Parts):
    """What an owner does."""

    async def mint(self, body_id: BodyId, less: Less) -> Narrowed:
        """A new grant for a body of this owner, narrowed. Its uses and its time to live are the root's own.

        Raises:
            BodyNotFoundError: this owner has none of that id.
            SelectorError: it has no column that `less` names.
        """
        body = await self._reading.store.info(self.settings.owner, body_id)
        less = known(less, body)
        uses = arguments.uses(self.settings.grant_uses if less.uses is None else less.uses)
        ttl = None if less.ttl is None else arguments.whole_seconds(less.ttl)
        grant = await self._wiring.grants.minting.mint(body, uses=uses, ttl=ttl)
        return self.narrowed(grant, replace(less, uses=None, ttl=None))

    async def narrowed_known(self, address: str, less: Less) -> Narrowed:
        """As `narrowed`, which asks nobody; of a body of this owner a column that it has not is an error at once.

        Raises:
            SelectorError: the body has no such column, or the grant does not show it.
        """
        grant = peek(grant_of(address))
        body = None
        with suppress(BrokerPlaneError):  # not ours, or gone: whoever pulls it will be told
            body = await self._reading.store.info(self.settings.owner, grant.body)
        return self.narrowed(address, known(less, body, grant.scope.columns))

    async def watch(self) -> AsyncGenerator[BodyInfo, None]:
        """This owner's new bodies, as they are committed."""
        async with aclosing(self._reading.store.watch(self.settings.owner)) as bodies:
            async for body in bodies:
                yield body

    async def look(self, grant: str) -> BodyInfo:
        """What is known of the body that `grant` is for; uses nothing up. Needs the rights of a bridge."""
        deliveries = self._reading.deliveries
        return (await deliveries.find(await deliveries.open(grant, self.name))).info

    async def why_no_guests(self) -> str:
        """Why a presigned subject is of no use to guests of this NATS; empty where a grant connects and may pull."""
        return await why_no_guests(self._reading, self.settings)

    async def ready(self) -> Readiness:
        return await self._reading.broker.ready()

    async def replication(self) -> Replication | None:
        """How the streams are replicated; None where NATS is one server."""
        return await replication_of(self._reading.connection, self.settings.replicas)

    async def bodies(self) -> list[BodyInfo]:
        """This owner's bodies, oldest first."""
        return [body async for body in self._reading.store.list(self.settings.owner)]

    async def delete(self, body_id: BodyId) -> None:
        """Remove a body; every grant for it opens nothing from now on.

        Raises:
            FeedError: it is of a feed's version, which would have a notice and no body.
        """
        await self._reading.owning.delete(body_id)

    async def grants(
        self, body_id: BodyId, names: int | Sequence[str], *, uses: int = 1, ttl: int | None = None
    ) -> list[tuple[str, str]]:
        """`(name, resource_url)` of a separate grant for each of `names`, or for so many: one body, many consumers.

        Each has `uses` deliveries (0: unlimited) and lives for `ttl` seconds, at most as long as the body. The names
        stand in the audit.

        Raises:
            BodyNotFoundError, SelectorError: there is no such body of this owner; a name is none, or stands twice.
        """
        named = names if isinstance(names, int) else arguments.names(names, "names") or ()
        lives = None if ttl is None else arguments.whole_seconds(ttl)
        owning = self._reading.owning
        return await owning.grants(body_id, named, uses=arguments.uses(uses), ttl=lives, offer=self.url_of)

    async def revoke(self, grant: str) -> Revocation:
        """A grant (a `resource_url`, a presigned subject, the grant or its id) opens nothing any more.

        Every bridge refuses it within a second and cuts the pulls that run on it. What was narrowed from it has the
        same id and is revoked with it.

        Raises:
            GrantRefusedError, WireError: it is no genuine grant.
            BrokerUnavailableError: whether it is revoked is not known; do it again.
        """
        grant = arguments.address(grant)
        grant_id = grant_id_of(grant)
        if grant_id is not None:
            return await self._reading.owning.revoke_id(grant_id)
        return await self._reading.owning.revoke_grant(grant_of(grant))

    async def audit(self, body_id: BodyId) -> list[AuditEntry]:
        """Who was given grants for a body, pulled what of it, and how that ended, in order of time.

        Entries are written within a second of what they say.
        """
        return await audit_of(self._reading.audit, body_id)

    async def rotate_keys(self) -> None:
        """Seal with a new key; grants of the one before it still open, older ones no more."""
        await self._wiring.keys.rotate()
