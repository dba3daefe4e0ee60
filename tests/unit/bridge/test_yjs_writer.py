"""What a client sends is read before yrs reads it: a hostile update must not end the process of a bridge."""

from __future__ import annotations

from typing import Any, cast

import pytest
from pycrdt import Doc, Text

from broker_plane.bridge.session_outlet import Outlet
from broker_plane.bridge.yjs_broadcast import YjsBroadcast
from broker_plane.bridge.yjs_writer import YjsWriter
from broker_plane.errors import BrokerPlaneError, ChangeError
from broker_plane.plane.sessions.live import LiveSession
from broker_plane.sessions.participants import Participant
from broker_plane.testing.processes import until

pytestmark = pytest.mark.anyio

_VALUE_OF_CLIENT_5 = b"\x01\x01\x05\x00\x08\x01\x08artifact\x01"


class _Session:
    """Notes what is submitted; as large as the writer needs it."""

    def __init__(self) -> None:
        self.submitted: list[Any] = []

    async def submit(self, request: Any, who: Participant) -> None:
        self.submitted.append(request)


def _writer(live: _Session) -> YjsWriter:
    parts = cast("LiveSession", live), cast("YjsBroadcast", None)
    writer = YjsWriter(*parts, Participant("eve-1", "eve", "editor"), cast("Outlet", None))
    writer._synchronized = True
    return writer


def _insert() -> bytes:
    doc: Doc[Text] = Doc()
    doc["artifact"] = text = Text()
    text += "x"
    return doc.get_update()


async def test_nested_updates_that_wait_are_refused_before_they_are_merged() -> None:
    live, refused = _Session(), list[BrokerPlaneError]()
    writer = _writer(live)
    for each in (_insert(), _VALUE_OF_CLIENT_5 + b"\x75\x01" * 30_000 + b"\x7e\x00"):
        await writer.add(each, whole=False, refuse=refused.append)
    await until(lambda: bool(refused), "a refusal")
    assert isinstance(refused[0], ChangeError) and "nested deeper" in str(refused[0])
    assert not live.submitted
