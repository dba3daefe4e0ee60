"""The messages of y-websocket as y-protocols writes and reads them, in Node.js."""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from pycrdt import get_state

from broker_plane.bridge.yjs_awareness import ClientState, read_awareness, write_awareness
from broker_plane.bridge.yjs_messages import (
    Message,
    awareness_message,
    read_message,
    step_1_message,
    step_2_message,
    update_message,
)
from broker_plane.sessions.replicas.factory import new_replica
from broker_plane.wire.yjs_updates import read_state, units
from tests.interop.conftest import HERE, answer, npm_installed

pytestmark = pytest.mark.anyio

PACKAGES = ("y-protocols@1.0.7", "yjs@13.6.33", "lib0@0.2.117")
TEXT = "é🌴 text"
STATE = {"user": {"name": "Anna 🌴"}, "cursor": None}


async def test_messages_are_those_of_y_protocols(tmp_path: Path) -> None:
    replica = new_replica("text", "crdt", TEXT)
    change = replica.change_for([1, "🎼"])
    ours = {
        "step1": step_1_message(get_state(replica.pack())),
        "step2": step_2_message(replica.pack()),
        "update": update_message(change),
        "awareness": awareness_message(write_awareness([ClientState(77, 3, STATE)])),
    }
    question = {"ours": {name: b64encode(raw).decode() for name, raw in ours.items()}, "text": TEXT, "state": STATE}
    env = {"NODE_PATH": str(npm_installed("yjs-messages", *PACKAGES))}
    theirs = await answer(["node", HERE / "yjs_messages.cjs"], question, env, tmp_path)
    assert theirs["kinds"] == {"step1": 0, "step2": 1, "update": 2}
    assert theirs["text"] == "é🎼🌴 text"
    assert theirs["states"]["77"] == STATE
    written = {name: read_message(b64decode(raw)) for name, raw in theirs["written"].items()}
    assert {name: kind for name, (kind, _) in written.items()} == {
        "step1": Message.SYNC_STEP_1,
        "step2": Message.SYNC_STEP_2,
        "update": Message.UPDATE,
        "awareness": Message.AWARENESS,
        "query": Message.QUERY_AWARENESS,
    }
    assert read_state(written["step1"][1]) == {theirs["client"]: units(TEXT)}
    for name in ("step2", "update"):
        other = new_replica("text", "crdt", "")
        other.apply(written[name][1])
        assert other.value == TEXT
    assert read_awareness(written["awareness"][1]) == [ClientState(theirs["client"], 1, STATE)]
