"""Stores bodies of sync mode and large results in the plane, so that an agent finds them again after a crash."""

from __future__ import annotations

from typing import Any

from broker_plane.agent.buffer import SCHEME
from broker_plane.agent.held_results import HeldResult
from broker_plane.errors import BodyNotFoundError, BufferFullError, GrantError, StaleHandleError, StoreFullError
from broker_plane.runtime.holding import publish_held_back
from broker_plane.runtime.plane import Plane
from broker_plane.tabular.json_values import exact_json_bytes
from broker_plane.wire.exact_json import loads
from broker_plane.wire.grant import is_grant
from broker_plane.wire.plane_names import Names


class PlaneBodies:
    """Implements `Bodies`. A handle is `ddi://` and a grant of one use, which is all that is needed to get the body.

    A large result gets a `resource_url` of any number of uses, as behind the proxy.
    """

    def __init__(self, plane: Plane, *, ttl: int = 600) -> None:
        self.plane = plane
        self._ttl = ttl
        self._back: dict[str, Any] = {}

    async def keep(self, body: Any) -> str:
        try:
            published = await self.plane.publish(
                exact_json_bytes(body), ttl=self._ttl, uses=1, name="sync-body.json", media_type="application/json"
            )
        except StoreFullError as error:
            raise BufferFullError(str(error)) from error
        return SCHEME + published.grant

    async def hold(self, held: HeldResult) -> dict[str, Any]:
        try:
            published = await publish_held_back(self.plane, held.found, held.tool)
        except StoreFullError as error:
            raise BufferFullError(str(error)) from error
        body = published.body
        facts = {"size": body.size, "media_type": body.media_type, "digest": f"sha256:{body.digest}"}
        facts = facts if held.is_text else {}
        return facts | {"resource_url": published.resource_url}

    async def give(self, handle: str) -> Any:
        if handle in self._back:
            return self._back.pop(handle)
        grant = handle.removeprefix(SCHEME)
        if not is_grant(grant):
            raise StaleHandleError("This ddi:// handle was not made by the plane. Call the resource tool again")
        try:
            return loads(await self.plane.pull(Names(self.plane.settings.prefix).pull_subject(grant)))
        except (GrantError, BodyNotFoundError) as error:
            raise StaleHandleError(
                "This ddi:// handle is no longer valid: it was used, or has expired. Call the resource tool again"
            ) from error

    async def put_back(self, handle: str, body: Any) -> None:
        """Restore the body in memory: the grant's use is spent."""
        self._back[handle] = body
