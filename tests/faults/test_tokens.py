"""A bearer token reaches nobody whom the operator did not name, whatever a grant, an answer or a redirect says."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import suppress
from time import time
from uuid import uuid4

import pytest

from broker_plane.client.http import HttpPuller
from broker_plane.client.trust import Trust
from broker_plane.client.upload import Uploader
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.bodies import pull as pulling
from broker_plane.wire.caveats import Audience
from broker_plane.wire.grant import Grant, Key, narrow, seal
from broker_plane.wire.names import body_id
from broker_plane.wire.selector import WHOLE
from tests.faults.hostile_answers import HostileServer, hostile

pytestmark = pytest.mark.anyio
TOKEN = "the-operator-s-token"
VERBS = ("pull", "look", "page", "tell", "upload")


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile() as started:
        yield started


@pytest.fixture(scope="module")
def grant() -> str:
    """One that a model made up: for somebody by name, and sealed with any key."""
    made = Grant(body=body_id(secrets.token_bytes(16)), grant_id=uuid4().bytes, expires=int(time()) + 600)
    return narrow(seal(made, Key(secrets.token_bytes(32))), Audience("me"))


async def asked(trust: Trust, verb: str, url: str) -> None:
    puller = HttpPuller(trust, token=TOKEN)
    with suppress(BrokerPlaneError):
        match verb:
            case "pull":
                await pulling.pull(puller, url, WHOLE, room=pulling.PullLimits(10, 1 << 30), accept=lambda got: got)
            case "look":
                await puller.look(url, 5)
            case "page":
                await puller.page(url, "", 1000, 0)
            case "tell":
                await puller.tell(url, {"status": "success"})
            case "upload":
                uploader = Uploader(trust, token=TOKEN, patience=0.2)
                await uploader.upload(url.replace("/s2sp/data/", "/s2sp/upload/"), b"content")
    await puller.close()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("answer", ["redirect", "code-is-object", "ok-other"])
async def test_a_host_that_is_only_followed_gets_no_token(
    server: HostileServer, grant: str, verb: str, answer: str
) -> None:
    before = len(server.heads)
    await asked(Trust(hosts=frozenset({"127.0.0.1"})), verb, f"{server.url}/{answer}/s2sp/data/{grant}")
    assert len(server.heads) > before
    assert not [head for head in server.heads[before:] if TOKEN in head]


@pytest.mark.parametrize("verb", VERBS)
async def test_another_port_of_loopback_is_not_even_asked(server: HostileServer, grant: str, verb: str) -> None:
    before = len(server.heads)
    trust = Trust(bridges=frozenset({"http://127.0.0.1:1"}))
    await asked(trust, verb, f"{server.url}/code-is-object/s2sp/data/{grant}")
    assert len(server.heads) == before


@pytest.mark.parametrize("verb", VERBS)
async def test_a_bridge_that_is_named_gets_it(server: HostileServer, grant: str, verb: str) -> None:
    before = len(server.heads)
    host = server.url.removeprefix("http://")
    trust = Trust(hosts=frozenset({host}), token_hosts=frozenset({host}))
    await asked(trust, verb, f"{server.url}/code-is-object/s2sp/data/{grant}")
    assert all(TOKEN in head for head in server.heads[before:]) and len(server.heads) > before
