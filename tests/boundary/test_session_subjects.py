"""What nats-server itself lets a participant publish and hear; no part of the plane is asked here."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker_plane import Plane
from broker_plane.broker.messages import Message
from broker_plane.errors import WireError
from broker_plane.sessions.entries import unpack_entries
from broker_plane.sessions.roles import Access, Role, accesses
from broker_plane.testing.processes import until
from broker_plane.wire.names import BodyId, asker_of
from broker_plane.wire.plane_names import Names
from tests.boundary.client import Client
from tests.boundary.conftest import Admit, Join
from tests.boundary.sessions import entry, log_of, mint, new_session
from tests.boundary.test_roles import command
from tests.boundary.world import MARK, nothing_changes
from tests.deploy.running import CONF, Running

pytestmark = pytest.mark.anyio
REFUSED = "permissions violation"
GRANTED: tuple[Role, ...] = ("observer", "reviewer", "editor")


@dataclass
class Room:
    """One session with a participant of each role; another session, and what is heard of both in PLANE."""

    session: BodyId
    other: BodyId
    grants: dict[Role, str]
    participants: dict[Role, Client]
    plane: Client

    def say(self, role: Role, access: str) -> str:
        """The subject on which the participant with `role` requests what needs `access`."""
        return f"{Names().say_subject(access, self.grants[role])}.{asker_of(self.grants[role])}"


@pytest.fixture
async def room(plane: Plane, admit: Admit, join: Join) -> AsyncIterator[Room]:
    session, other = new_session(), new_session()
    log = log_of(plane)
    for each in (session, other):
        await log.create(each, "local", [entry(1)], 600)
    grants: dict[Role, str] = {role: await mint(plane, session, role) for role in GRANTED}
    participants = {role: await admit(grant) for role, grant in grants.items()}
    yield Room(session, other, grants, participants, await join("plane"))


@pytest.mark.parametrize("role", GRANTED)
async def test_a_participant_publishes_on_the_accesses_of_its_role_and_on_no_other(room: Room, role: Role) -> None:
    client = room.participants[role]
    for access in (*Access, "*", ">", "any"):
        refused = await client.publish(room.say(role, access), b'{"do": "nothing"}')
        assert bool(refused) is (access not in accesses(role)), access


@pytest.mark.parametrize("role", GRANTED)
async def test_no_participant_writes_what_only_the_plane_writes(room: Room, role: Role) -> None:
    client, names = room.participants[role], Names()
    others = [other for other in GRANTED if other != role]
    async with nothing_changes(room.plane):
        for session in (room.session, room.other):
            for subject in (
                *(names.session_log_subject(session), names.session_snapshot_subject(session)),
                *(names.session_lease_subject(session), names.said_subject(session), names.here_subject(session)),
            ):
                assert REFUSED in (await client.publish(subject, MARK))[0], subject
        for subject in (
            *(f"$JS.API.STREAM.{verb}.BP_SESSIONS" for verb in ("INFO", "PURGE", "DELETE", "MSG.GET", "MSG.DELETE")),
            *("$JS.API.DIRECT.GET.BP_SESSIONS", f"$JS.API.DIRECT.GET.BP_SESSIONS.bp.session.{room.session}.log"),
            *("$JS.API.CONSUMER.CREATE.BP_SESSIONS", "$JS.API.CONSUMER.CREATE.BP_SESSIONS.x.>", "$JS.API.>"),
            *(f"{verb}.{room.grants[role]}.{client.asker}" for verb in ("bp.pull", "bp.confirm")),
            *("bp.say.>", "bp.>", "$SYS.REQ.SERVER.PING.CONNZ", f"bp.dlv.{client.asker}.n"),
        ):
            assert REFUSED in (await client.publish(subject, MARK))[0], subject
        for other in others:  # a stolen grant: under its own name, and under that of the thief
            for access in Access:
                assert REFUSED in (await client.publish(room.say(other, access), MARK))[0]
                stolen = f"{names.say_subject(access, room.grants[other])}.{client.asker}"
                assert REFUSED in (await client.publish(stolen, MARK))[0]


@pytest.mark.parametrize("role", GRANTED)
async def test_a_participant_hears_its_session_and_no_other(room: Room, plane: Plane, role: Role) -> None:
    client, names, log = room.participants[role], Names(), log_of(plane)
    for subject in (
        *(names.said_subject(room.other), names.here_subject(room.other), "bp.said.*", "bp.here.*", "bp.>", ">"),
        *(names.session_log_subject(room.session), "bp.session.>", "bp.say.>", room.say("editor", "edit")),
        *(f"bp.dlv.{client.asker}.>", "_INBOX.>", "$JS.>"),
    ):
        assert REFUSED in (await client.subscribe(subject))[0], subject
    assert await client.subscribe(names.said_subject(room.session)) == []
    assert await client.subscribe(names.here_subject(room.session)) == []
    await log.append(room.other, [entry(2)], (await _last(plane, room.other)))
    await log.append(room.session, [entry(2, "new")], (await _last(plane, room.session)))
    await log.present(room.session, b'{"presence": []}')
    await until(lambda: len(client.received) == 2, "the entry and the presence")
    said, here = sorted(client.received, key=lambda message: str(message.subject), reverse=True)
    assert unpack_entries(said.data)[0].content == {"text": "new"}
    assert here.data == b'{"presence": []}'


async def test_a_user_of_the_configuration_only_reads_and_hears_no_session(room: Room, join: Join) -> None:
    stats = await join("stats")
    grant = room.grants["editor"]
    assert await stats.publish(f"{Names().say_subject('read', grant)}.stats", b"{}") == []
    for access in ("note", "edit", "own"):
        assert await stats.publish(f"{Names().say_subject(access, grant)}.stats", b"{}")
    assert await stats.publish(f"{Names().say_subject('read', grant)}.{asker_of(grant)}", b"{}")
    for subject in (Names().said_subject(room.session), Names().here_subject(room.session), "bp.said.*", "bp.here.*"):
        assert REFUSED in (await stats.subscribe(subject))[0]


async def test_an_answer_that_a_stranger_has_sent_to_what_others_hear_is_no_entry(
    plane: Plane, room: Room, admit: Admit
) -> None:
    """nats-server does not check the reply subject of a request, so an answer may arrive there. It is JSON."""
    stranger = await admit(await mint(plane, room.other, "observer"))
    client, said = room.participants["observer"], Names().said_subject(room.session)
    assert await client.subscribe(said) == []
    subject = f"{Names().say_subject('read', await _grant_of(stranger))}.{stranger.asker}"
    answering = _answering(room.plane)
    await room.plane.nats.subscribe("bp.say.*.*.*", cb=answering)
    await room.plane.nats.flush()
    assert await stranger.publish(subject, b'{"do": "show"}', reply=said) == []
    await until(lambda: client.received, "the answer")
    with pytest.raises(WireError):
        unpack_entries(client.received[0].data)


async def test_doctor_says_what_a_configuration_of_an_earlier_version_lacks(
    variables: dict[str, str], tmp_path: Path
) -> None:
    conf = tmp_path / "nats.conf"
    shared = re.compile(r".*(?:service|stream): .*bp\.(?:say|said|here)\..*\n")
    conf.write_text(shared.sub("", CONF.read_text()))
    assert len(shared.findall(CONF.read_text())) == 6
    older = Running(conf, tmp_path, {**os.environ, **variables})
    try:
        own = {"BROKER_PLANE_NATS_URL": older.url(), "BROKER_PLANE_DATA_DIR": str(tmp_path / "plane")}
        said = await command(variables | own, "doctor")
    finally:
        older.stop()
    assert said["guests"] == "a grant can connect to NATS and pull"
    assert said["sessions"].startswith("over HTTP only: ")
    assert "bp.say.*.*.*, bp.said.* and bp.here.*" in said["sessions"]


async def _grant_of(client: Client) -> str:
    return str(client._options["token"])


def _answering(plane: Client) -> Callable[[Message], Awaitable[None]]:
    async def answer(message: Message) -> None:
        await plane.nats.publish(message.reply, b'{"ok": {"session": "x"}}')

    return answer


async def _last(plane: Plane, session: BodyId) -> int:
    return [group.sequence async for group in log_of(plane).read(session)][-1]
