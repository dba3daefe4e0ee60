"""Bodies of sync mode that wait in the plane: an agent that crashed finds them again by its handles."""

from __future__ import annotations

from typing import Any

from broker_plane.agent.buffer import SCHEME
from broker_plane.errors import BodyNotFoundError, BufferFullError, GrantError, StaleHandleError, StoreFullError
from broker_plane.runtime.plane import Plane
from broker_plane.tabular.json_values import exact_dumps
from broker_plane.wire.exact_json import loads
from broker_plane.wire.grant import is_grant
from broker_plane.wire.names import pull_subject


class PlaneBodies:
    """A handle is `ddi://` and a grant of one use, which is all that is needed to find its body; see `Bodies`."""

    def __init__(self, plane: Plane, *, ttl: int = 600) -> None:
        self._plane = plane
        self._ttl = ttl
        self._back: dict[str, Any] = {}

    async def keep(self, body: Any) -> str:
        try:
            published = await self._plane.publish(
                exact_dumps(body), ttl=self._ttl, uses=1, name="sync-body.json", media_type="application/json"
            )
        except StoreFullError as error:
            raise BufferFullError(str(error)) from error
        return SCHEME + published.grant

    async def give(self, handle: str) -> Any:
        if handle in self._back:
            return self._back.pop(handle)
        grant = handle.removeprefix(SCHEME)
        if not is_grant(grant):
            raise StaleHandleError("This ddi:// handle is none of the plane's. Call the resource tool again")
        try:
            return loads(await self._plane.pull(pull_subject(grant)))
        except (GrantError, BodyNotFoundError) as error:
            raise StaleHandleError(
                "This ddi:// handle gives nothing any more: it was used, or has expired. Call the resource tool again"
            ) from error

    async def put_back(self, handle: str, body: Any) -> None:
        """In memory: the grant's use was spent."""
        self._back[handle] = body
