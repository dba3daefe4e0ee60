"""A bridge that takes uploads over a real nats-server, and what tests ask of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from broker_plane.bridge.app import bridge_app
from broker_plane.bridge.serve import BridgeServer
from broker_plane.client.upload import Uploaded, Uploader
from broker_plane.config import load_settings
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.uploads.uploads import Uploads
from broker_plane.runtime.uploads import UploadGrant, UploadTerms, mint_upload, upload_service
from broker_plane.runtime.wiring import Wiring
from tests.bridge.wire import PATIENCE
from tests.trusting import TRUSTING


@dataclass
class UploadBridge:
    """A bridge that runs. `client` keeps no connection."""

    wiring: Wiring
    uploads: Uploads
    url: str
    client: httpx2.AsyncClient

    async def grant(self, **terms: Any) -> UploadGrant:
        return await mint_upload(self.wiring, UploadTerms(**{"ttl": 60, "uses": 0, **terms}), self.url)

    async def ask(self, method: str, url: str, content: Any = b"", **headers: str) -> httpx2.Response:
        """Header names are written with _ for -."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, url, headers=fields, content=content)

    async def stored(self, url: str, location: str) -> bytes:
        """The bytes behind the Content-Location of a complete upload."""
        answer = await self.client.get(httpx2.URL(url).join(location), headers={"accept": "*/*"})
        assert answer.status_code == 200, answer.text
        return answer.content


async def sent(url: str, data: bytes, **named: Any) -> Uploaded:
    return await Uploader(TRUSTING, timeout=PATIENCE, patience=PATIENCE).upload(url, data, **named)


@asynccontextmanager
async def taking_uploads(wiring: Wiring) -> AsyncIterator[UploadBridge]:
    uploads = upload_service(wiring, load_settings())
    app = bridge_app(Deliveries(wiring.store, wiring.grants, wiring.broker), uploads=uploads)
    server = BridgeServer(app, stop_seconds=2)
    bare = httpx2.Limits(max_keepalive_connections=0)
    client = httpx2.AsyncClient(verify=False, trust_env=False, timeout=PATIENCE, limits=bare)
    async with server, client:
        yield UploadBridge(wiring, uploads, server.url, client)
