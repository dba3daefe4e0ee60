"""A grant of a session says what its holder is there; any other grant, and any other narrowing, is refused."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from broker_plane.config import Settings
from broker_plane.errors import (
    AuthenticationRequiredError,
    ForbiddenError,
    GrantExpiredError,
    GrantRevokedError,
    IntentError,
    WireError,
)
from broker_plane.plane.sessions.granted import GrantedSessions
from broker_plane.plane.sessions.host import SessionHost
from broker_plane.runtime.session_hosting import session_tools
from broker_plane.runtime.wiring import Wiring
from broker_plane.sessions.policy import parse_policy
from broker_plane.wire.caveats import Audience, Caveat, Columns, Expires, SessionIntent, SessionName, SessionRole, Uses
from broker_plane.wire.grant import narrow
from broker_plane.wire.names import BodyId, body_id

pytestmark = pytest.mark.anyio
SESSION = body_id(b"0123456789abcdef")


async def minted(wiring: Wiring, *caveats: Caveat, seconds: int = 60, session: BodyId = SESSION) -> str:
    expires = int(wiring.now()) + seconds
    return narrow(await wiring.grants.minting.mint_session(session, "editor", expires), *caveats)


@pytest.mark.parametrize(
    ("caveats", "role", "intent", "participant"),
    [
        ([], "editor", "", ""),
        ([SessionRole("observer"), SessionRole("reviewer")], "observer", "", ""),
        ([SessionIntent("fix"), SessionName("anna")], "editor", "fix", "anna"),
        ([SessionName("anna"), SessionName("anna")], "editor", "", "anna"),
    ],
)
async def test_a_grant_says_who_its_holder_is(
    wiring: Wiring, caveats: Sequence[Caveat], role: str, intent: str, participant: str
) -> None:
    granted = await GrantedSessions(wiring.deliveries).open(await minted(wiring, *caveats))
    assert (granted.session, granted.role, granted.intent, granted.participant) == (SESSION, role, intent, participant)


async def test_an_audience_is_the_name_of_the_participant(wiring: Wiring) -> None:
    opening = GrantedSessions(wiring.deliveries)
    text = await minted(wiring, Audience("anna"))
    assert (await opening.open(text, "anna")).participant == "anna"
    with pytest.raises(AuthenticationRequiredError):
        await opening.open(text)
    with pytest.raises(ForbiddenError):
        await opening.open(text, "ben")


@pytest.mark.parametrize(
    "caveats",
    [
        [Columns(("a",))],
        [Uses(3)],
        [SessionIntent("fix"), SessionIntent("docs")],
        [SessionName("anna"), SessionName("ben")],
        [SessionName("anna"), Audience("ben")],
        [Audience("a" * 40)],
    ],
    ids=str,
)
async def test_what_no_participant_can_be_is_refused(wiring: Wiring, caveats: Sequence[Caveat]) -> None:
    audience = next((each.name for each in caveats if isinstance(each, Audience)), "")
    with pytest.raises(ForbiddenError):
        await GrantedSessions(wiring.deliveries).open(await minted(wiring, *caveats), audience)


async def test_a_grant_of_a_body_opens_no_session(wiring: Wiring) -> None:
    stream = await wiring.grants.minting.mint_stream(SESSION, int(wiring.now()) + 60)
    with pytest.raises(ForbiddenError, match="not for a session"):
        await GrantedSessions(wiring.deliveries).open(stream)


async def test_expiry_and_revocation_are_checked_again(wiring: Wiring) -> None:
    opening = GrantedSessions(wiring.deliveries)
    granted = await opening.open(await minted(wiring, Expires(int(wiring.now()) + 2)))
    other = await opening.open(await minted(wiring))
    await opening.check(granted)
    with anyio.fail_after(20), pytest.raises(GrantExpiredError):
        while True:
            await opening.check(granted)
            await anyio.sleep(0.05)
    await wiring.grants.revoke(other.opened.grant.id)
    with pytest.raises(GrantRevokedError):
        await opening.check(other)


async def test_a_revocation_ends_what_its_holder_does(wiring: Wiring) -> None:
    opening = GrantedSessions(wiring.deliveries)
    granted = await opening.open(await minted(wiring))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wiring.grants.revoke, granted.opened.grant.id)
        with anyio.fail_after(20), pytest.raises(GrantRevokedError), opening.guarding(granted):
            await anyio.sleep_forever()


async def test_the_holder_is_admitted_under_the_name_of_the_grant_or_its_own(
    wiring: Wiring, settings: Settings
) -> None:
    host = SessionHost(session_tools(wiring, settings, "http://127.0.0.1:1"))
    session = await host.create("", kind="text", sync="ot", policy=parse_policy({}), owner=settings.owner)
    opening = GrantedSessions(wiring.deliveries)
    free = await opening.open(await minted(wiring))
    fixed = await opening.open(await minted(wiring, SessionName("anna"), SessionIntent("fix")))
    async with host.open(session) as live:
        who = live.admit(free, name="Ben", type="human")
        assert (who.name, who.type, who.verified, who.role) == ("ben", "human", False, "editor")
        assert live.admit(free).name == "anonymous"
        assert live.admit(free, name="ben").id == who.id != live.admit(fixed, name="ben").id
        assert who.grant == live.admit(await opening.open(narrow(free.text, SessionName("eve")))).grant
        assert who.grant != live.admit(fixed).grant
        anna = live.admit(fixed, name="ben")
        assert (anna.name, anna.intent, anna.verified) == ("anna", "fix", True)
        with pytest.raises(IntentError):
            live.admit(fixed, intent="docs")
        with pytest.raises(IntentError):
            live.admit(free, intent="review-everything")
        with pytest.raises(WireError):
            live.admit(free, name="owner")
    await host.close()
