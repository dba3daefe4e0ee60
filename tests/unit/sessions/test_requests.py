"""Requests: what is accepted, and that every error names the member."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import BrokerPlaneError, ForbiddenError, TooLargeError, WireError
from broker_plane.sessions.request_parser import parse_request
from broker_plane.sessions.requests import (
    DecideRequest,
    JoinRequest,
    NoteRequest,
    ProposeRequest,
    UndoRequest,
    UpdateRequest,
)
from broker_plane.sessions.roles import OPERATIONS, ROLES, may
from tests.unit.sessions.rooms import Room, participant

MINIMAL: dict[str, dict[str, Any]] = {
    "show": {},
    "log": {},
    "diff": {"from": 1},
    "join": {},
    "leave": {},
    "present": {},
    "note": {"type": "comment", "text": "x"},
    "propose": {"base": 1, "edit": "x"},
    "update": {"base": 1, "change": ["x"]},
    "decide": {"conflict": "c", "choice": "ours"},
    "lease": {},
    "release": {"lease": "l"},
    "rollback": {"to": 1},
    "undo": {"intent": "write"},
    "accept": {"proposal": "p"},
    "confirm": {},
    "close": {},
}


def test_every_operation_of_the_role_table_has_a_request() -> None:
    """`hear` has none: it is a subscription."""
    assert set(MINIMAL) == set(OPERATIONS) - {"hear"}
    for do, members in MINIMAL.items():
        assert parse_request({"do": do, "id": 7, **members}).do == do


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("do", MINIMAL)
def test_no_role_does_what_the_table_forbids(role: Any, do: str) -> None:
    room = Room("ab", sync="ot")
    who = participant("anna", role)
    if may(role, do):
        try:
            room.decide(who, do, **MINIMAL[do])
        except BrokerPlaneError as error:
            assert not isinstance(error, ForbiddenError)
    else:
        with pytest.raises(ForbiddenError, match=role):
            room.decide(who, do, **MINIMAL[do])


def test_members_that_every_request_may_have() -> None:
    request = parse_request({"do": "join", "name": "Anna", "type": "human", "intent": "fix", "value": False})
    assert request == JoinRequest(name="anna", type="human", intent="fix", value=False)


def test_a_note_has_an_anchor_and_a_verdict() -> None:
    given = {"do": "note", "type": "verdict", "verdict": "approve", "text": "fine", "anchor": {"region": None}}
    request = parse_request(given)
    assert isinstance(request, NoteRequest)
    assert (request.note_type, request.verdict, request.anchored, request.region) == ("verdict", "approve", True, None)


def test_an_edit_is_kept_as_it_came() -> None:
    request = parse_request({"do": "propose", "base": 1, "edit": {"ops": [1]}, "region": {"path": "/a~1b/0"}})
    assert request == ProposeRequest(base=1, edit={"ops": [1]}, region={"path": "/a~1b/0"})


@pytest.mark.parametrize("change", ["AQI=", b"\x01\x02"])
def test_an_update_is_base64_or_bytes(change: str | bytes) -> None:
    assert parse_request({"do": "update", "change": change}) == UpdateRequest(change=b"\x01\x02")


def test_a_decision_may_be_an_edit_of_its_own() -> None:
    request = parse_request({"do": "decide", "conflict": "c", "choice": {"edit": "both"}})
    assert request == DecideRequest(conflict="c", choice="other", edit="both")


def test_the_intent_of_undo_is_whose_revisions_it_undoes() -> None:
    assert parse_request({"do": "undo", "intent": "fix"}) == UndoRequest(of_intent="fix")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([], "JSON object"),
        ({1: 2}, "JSON object"),
        ({}, "do"),
        ({"do": "hear"}, "do"),
        ({"do": ["show"]}, "do"),
        ({"do": "show", "revison": 1}, "revison"),
        ({"do": "show", "revision": 0}, "revision"),
        ({"do": "show", "revision": True}, "revision"),
        ({"do": "log", "limit": 501}, "limit"),
        ({"do": "log", "after": -1}, "after"),
        ({"do": "log", "after": 2**60}, "after"),
        ({"do": "diff"}, "from"),
        ({"do": "diff", "from": 1, "to": "2"}, "to"),
        ({"do": "join", "name": "a b"}, "name"),
        ({"do": "join", "name": "x" * 33}, "name"),
        ({"do": "join", "name": "plane"}, "name"),
        ({"do": "join", "name": 3}, "name"),
        ({"do": "join", "type": "robot"}, "type"),
        ({"do": "join", "value": 0}, "value"),
        ({"do": "join", "intent": 3}, "intent"),
        ({"do": "present", "at": "here"}, "at"),
        ({"do": "present", "state": {"a": float("inf")}}, "state"),
        ({"do": "note", "text": "x"}, "type"),
        ({"do": "note", "type": "rumour", "text": "x"}, "type"),
        ({"do": "note", "type": "comment"}, "text"),
        ({"do": "note", "type": "comment", "text": ""}, "text"),
        ({"do": "note", "type": "comment", "text": "\ud800"}, "text"),
        ({"do": "note", "type": "comment", "text": "x", "verdict": "approve"}, "verdict"),
        ({"do": "note", "type": "verdict", "text": "x"}, "verdict"),
        ({"do": "note", "type": "answer", "text": "x"}, "thread"),
        ({"do": "note", "type": "comment", "text": "x", "anchor": {"start": 1}}, "start"),
        ({"do": "note", "type": "comment", "text": "x", "anchor": {"region": {"start": 1}}}, "end"),
        ({"do": "propose", "edit": "x"}, "base"),
        ({"do": "propose", "base": 1}, "edit"),
        ({"do": "propose", "base": 1, "edit": "x", "region": {"start": 2, "end": 1}}, "end"),
        ({"do": "propose", "base": 1, "edit": "x", "region": {"path": "a"}}, "path"),
        ({"do": "propose", "base": 1, "edit": "x", "region": {"path": "/~2"}}, "path"),
        ({"do": "propose", "base": 1, "edit": "x", "region": {"path": "/a", "start": 1}}, "start"),
        ({"do": "propose", "base": 1, "edit": {"value": 2**53}}, "edit"),
        ({"do": "propose", "base": 1, "edit": {"value": float("nan")}}, "edit"),
        ({"do": "propose", "base": 1, "edit": {"value": {1: 2}}}, "edit"),
        ({"do": "propose", "base": 1, "edit": {"value": ["\ud800"]}}, "edit"),
        ({"do": "propose", "base": 1, "edit": "x", "stale": "ignore"}, "stale"),
        ({"do": "update"}, "change"),
        ({"do": "update", "change": "A"}, "change"),
        ({"do": "update", "change": {}}, "change"),
        ({"do": "decide", "conflict": "c", "choice": "mine"}, "choice"),
        ({"do": "decide", "conflict": "c", "choice": {"edit": 1, "more": 2}}, "choice"),
        ({"do": "decide", "choice": "ours"}, "conflict"),
        ({"do": "lease", "seconds": 301}, "seconds"),
        ({"do": "lease", "seconds": 0}, "seconds"),
        ({"do": "release"}, "lease"),
        ({"do": "rollback"}, "to"),
        ({"do": "undo"}, "participant"),
        ({"do": "undo", "participant": "a", "intent": "b"}, "participant"),
        ({"do": "accept"}, "proposal"),
        ({"do": "close", "reason": 5}, "reason"),
    ],
)
def test_an_invalid_member_is_named(given: Any, named: str) -> None:
    with pytest.raises(WireError, match=named):
        parse_request(given)


@pytest.mark.parametrize(
    "given",
    [
        {"do": "note", "type": "comment", "text": "é" * (4 << 10) + "x"},
        {"do": "propose", "base": 1, "edit": "x", "message": "x" * (8 << 10) + "x"},
        {"do": "present", "state": {"a": "x" * (2 << 10)}},
        {"do": "decide", "conflict": "c" * 65, "choice": "ours"},
    ],
)
def test_what_is_too_long_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(TooLargeError):
        parse_request(given)


def test_a_deeply_nested_edit_is_refused() -> None:
    edit: Any = 1
    for _ in range(300):
        edit = [edit]
    with pytest.raises(WireError, match="nested"):
        parse_request({"do": "propose", "base": 1, "edit": edit})


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(list(MINIMAL)), st.sampled_from(["base", "region", "edit", "anchor", "text", "at", "choice"]), _ANY
)
def test_whatever_comes_is_read_or_refused(do: str, member: str, value: Any) -> None:
    with suppress(WireError, TooLargeError):
        parse_request({"do": do, **MINIMAL[do], member: value})


def test_an_error_names_the_member_in_one_sentence() -> None:
    with pytest.raises(WireError, match="`type` of a request to note must be one of constraint, "):
        parse_request({"do": "note", "type": "remark", "text": "x"})
