"""A live document: what others change arrives, what is changed here is sent once, and positions are code points."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import pytest
from pycrdt import Doc, Text

from broker_plane.errors import BrokerUnavailableError, ChangeError, ForbiddenError, NotValidError, WireError
from broker_plane.runtime.joined_session import joined
from broker_plane.runtime.session_document import SessionDocument, byte_offset, code_point
from broker_plane.runtime.session_requests import SessionIdentity
from broker_plane.sessions.replicas.factory import new_replica
from broker_plane.testing.processes import until
from broker_plane.wire.yjs_updates import read_state
from tests.unit.runtime.channels import MemoryChannel, entry

pytestmark = pytest.mark.anyio
PALM = "\N{PALM TREE}"


class CrdtChannel(MemoryChannel):
    """As a session of crdt: an update is an entry of its own, which its author hears as well."""

    def __init__(self) -> None:
        super().__init__("crdt")
        self.doc: Doc[Any] = Doc()
        self.text = self.doc.get("artifact", type=Text)
        self.doc.apply_update(new_replica("text", "crdt", "héllo").pack())
        self.log[0] = entry(1, "created", value="héllo")
        self.errors: list[Exception] = []

    def change(self, at: int, text: str) -> None:
        """Somebody else inserts a text at an offset in bytes."""
        before = self.doc.get_state()
        self.text.insert(at, text)
        self.say(change=self.doc.get_update(before))

    async def request(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        if fields["do"] != "update":
            return await super().request(fields)
        if self.errors:
            raise self.errors.pop(0)
        self.requests.append(fields)
        change = b64decode(fields["change"])
        self.doc.apply_update(change)
        return {"revision": self.say(change=change).revision}


async def test_both_sides_converge_and_nothing_echoes() -> None:
    channel = CrdtChannel()
    async with asyncio.timeout(20), joined(channel, SessionIdentity("anna")) as session:
        document = session.document()
        await document.synchronized()
        assert document.value == "héllo"
        document.splice(5, 5, f" {PALM}")
        channel.change(0, f"{PALM}: ")
        await document.synchronized()
        await until(lambda: document.value == str(channel.text), "the same text")
        assert document.value == f"{PALM}: héllo {PALM}"
        assert read_state(document.get_state()) == read_state(channel.doc.get_state())
        assert len(channel.asked("update")) == 1
        assert session.document() is document


async def test_several_local_changes_are_one_update_while_another_is_under_way() -> None:
    channel = CrdtChannel()
    async with asyncio.timeout(20), joined(channel, SessionIdentity("anna")) as session:
        document = session.document()
        for number in range(50):
            document.splice(0, 0, str(number % 10))
        await document.synchronized()
        assert len(document.value) == 55 == len(str(channel.text))
        assert len(channel.asked("update")) < 5


async def test_a_change_is_sent_again_while_the_session_is_unavailable() -> None:
    channel = CrdtChannel()
    channel.errors = [BrokerUnavailableError("away"), BrokerUnavailableError("away")]
    async with asyncio.timeout(20), joined(channel, SessionIdentity("anna")) as session:
        document = session.document()
        await document.synchronized()
        document.splice(0, 5, "bye")
        await document.synchronized()
        assert str(channel.text) == "bye"


async def test_a_remote_change_waits_for_the_end_of_a_local_transaction() -> None:
    channel = CrdtChannel()
    async with asyncio.timeout(20), joined(channel, SessionIdentity("anna")) as session:
        document = session.document()
        await document.synchronized()
        async with document.new_transaction():
            document.artifact.insert(0, "mine ")
            channel.change(0, "theirs ")
            await until(lambda: session.revision > 1, "the entry")
            assert "theirs" not in document.value
        await document.synchronized()
        await until(lambda: "theirs" in document.value, "the change of another one")
        assert document.value == str(channel.text)


async def test_a_refused_change_is_raised() -> None:
    channel = CrdtChannel()
    channel.errors = [ForbiddenError("no")]
    async with asyncio.timeout(20), joined(channel, SessionIdentity("anna")) as session:
        document = session.document()
        await document.synchronized()
        document.splice(0, 0, "x")
        with pytest.raises(ForbiddenError):
            await document.synchronized()
        again = session.document()
        await again.synchronized()
        assert again is not document and (document.value, again.value) == ("xhéllo", "héllo")


async def test_a_change_that_a_validator_refused_is_raised_once() -> None:
    channel = CrdtChannel()
    channel.errors = [NotValidError("too short")]
    async with asyncio.timeout(20), joined(channel, SessionIdentity("anna")) as session:
        document = session.document()
        document.splice(0, 0, "x")
        with pytest.raises(NotValidError):
            await document.synchronized()
        document.splice(0, 0, "y")
        await document.synchronized()
        assert session.document() is document


async def test_an_observer_follows_and_cannot_change() -> None:
    channel = CrdtChannel()
    channel.role = "observer"
    async with asyncio.timeout(20), joined(channel, SessionIdentity("anna")) as session:
        document = session.document()
        channel.change(0, "a")
        await until(lambda: document.value == "ahéllo", "the change of another one")
        document.splice(0, 0, "x")
        with pytest.raises(WireError, match="may not edit"):
            await document.synchronized()
        assert not channel.asked("update")


async def test_an_update_that_does_not_decode_is_a_typed_error() -> None:
    document = SessionDocument("text", None)
    with pytest.raises(ChangeError):
        await document.take(entry(2, change=b"\xff\x00nonsense"))


async def test_a_region_outside_of_the_text_is_refused() -> None:
    document = SessionDocument("text", None)
    with pytest.raises(WireError, match="0 code points"):
        document.splice(0, 1, "")
    with pytest.raises(WireError, match="Only a text"):
        SessionDocument("json", None).splice(0, 0, "")


@pytest.mark.parametrize("position", range(6))
def test_positions_are_code_points_here_and_bytes_in_pycrdt(position: int) -> None:
    text = f"a{PALM}é\u20acz"
    assert code_point(text, byte_offset(text, position)) == position


def test_an_offset_within_a_character_is_no_position() -> None:
    with pytest.raises(WireError):
        code_point(PALM, 2)
