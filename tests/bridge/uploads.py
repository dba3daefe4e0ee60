"""A bridge that takes uploads over a real nats-server, and what tests ask of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from broker_plane.client.upload import Uploaded, Uploader
from broker_plane.config import load_settings
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.uploads.uploads import Uploads
from broker_plane.runtime.uploads import UploadGrant, UploadTerms, mint_upload, upload_service
from broker_plane.runtime.wiring import Wiring
from tests.bridge.apps import bridge_app, second_wiring, served
from tests.bridge.wire import PATIENCE
from tests.trusting import TRUSTING


@dataclass
class UploadBridge:
    """A bridge that runs. `client` keeps no connection."""

    wiring: Wiring
    uploads: Uploads
    url: str
    client: httpx2.AsyncClient
    others: list[str] = field(default_factory=list)
    """Further bridges of the same plane; requests go to all of them by turns."""
    _turn: int = 0

    async def grant(self, **terms: Any) -> UploadGrant:
        return await mint_upload(self.wiring, UploadTerms(**{"ttl": 60, "uses": 0, **terms}), self.url)

    async def ask(self, method: str, url: str, content: Any = b"", **headers: str) -> httpx2.Response:
        """Header names are written with _ for -."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        urls = [self.url, *self.others]
        self._turn += 1
        url = url.replace(self.url, urls[self._turn % len(urls)])
        return await self.client.request(method, url, headers=fields, content=content)

    async def stored(self, url: str, location: str) -> bytes:
        """The bytes behind the Content-Location of a complete upload."""
        answer = await self.client.get(httpx2.URL(url).join(location), headers={"accept": "*/*"})
        assert answer.status_code == 200, answer.text
        return answer.content


async def sent(url: str, data: bytes, **named: Any) -> Uploaded:
    return await Uploader(TRUSTING, timeout=PATIENCE, patience=PATIENCE).upload(url, data, **named)


@asynccontextmanager
async def taking_uploads_by_turns(wiring: Wiring) -> AsyncIterator[UploadBridge]:
    """Two bridges that share nothing but the nats-server."""
    async with second_wiring(wiring) as second, taking_uploads(wiring) as bridge, taking_uploads(second) as other:
        bridge.others.append(other.url)
        yield bridge


@asynccontextmanager
async def taking_uploads(wiring: Wiring) -> AsyncIterator[UploadBridge]:
    uploads = upload_service(wiring, load_settings())
    app = bridge_app(Deliveries.of(wiring.store, wiring.grants, wiring.broker), wiring.broker.ready, uploads=uploads)
    async with served(app, app.tracking()) as (server, client):
        yield UploadBridge(wiring, uploads, server.url, client)
