"""Client ids belong to connections, and only new states are told."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.bridge.yjs_awareness import (
    MOST_CLIENTS,
    MOST_PARSED,
    MOST_STATE,
    AwarenessTable,
    ClientState,
    presence_state,
    read_awareness,
    write_awareness,
)
from broker_plane.errors import WireError
from broker_plane.wire.yjs_varints import write_bytes

ANNA, BEN = "anna-aaaaaa", "ben-bbbbbb"
states = st.builds(
    ClientState,
    st.integers(0, 2**53 - 1),
    st.integers(0, 2**32),
    st.none()
    | st.dictionaries(st.text(max_size=9), st.integers(1 - 2**53, 2**53 - 1) | st.text(max_size=9), max_size=3),
)


@given(st.lists(states, max_size=MOST_PARSED))
def test_an_update_is_read_as_it_was_written(told: list[ClientState]) -> None:
    assert read_awareness(write_awareness(told)) == told


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with suppress(WireError):
        read_awareness(raw)


def test_a_state_above_the_limit_is_refused() -> None:
    with pytest.raises(WireError, match="1900 bytes"):
        read_awareness(write_awareness([ClientState(1, 1, "x" * MOST_STATE)]))


def test_an_update_with_many_states_is_an_echo_and_not_read() -> None:
    assert read_awareness(write_awareness([ClientState(each, 1, {}) for each in range(MOST_PARSED + 1)])) == []


def test_a_state_survives_its_way_through_presence() -> None:
    state = ClientState(7, 3, {"user": {"name": "Anna"}})
    assert presence_state({"id": ANNA, "state": state.to_presence()}) == state
    assert presence_state({"id": ANNA, "state": {"cursor": 4}}) is None
    assert presence_state({"id": ANNA, "state": {"client": "7", "clock": 3, "awareness": {}}}) is None


def test_a_client_id_belongs_to_the_connection_that_used_it_first() -> None:
    table = AwarenessTable()
    first, second = object(), object()
    told = ClientState(7, 1, {"name": "Anna"})
    assert table.accept(first, ANNA, [told]) == [told]
    assert table.hear(ANNA, told, 0.0) is True
    for holder, participant in ((second, BEN), (second, ANNA)):
        assert table.accept(holder, participant, [ClientState(7, 9, {"name": "Mallory"})]) == []
    assert table.states() == [told]


def test_a_client_id_is_free_again_once_its_connection_has_ended() -> None:
    table = AwarenessTable()
    first, second = object(), object()
    table.accept(first, ANNA, [ClientState(7, 1, {})])
    table.hear(ANNA, ClientState(7, 1, {}), 0.0)
    (left,) = table.leave(first)
    assert left == ClientState(7, 1, None) and table.hear(ANNA, left, 0.0) is True
    assert table.states() == []
    again = ClientState(7, 2, {})
    assert table.accept(second, BEN, [again]) == [again]


def test_what_another_bridge_tells_of_a_bound_id_is_ignored() -> None:
    table = AwarenessTable()
    table.accept(object(), ANNA, [ClientState(7, 1, {})])
    assert table.hear(BEN, ClientState(7, 5, {"name": "Mallory"}), 0.0) is None


def test_only_newer_states_are_told_and_renewals_are_known() -> None:
    table, holder = AwarenessTable(), object()
    table.accept(holder, ANNA, [ClientState(7, 2, {})])
    assert table.hear(ANNA, ClientState(7, 2, {}), 0.0) is True
    assert table.accept(holder, ANNA, [ClientState(7, 2, {"late": 1}), ClientState(7, 1, {})]) == []
    assert table.hear(ANNA, ClientState(7, 3, {}), 0.0) is False
    assert table.hear(ANNA, ClientState(7, 3, None), 0.0) is True


def test_a_connection_has_few_client_ids() -> None:
    table, holder = AwarenessTable(), object()
    told = [ClientState(each, 1, {}) for each in range(MOST_CLIENTS + 3)]
    assert len(table.accept(holder, ANNA, told)) == MOST_CLIENTS


def test_states_of_other_bridges_are_forgotten_unless_renewed() -> None:
    table = AwarenessTable()
    table.hear(ANNA, ClientState(7, 1, {}), 100.0)
    table.hear(BEN, ClientState(8, 1, {}), 100.0)
    table.hear(BEN, ClientState(8, 2, {}), 120.0)
    assert table.forget(before=110.0) == [ClientState(7, 1, None)]
    assert table.forget(participant=BEN) == [ClientState(8, 2, None)]
    assert table.states() == []


@pytest.mark.parametrize("state", [b"[" * 900 + b"]" * 900, b"123456789012345678901234567890", b'"\\ud800"', b"NaN"])
def test_a_state_that_other_bridges_cannot_encode_is_refused(state: bytes) -> None:
    with pytest.raises(WireError):
        read_awareness(b"\x01\x07\x01" + write_bytes(state))
