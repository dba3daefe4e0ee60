"""Whatever a participant sends is answered, or refused with a typed error that changes nothing."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker_plane.errors import BrokerPlaneError
from broker_plane.sessions.folded import Folded
from broker_plane.sessions.participants import OWNER
from broker_plane.sessions.replicas.port import ArtifactKind, Sync
from broker_plane.sessions.roles import OPERATIONS
from tests.examples import examples
from tests.unit.sessions.rooms import ANNA, BOB, EVA, REVIEWER, Room
from tests.unit.sessions.test_state import PAIRS, VALUES, region_and_edit

_NUMBERS = st.sampled_from([0, 1, 2, 3, 5, 9, 40, 2**31, 2**53 - 1, 2**53, -1, 1.5, True, None, "1"])
_PATHS = st.sampled_from(
    [
        "",
        "/",
        "/0",
        "/1/name",
        "/parts/0",
        "/parts/-",
        "/parts/1/b/c",
        "/-",
        "/~2",
        "/title",
        "/²",
        "/٣",
        "a",
        "/01",
        None,
    ]
)
_REGIONS = st.one_of(
    st.none(),
    st.fixed_dictionaries({"start": _NUMBERS, "end": _NUMBERS}),
    st.fixed_dictionaries({"path": _PATHS}),
    st.sampled_from([[], "x", {}, {"start": 1}]),
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=True) | st.text("ab🌴\ud800", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "id", "d", "op"]), inner, max_size=2)
    ),
    max_leaves=5,
)
_OPS = st.lists(
    st.one_of(
        _NUMBERS, st.text("ab", max_size=3), st.fixed_dictionaries({"d": _NUMBERS | st.text("one tw", max_size=3)})
    ),
    max_size=4,
)
_PATCHES = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]), "path": _PATHS},
        optional={"value": _VALUES, "from": _PATHS},
    ),
    max_size=3,
)
_EDITS = st.one_of(
    _VALUES,
    _OPS,
    _PATCHES,
    st.builds(lambda ops: {"ops": ops}, _OPS),
    st.builds(lambda patch: {"patch": patch}, _PATCHES),
    st.builds(lambda value: {"value": value}, _VALUES),
    st.builds(lambda text: {"text": text}, _VALUES),
    st.builds(lambda diff: {"diff": diff}, st.text("@@ -+1,2\nab", max_size=20)),
)
_IDS = st.sampled_from(["id1", "id2", "id3", "id4", "id5", "none", "", None, 7])
_MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "revision": _NUMBERS,
        "after": _NUMBERS,
        "limit": _NUMBERS,
        "from": _NUMBERS,
        "to": _NUMBERS,
        "type": st.sampled_from(["comment", "answer", "verdict", "human", None]),
        "text": _VALUES,
        "thread": _IDS,
        "anchor": st.builds(lambda region: {"region": region}, _REGIONS),
        "verdict": st.sampled_from(["approve", "x", None]),
        "base": _NUMBERS,
        "region": _REGIONS,
        "edit": _EDITS,
        "message": _VALUES,
        "stale": st.sampled_from(["merge", "report", None]),
        "change": st.one_of(
            _OPS, st.binary(max_size=12), st.binary(max_size=12).map(lambda raw: b64encode(raw).decode())
        ),
        "conflict": _IDS,
        "choice": st.one_of(st.sampled_from(["ours", "theirs"]), st.builds(lambda edit: {"edit": edit}, _EDITS)),
        "seconds": _NUMBERS,
        "lease": _IDS,
        "participant": st.sampled_from(["anna", "bob-abcdef", "x", None]),
        "intent": st.sampled_from(["fix", "write", "x", None]),
        "since": _NUMBERS,
        "proposal": _IDS,
        "at": _VALUES,
        "state": _VALUES,
        "reason": _VALUES,
        "name": _VALUES,
        "request": _IDS,
    },
)


def busy(kind: ArtifactKind, sync: Sync) -> Room:
    """A session with a note, a lease, a proposal and, for patch, a conflict."""
    room = Room(VALUES[kind], kind, sync)
    region, edit = region_and_edit(kind, 1, 1, 2, "first")
    for who, text in ((ANNA, "first"), (BOB, "second")):
        _, edit = region_and_edit(kind, 1, 1, 5, text)
        room.ask(who, "propose", base=1, region=region, edit=edit, stale="merge")
    room.ask(REVIEWER, "note", type="question", text="Why?", anchor={"region": region})
    room.ask(EVA, "lease", region=region)
    room.ask(EVA, "undo", intent="write")
    return room


def own_members(do: str, members: dict[str, Any]) -> dict[str, Any]:
    """Those of the drawn members that the operation has, most of the time."""
    known = {
        "show": "revision",
        "log": "after limit",
        "diff": "from to",
        "present": "at state",
        "note": "type text thread anchor verdict base",
        "propose": "base region edit message stale",
        "update": "base change",
        "decide": "conflict choice",
        "lease": "region seconds",
        "release": "lease",
        "rollback": "to",
        "undo": "participant intent since",
        "accept": "proposal",
        "close": "reason",
    }
    names = {*known.get(do, "").split(), "request"}
    return {name: value for name, value in members.items() if name in names}


@pytest.mark.parametrize(("kind", "sync"), PAIRS)
@settings(deadline=None, max_examples=examples(0.6), suppress_health_check=[HealthCheck.too_slow])
@given(
    do=st.sampled_from([each for each in OPERATIONS if each != "hear"]),
    members=_MEMBERS,
    who=st.sampled_from([ANNA, BOB, REVIEWER, OWNER]),
)
def test_a_request_is_answered_or_refused(kind: ArtifactKind, sync: Sync, do: str, members: Any, who: Any) -> None:
    room = busy(kind, sync)
    before = (room.folded.state, room.value)
    try:
        room.ask(who, do, **own_members(do, members))
    except BrokerPlaneError as error:
        assert str(error)
        assert (room.folded.state, room.value) == before
    replayed = Folded.of(room.log)
    assert (replayed.state, replayed.value) == (room.folded.state, room.value)
