"""Streams on the wire: their records, items and answers."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker_plane.errors import BodyNotFoundError, WireError
from broker_plane.wire.names import body_id
from broker_plane.wire.presigned_errors import pack_error
from broker_plane.wire.streams import (
    StreamInfo,
    StreamItem,
    expiry_of,
    pack_items,
    parse_items,
    parse_stream_info,
)

STREAM = StreamInfo(
    id=body_id(b"s" * 16),
    owner="local",
    kind="bytes",
    media_type="text/plain",
    buffer_size=8,
    end_signal="[DONE]",
    expires=1_800_000_000,
)
ITEMS = [StreamItem(1, b"\x00a"), StreamItem(2, b"", end=True)]


def test_a_stream_is_what_its_metadata_say() -> None:
    metadata = STREAM.to_metadata()
    assert parse_stream_info(STREAM.id, metadata) == STREAM
    assert expiry_of(metadata) == STREAM.expires
    assert all(isinstance(value, str) for value in metadata.values())


@pytest.mark.parametrize("name", list(STREAM.to_metadata()))
def test_metadata_that_lack_a_field_are_malformed(name: str) -> None:
    metadata = {key: value for key, value in STREAM.to_metadata().items() if key != name}
    with pytest.raises(WireError, match="Malformed"):
        parse_stream_info(STREAM.id, metadata)


@pytest.mark.parametrize(
    ("name", "value"),
    [("bp-kind", "text"), ("bp-buffer_size", "10001"), ("bp-buffer_size", "-1"), ("bp-expires", "9" * 30)],
)
def test_metadata_out_of_bounds_are_refused(name: str, value: str) -> None:
    with pytest.raises(WireError):
        parse_stream_info(STREAM.id, STREAM.to_metadata() | {name: value})


def test_items_come_back_from_an_answer() -> None:
    assert parse_items(pack_items(STREAM, ITEMS)) == ("bytes", ITEMS)
    assert parse_items(pack_items(STREAM, [])) == ("bytes", [])


@pytest.mark.parametrize("raw", [b"", b"\xc0", b"\x80", msgpack.packb({"kind": "rows"}), msgpack.packb({"items": []})])
def test_another_answer_is_malformed(raw: bytes) -> None:
    with pytest.raises(WireError):
        parse_items(raw)


def test_an_error_in_an_answer_is_raised_as_itself() -> None:
    with pytest.raises(BodyNotFoundError, match="ended"):
        parse_items(pack_error(BodyNotFoundError("This stream has ended")))


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [("rows", b'{"n":1}', b'{"id":1,"data":{"n":1}}'), ("bytes", b"\x00", b'{"id":1,"data":"AA=="}')],
)
def test_readers_of_text_get_rows_as_json_and_chunks_in_base64(kind: Any, data: bytes, text: bytes) -> None:
    fields = {name: getattr(STREAM, name) for name in StreamInfo.__slots__}
    assert StreamItem(1, data).to_json(StreamInfo(**fields | {"kind": kind})) == text
