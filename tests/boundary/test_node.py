"""A client in another language reads a body with nothing but the grant: NATS's JavaScript client, unchanged."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.errors import GrantUsedError
from tests.deploy.running import Running
from tests.interop.conftest import answer, npm_installed

pytestmark = pytest.mark.anyio
PROGRAM = Path(__file__).with_name("pull_with_grant.cjs")
PACKAGES = ("@nats-io/transport-node@3.4.0", "@msgpack/msgpack@3.1.2")


@pytest.fixture(scope="session")
def node_modules() -> Path:
    return npm_installed("grant-client", *PACKAGES)


@pytest.mark.parametrize("size", [0, 1000, 700_000, 9_000_000])
async def test_node_pulls_with_the_grant_as_its_token(
    weather: Plane, broker: Running, node_modules: Path, tmp_path: Path, size: int
) -> None:
    raw = os.urandom(size)
    published = await weather.publish(raw)
    question: dict[str, Any] = {"url": broker.address, "grant": published.grant}
    found = await answer(["node", PROGRAM], question, {"NODE_PATH": str(node_modules)}, tmp_path)
    assert found["sha256"] == sha256(raw).hexdigest()
    assert found["size"] == size
    assert found["confirmed"]
    async with Plane.guest(broker.address) as guest:
        with pytest.raises(GrantUsedError):
            await guest.pull(published.grant)
