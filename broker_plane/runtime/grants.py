"""`plane.grants`: minting, describing and narrowing grants for stored bodies."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.grants.owners import Revocation
from broker_plane.runtime import arguments
from broker_plane.runtime.narrowing import Narrowed, Narrowing, known, narrowed
from broker_plane.runtime.offering import Published, terms_of
from broker_plane.runtime.uploads import uploaded_grant
from broker_plane.runtime.wiring import Wiring
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.grant import Kind, grant_id_of, grant_of, peek
from broker_plane.wire.names import BodyId
from broker_plane.wire.urls import data_url


class GrantIssuer:
    """The grants of this owner. Needs the role `plane`."""

    def __init__(self, wiring: Wiring, settings: Settings, bridge_url: str, puller: str) -> None:
        self._wiring = wiring
        self._settings = settings
        self._bridge_url = bridge_url
        self._puller = puller

    async def mint(self, body_id: BodyId, narrowing: Narrowing | None = None) -> Narrowed:
        """Return a new grant for a body of this owner, narrowed. Its uses and lifetime are those of `narrowing`.

        Raises:
            BodyNotFoundError: this owner has no such body.
            SelectorError: the body has no column that `narrowing` names.
        """
        body = await self._wiring.store.info(self._settings.owner, body_id)
        less = known(narrowing or Narrowing(), body)
        uses = arguments.uses_or(less.uses, self._settings.grant_uses)
        ttl = None if less.ttl is None else arguments.whole_seconds(less.ttl)
        grant = await self._wiring.grants.minting.mint(body, uses=uses, ttl=ttl)
        return self._narrowed(grant, replace(less, uses=None, ttl=None))

    async def mint_many(
        self,
        body_id: BodyId,
        names: int | Sequence[str],
        *,
        uses: arguments.Uses = 1,
        ttl: arguments.Lifetime | None = None,
    ) -> list[tuple[str, str]]:
        """Return `(name, resource_url)` of a separate grant for each of `names`: one body, many consumers.

        If `names` is a number, that many grants are named by numbers. Each has `uses` deliveries and lives for `ttl`
        seconds, but not longer than the body. The audit shows the names.

        Raises:
            BodyNotFoundError: this owner has no such body.
            SelectorError: a name is not valid or repeated.
        """
        named = names if isinstance(names, int) else arguments.names(names, "names") or ()
        lives = None if ttl is None else arguments.whole_seconds(ttl)
        counted = arguments.uses(uses)
        return await self._wiring.owning.grants(body_id, named, uses=counted, ttl=lives, offer=self._url_of)

    async def narrow_checked(self, address: str, narrowing: Narrowing) -> Narrowed:
        """Narrow like `Plane.narrow`, and check the names of columns at once if the body belongs to this owner.

        Raises:
            SelectorError: the body has no such column, or the grant does not show it.
        """
        grant = peek(grant_of(address))
        body = None
        with suppress(BrokerPlaneError):  # another owner's, or deleted: the puller will get that error
            body = await self._wiring.store.info(self._settings.owner, grant.body)
        return self._narrowed(address, known(narrowing, body, grant.scope.columns))

    async def describe(self, grant: str) -> Published:
        """Return what a grant is for, as `Plane.publish` would. No use is spent.

        The grant of an upload describes what was uploaded.

        Raises:
            UploadNotFoundError: the upload is not complete. GrantError: the grant does not open anything.
        """
        grant = arguments.address(grant)
        if peek(grant).kind is Kind.UPLOAD:
            grant = await uploaded_grant(self._wiring, self._settings, grant)
        body, terms = await self.body_of(grant), terms_of(self._settings)
        url, subject = self._url_of(grant), self._wiring.guests
        return Published(body, grant, url, [], False, {}, offers_subject=subject, terms=terms)

    async def body_of(self, grant: str) -> BodyInfo:
        """Return the metadata of the body that `grant` opens, as the grant shows it. No use is spent.

        Raises:
            GrantError, BodyNotFoundError.
        """
        deliveries = self._wiring.deliveries
        return (await deliveries.find(await deliveries.open(grant, self._puller))).info

    async def revoke(self, grant: str) -> Revocation:
        """Revoke as `Plane.revoke` says."""
        grant = arguments.address(grant)
        grant_id = grant_id_of(grant)
        if grant_id is not None:
            return await self._wiring.owning.revoke_id(grant_id)
        return await self._wiring.owning.revoke_grant(grant_of(grant))

    def _url_of(self, grant: str) -> str:
        return data_url(self._bridge_url, grant)

    def _narrowed(self, address: str, less: Narrowing) -> Narrowed:
        address = arguments.address(address)
        return narrowed(
            address, less, bridge_url=self._bridge_url, names=self._wiring.connection.names, now=self._wiring.now()
        )
