"""Updates of Yjs are read in full, and whatever is not one is refused before a document sees it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text

from broker_plane.errors import WireError
from broker_plane.wire.yjs_updates import Deletion, Struct, read_state, read_update, units
from broker_plane.wire.yjs_varints import LARGEST, UNDEFINED, Reader, write_bytes, write_uint

CLIENT = 5


def document() -> Doc[Any]:
    doc: Doc[Any] = Doc(client_id=CLIENT)
    text = doc.get("artifact", type=Text)
    text += "a🌴b"
    del text[1:5]
    rows = doc.get("rows", type=Array)
    rows.append(Map({"n": Text("é"), "list": Array([1])}))
    rows.append({"x": [1.5, None, True, "s", 2**60, b"raw", -70]})
    text.format(0, 1, {"bold": True})
    return doc


def test_the_parts_of_an_update_are_read() -> None:
    update = read_update(document().get_update())
    assert update.structs[0] == Struct(CLIENT, 0, 1, "string", "a", root="artifact")
    assert update.structs[1] == Struct(CLIENT, 1, 2, "deleted", origin=(CLIENT, 0))
    assert update.structs[2] == Struct(CLIENT, 3, 1, "string", "b", origin=(CLIENT, 2))
    kinds = [each.kind for each in update.structs]
    assert kinds == ["string", "deleted", "string", "type", "type", "string", "type", "any", "any", "format", "format"]
    values = [each.content for each in update.structs if each.kind == "any"]
    assert [{"x": [1.5, None, True, "s", 2**60, b"raw", -70]}] in values
    assert update.deletions == (Deletion(CLIENT, 1, 2),)
    assert read_state(document().get_state()) == {CLIENT: sum(each.length for each in update.structs)}


@given(st.data())
def test_every_shorter_or_longer_update_is_refused(data: st.DataObject) -> None:
    raw = document().get_update()
    with pytest.raises(WireError):
        read_update(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(WireError):
        read_update(raw + b"\0")


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for read in (read_update, read_state):
        try:
            read(raw)
        except WireError as error:
            assert "Yjs" in str(error)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff\xff\xff\x07",  # more clients than bytes
        b"\x01\xff\xff\xff\xff\x07\x05\x00",  # more structs than bytes
        b"\x01\x01\x05\x00\x00\x00\x00",  # a struct without a length
        b"\x01\x01\x05\x00\x00\xff\xff\xff\xff\x0f\x00",  # a clock beyond 31 bits
        b"\x01\x01\x05\xff\xff\xff\xff\x07\x00\x01\x00",
        b"\x01\x01\x05\x00\x04\x01\x01a\x00\x00",  # an empty text
        b"\x01\x01\x05\x00\x04\x01\x01a\x01\xff\x00",  # no UTF-8
        b"\x01\x01\x05\x00\x04\x02\x01a\x01b\x00",  # neither a name nor an id
        b"\x01\x01\x05\x00\x0f\x01\x01a\x01b\x00",  # content of an unknown type
        b"\x01\x01\x05\x00\x07\x01\x01a\x09\x00",  # an unknown shared type
        b"\x01\x01\x05\x00\x05\x01\x01a\x01{\x00",  # no JSON
        b"\x01\x01\x05\x00\x08\x01\x01a\x01" + b"u\x01" * 100 + b"~\x00",  # nested too deeply
        b"\x80" * 12,  # a number of too many bytes
        b"\x00\x01\x05\x01\x01\xff\xff\xff\xff\x07",  # a deletion beyond 31 bits
    ],
)
def test_a_hostile_update_is_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        read_update(raw)


@given(st.integers(0, LARGEST))
def test_integers_are_read_as_they_are_written(number: int) -> None:
    reader = Reader(write_uint(number))
    assert reader.uint() == number
    reader.end()


def test_values_of_javascript() -> None:
    assert Reader(b"\x7f").any() is UNDEFINED
    assert Reader(b"\x7d\x41").any() == -1
    assert Reader(b"\x7c\x3f\xc0\x00\x00").any() == 1.5
    assert Reader(write_bytes("é🌴".encode())).text() == "é🌴"
    with pytest.raises(WireError, match="above 255"):
        Reader(write_uint(300)).uint(255)


@given(st.text(max_size=20))
def test_lengths_are_in_units_of_utf_16(text: str) -> None:
    if not any("\ud800" <= each <= "\udfff" for each in text):
        assert units(text) == len(text.encode("utf-16-le")) // 2
