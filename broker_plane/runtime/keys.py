"""`plane.keys`: the keys of one owner, and seals made with them."""

from __future__ import annotations

from broker_plane.runtime.wiring import Wiring


class OwnerKeys:
    """The keys that seal this owner's grants. Needs the role `plane` or `source`."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    async def rotate(self) -> None:
        """Seal with a new key from now on. Grants of the previous key still open; older ones do not."""
        await self._wiring.keys.rotate()

    async def vouch(self, grant: str, *words: str) -> str:
        """Return a seal on `words` about a grant, which every process with its owner's keys can check (`vouched`).

        Raises:
            GrantRefusedError: the keys of the grant are not known here.
        """
        return await self._wiring.grants.vouch(grant, *words)

    async def vouched(self, grant: str, seal: str, *words: str) -> bool:
        """Return whether `vouch` made `seal`, here or in another process. Raises as it does."""
        return await self._wiring.grants.vouched(grant, seal, *words)
