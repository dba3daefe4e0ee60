"""Askers attack: what is not theirs does not answer, nothing is stored, and no pull is changed (decision 0044)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgpack
import pytest

from broker_plane import Plane, Published
from broker_plane.wire.names import (
    asker_of,
)
from broker_plane.wire.plane_names import Names
from tests.boundary.client import Client
from tests.boundary.conftest import Admit, Join
from tests.boundary.world import MARK, nothing_changes, stored
from tests.deploy.running import Running

pytestmark = pytest.mark.anyio
REFUSED = "permissions violation"
N = "n" * 22


@dataclass
class Scene:
    """One asker who attacks; its own grant; the body, grant and asker of somebody else."""

    attacker: Client
    own: Published
    other: Published
    plane: Client

    @property
    def others_asker(self) -> str:
        return asker_of(self.other.grant)

    def subjects(self) -> list[str]:
        """Where it may neither publish nor listen: each in its literal spelling and in every wide one."""
        asker, owner, body = self.attacker.asker, self.other.body.owner, self.other.body.id
        stream, chunks = f"OBJ_bp_{owner}", Names().chunk_subject(owner, body)
        get = f"$JS.API.DIRECT.GET.{stream}"
        return [
            *(f"{get}.$O.bp_{owner}.C.{rest}" for rest in ("*", ">", body, self.own.body.id)),
            *(f"{get}.$O.bp_{owner}.M.{rest}" for rest in ("*", ">")),
            *(get, f"{get}.>", f"{get}.{Names().meta_subject(owner, body)}"),
            *(f"$JS.API.CONSUMER.CREATE.{stream}{rest}" for rest in ("", f".x.{chunks}", ".x.$O.*.C.*", ".>")),
            *(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.x", "$JS.API.CONSUMER.MSG.NEXT.BP_FEEDS.other"),
            *(f"$JS.API.STREAM.{verb}.{stream}" for verb in ("INFO", "MSG.GET", "MSG.DELETE", "PURGE", "DELETE")),
            *("$JS.API.>", "$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.CREATE.X", "$JS.ACK.>", "$JS.>"),
            *(chunks, f"$O.bp_{owner}.C.*", f"$O.bp_{owner}.>", Names().meta_subject(owner, body), "$O.>"),
            *(
                f"$KV.{Names().grants_bucket}.x",
                f"$KV.{Names().keys_bucket}.{owner}",
                f"$KV.{Names().keys_bucket}.>",
                "$KV.>",
            ),
            *("$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT.PLANE.CONNZ", "$SYS.REQ.USER.AUTH", "$SYS.>"),
            *(
                f"{Names().pull_subject(self.other.grant)}.{self.others_asker}",
                f"{Names().pull_subject(self.own.grant)}.other",
            ),
            *(
                f"{Names().confirm_subject(self.other.grant)}.{self.others_asker}",
                f"{Names().confirm_subject(self.own.grant)}.other",
            ),
            *(
                f"{Names().pull_subject(self.own.grant)}.*",
                f"{Names().pull_subject(self.own.grant)}.>",
                "bp.pull.>",
                "bp.pull.*.*",
            ),
            *(Names().delivery_subject(self.others_asker, N), f"bp.dlv.{asker}x.{N}", "bp.dlv.*.*", "bp.dlv.>", "bp.>"),
            *("_INBOX.>", "_INBOX.x", f"_INBOX_{self.others_asker}.x", "_INBOX_stats2.x", "_R_.>", "_R_.x"),
            *(">", "*", "*.>", "bp.*.>"),
        ]

    def replies(self) -> list[str]:
        """Where it would have answers sent."""
        owner, body = self.other.body.owner, self.other.body.id
        return [
            *(Names().chunk_subject(owner, body), f"$O.bp_{owner}.C.forged", Names().meta_subject(owner, body)),
            *(
                f"$KV.{Names().grants_bucket}.forged",
                f"$KV.{Names().keys_bucket}.{owner}",
                f"$KV.{Names().keys_bucket}.forged",
            ),
            *(f"$JS.API.STREAM.PURGE.OBJ_bp_{owner}", f"$JS.API.STREAM.DELETE.OBJ_bp_{owner}"),
            *(f"$JS.API.DIRECT.GET.OBJ_bp_{owner}", "$JS.ACK.x", "$SYS.REQ.USER.AUTH", "_INBOX.x", "test.other"),
            *(
                Names().delivery_subject(self.others_asker, N),
                f"{Names().confirm_subject(self.other.grant)}.{self.others_asker}",
            ),
            f"{Names().pull_subject(self.other.grant)}.{self.others_asker}",
        ]


@pytest.fixture(params=["with a grant", "with a user"])
async def scene(request: pytest.FixtureRequest, weather: Plane, join: Join, admit: Admit) -> AsyncIterator[Scene]:
    own = await weather.publish(b"mine", uses="unlimited")
    other = await weather.publish(os.urandom(2_000_000), uses=1)
    attacker = await (admit(own.grant) if request.param == "with a grant" else join("stats"))
    yield Scene(attacker, own, other, await join("plane"))


async def test_no_answer_comes_from_what_is_not_theirs_and_nothing_is_stored(scene: Scene) -> None:
    subjects = scene.subjects()
    assert len(subjects) >= 60
    async with nothing_changes(scene.plane):
        for subject in subjects:
            for refused in (await scene.attacker.publish(subject, MARK), await scene.attacker.subscribe(subject)):
                assert refused, subject
                assert REFUSED in refused[0]
    assert scene.attacker.received == []


async def test_what_they_may_say_is_a_pull_in_their_own_name(scene: Scene) -> None:
    asker = scene.attacker.asker
    own = Names().pull_subject(scene.own.grant)
    async with nothing_changes(scene.plane, asks=True):
        assert await scene.attacker.publish(f"{own}.{asker}", MARK) == []
        assert await scene.attacker.subscribe(f"bp.dlv.{asker}.{N}") == []
        assert await scene.attacker.subscribe(f"_INBOX_{asker}.x") == []
    if scene.attacker.asker == "stats":  # whose grants are many; each is a secret of its own
        return
    assert REFUSED in (await scene.attacker.publish(f"{Names().pull_subject(scene.other.grant)}.{asker}", MARK))[0]


async def test_an_answer_goes_nowhere_but_to_guests_whatever_reply_they_name(scene: Scene) -> None:
    """The request is genuine, so that there is an answer: body info, and chunks for a large body."""
    request = msgpack.packb({"n": N, "x": MARK})
    subjects = [
        f"{verb(scene.own.grant)}.{scene.attacker.asker}" for verb in (Names().pull_subject, Names().confirm_subject)
    ]
    async with nothing_changes(scene.plane, asks=True):
        for reply in scene.replies():
            for subject in subjects:
                refused = await scene.attacker.publish(subject, request, reply=reply)
                assert bool(refused) is reply.startswith("$JS.ACK."), reply  # the one that nats-server looks at
        # The plane answers in order of nothing: a question of our own comes back after those before it.
        await scene.attacker.request(subjects[0], request)


@pytest.mark.parametrize(
    "headers",
    [
        {"Nats-Rollup": "all"},
        {"Nats-Rollup": "sub"},
        {"Nats-Trace-Dest": "$KV.bp_keys.forged"},
        {"Nats-Expected-Stream": "KV_bp_keys"},
        {"Nats-TTL": "1s", "Nats-Msg-Id": "x"},
        {"Status": "204"},
    ],
)
async def test_no_header_makes_a_request_more_than_a_request(scene: Scene, headers: dict[str, str]) -> None:
    request = msgpack.packb({"n": N, "x": MARK})
    subject = f"{Names().pull_subject(scene.own.grant)}.{scene.attacker.asker}"
    async with nothing_changes(scene.plane, asks=True):
        await scene.attacker.publish(subject, request, headers=headers)
        await scene.attacker.request(subject, request)


async def test_a_pull_under_way_is_not_changed(scene: Scene, weather: Plane, broker: Running) -> None:
    """Forged deliveries and confirmations fly while the victim reads; it gets its bytes, and its use is its own."""
    raw = os.urandom(9_000_000)
    victim = await weather.publish(raw)
    asker = asker_of(victim.grant)
    received = b""
    async with Plane.guest(broker.address) as guest, guest.pulls.open(victim.subject) as incoming:
        async for piece in incoming.pieces:
            received += piece
            for number in (N, "*", ">"):
                reply = f"bp.dlv.{asker}.{number}"
                own = f"{Names().pull_subject(scene.own.grant)}.{scene.attacker.asker}"
                await scene.attacker.publish(own, msgpack.packb({"n": N}), reply=reply)
                assert await scene.attacker.publish(reply, MARK)
            assert await scene.attacker.publish(f"{Names().confirm_subject(victim.grant)}.{asker}", MARK)
    assert received == raw
    state = await stored(scene.plane)
    assert state[f"KV_{Names().grants_bucket}"]["messages"] >= 1
