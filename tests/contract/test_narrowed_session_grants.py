"""Grants of sessions: narrowed by their holders, and useful for nothing but a session."""

from __future__ import annotations

import os
from typing import Any

import httpx2
import pytest

from broker_plane import Plane
from broker_plane.errors import BrokerPlaneError, ForbiddenError, SelectorError, WireError
from broker_plane.plane.sessions.granted import GrantedSessions
from broker_plane.runtime.pulls import Via
from broker_plane.sessions.roles import Role
from broker_plane.wire.caveats import Bytes, Caveat, Columns, SessionIntent, SessionName, SessionRole, Uses, Where
from broker_plane.wire.grant import Grant, Key, Kind, narrow, peek, seal
from broker_plane.wire.names import BodyId, body_id

pytestmark = pytest.mark.anyio
OF_A_BODY: list[Caveat] = [Columns(("a",)), Where("a = 1"), Uses(1), Bytes(10)]
OF_A_SESSION: list[Caveat] = [SessionRole("editor"), SessionIntent("fix"), SessionName("anna")]


@pytest.fixture
def session() -> BodyId:
    return body_id(os.urandom(16))


async def mint(plane: Plane, session: BodyId, role: Role = "editor", **limits: str) -> str:
    wired = plane._user_plane()
    return await wired.grants.minting.mint_session(session, role, int(wired.now()) + 600, **limits)


def granted(plane: Plane) -> GrantedSessions:
    return GrantedSessions(plane._user_plane().deliveries)


async def test_a_minted_grant_says_who_may_do_what_where(plane: Plane, session: BodyId) -> None:
    grant = await mint(plane, session, "reviewer", intent="security", participant="anna")
    opened = await granted(plane).open(grant)
    assert (opened.session, opened.role, opened.intent, opened.participant) == (session, "reviewer", "security", "anna")
    assert opened.owner == plane.settings.owner
    with pytest.raises(SelectorError, match="cannot be narrowed to role 'owner'"):
        await mint(plane, session, "owner")


async def test_a_holder_reduces_a_grant_and_cannot_raise_it_again(plane: Plane, session: BodyId) -> None:
    root = await mint(plane, session)
    reduced = plane.narrow(root, role="reviewer", intent="docs", participant="bert", ttl=60)
    assert reduced.scope == {"role": "reviewer", "intent": "docs", "participant": "bert"}
    assert reduced.expires < peek(root).expires
    raised = plane.narrow(reduced.grant, role="editor")
    opened = await granted(plane).open(raised.grant)
    assert (opened.role, opened.intent, opened.participant) == ("reviewer", "docs", "bert")
    others: list[dict[str, Any]] = [{"intent": "fix"}, {"participant": "anna"}]
    for limit in others:
        with pytest.raises(ForbiddenError, match="two different"):
            plane.narrow(reduced.grant, **limit)
    with pytest.raises(WireError, match="editor, reviewer and observer"):
        plane.narrow(root, role="owner")
    with pytest.raises(SelectorError, match="intent 'Fix it'"):
        plane.narrow(root, intent="Fix it")


async def test_a_narrowed_grant_keeps_its_address(plane: Plane, session: BodyId) -> None:
    grant = await mint(plane, session)
    at_bridge = f"{plane.bridge_url}/v1/sessions/{grant}"
    for address in (grant, at_bridge, f"bp.say.edit.{grant}"):
        made = plane.narrow(address, role="observer")
        assert made.resource_url == f"{plane.bridge_url}/v1/sessions/{made.grant}"
        assert made.subject == f"bp.say.read.{made.grant}"
    page = at_bridge.replace("http", "ws", 1)
    assert plane.narrow(page, role="observer").resource_url.startswith("ws://")


@pytest.mark.parametrize("limit", [{"columns": ["a"]}, {"where": "a = 1"}, {"uses": 1}, {"max_bytes": 1}], ids=repr)
async def test_narrowing_a_session_like_a_body_is_refused_at_once(
    plane: Plane, session: BodyId, limit: dict[str, Any]
) -> None:
    with pytest.raises(ForbiddenError, match="can be narrowed by role"):
        plane.narrow(await mint(plane, session), **limit)


@pytest.mark.parametrize("limit", [{"role": "observer"}, {"intent": "fix"}, {"participant": "anna"}], ids=repr)
async def test_narrowing_a_body_like_a_session_is_refused_at_once(plane: Plane, limit: dict[str, Any]) -> None:
    with pytest.raises(ForbiddenError, match="Only the grant of a session"):
        plane.narrow((await plane.publish(b"body")).grant, **limit)


@pytest.mark.parametrize("caveat", OF_A_BODY, ids=repr)
async def test_a_session_opens_no_grant_with_the_caveats_of_a_body(
    plane: Plane, session: BodyId, caveat: Caveat
) -> None:
    with pytest.raises(ForbiddenError):
        await granted(plane).open(narrow(await mint(plane, session), caveat))


@pytest.mark.parametrize("via", ["http", "nats"])
@pytest.mark.parametrize("caveat", OF_A_SESSION, ids=repr)
async def test_a_body_is_not_delivered_with_the_caveats_of_a_session(plane: Plane, caveat: Caveat, via: Via) -> None:
    grant = (await plane.publish(b"body", uses="unlimited")).grant
    assert await plane.pull(grant, via=via) == b"body"
    with pytest.raises(BrokerPlaneError, match="Only the grant of a session"):
        await plane.pull(narrow(grant, caveat), via=via)


async def test_a_grant_of_one_kind_opens_no_other(plane: Plane, session: BodyId) -> None:
    body = (await plane.publish(b"body", uses="unlimited")).grant
    with pytest.raises(ForbiddenError, match="not for a session"):
        await granted(plane).open(body)
    grant = await mint(plane, session)
    async with httpx2.AsyncClient(base_url=plane.bridge_url, trust_env=False) as client:
        for path in ("/s2sp/data/", "/v1/feeds/", "/v1/streams/"):
            assert (await client.get(path + grant)).status_code == 403
        assert (await client.head(f"/s2sp/upload/{grant}")).status_code == 403
        assert (await client.post(f"/v1/sessions/{body}", json={"do": "show"})).status_code == 403


async def test_a_sealed_grant_without_a_role_is_an_observers(plane: Plane, session: BodyId) -> None:
    """The plane seals none; it would be the least that it can be."""
    wired = plane._user_plane()
    key: Key = await wired.keys.sealing()
    bare = Grant(body=session, grant_id=os.urandom(16), expires=int(wired.now()) + 60, uses=0, kind=Kind.SESSION)
    assert (await granted(plane).open(seal(bare, key))).role == "observer"
