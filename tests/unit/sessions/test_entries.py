"""Entries of the log: as bytes, and as JSON."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import WireError
from broker_plane.sessions.entries import ENTRY_FORMAT, Entry, pack_entries, unpack_entries

ENTRY = Entry(
    revision=3,
    at=1_700_000_000.25,
    participant="anna-abcdef",
    role="editor",
    intent="write",
    base=2,
    kind="operation",
    content={"change": [1, "x", {"d": "y"}], "message": "a 🌴"},
)

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.builds(lambda value, n: replace(ENTRY, revision=n, content={"value": value}), _JSON, st.integers(1)))
)
def test_a_group_comes_back(entries: list[Entry]) -> None:
    entries = [replace(each, revision=min(each.revision, 2**53)) for each in entries]
    assert unpack_entries(pack_entries(entries)) == tuple(entries)


def test_a_change_of_crdt_is_bytes_in_the_log_and_base64_in_json() -> None:
    entry = replace(ENTRY, content=MappingProxyType({"change": b"\x01\x02"}))
    (back,) = unpack_entries(pack_entries([entry]))
    assert (back.change, back.to_json()["content"]) == (b"\x01\x02", {"change": "AQI="})


def test_only_some_kinds_change_the_artifact() -> None:
    assert ENTRY.change == [1, "x", {"d": "y"}]
    assert replace(ENTRY, kind="proposed").change is None


def test_a_later_format_is_refused_by_name() -> None:
    raw = msgspec.msgpack.encode([ENTRY_FORMAT + 1, {"anything": 1}])
    with pytest.raises(WireError, match=f"format {ENTRY_FORMAT + 1}"):
        unpack_entries(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        b"\x90",
        msgspec.msgpack.encode({}),
        msgspec.msgpack.encode([ENTRY_FORMAT, {}]),
        msgspec.msgpack.encode([ENTRY_FORMAT, 7]),
        pack_entries([replace(ENTRY, revision=0)]),
        pack_entries([replace(ENTRY, kind="other")]),  # type: ignore[arg-type]
        pack_entries([ENTRY])[:-1],
        pack_entries([ENTRY]) + b"\x00",
        b"\x91" * 100_000,
    ],
)
def test_other_bytes_are_not_a_message_of_the_log(raw: bytes) -> None:
    with pytest.raises(WireError):
        unpack_entries(raw)
