"""Numbers and times in what bridges read and others wrote: notices, live streams, uploads, stored messages' headers."""

from __future__ import annotations

from time import time
from typing import Any

import msgpack
import orjson
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from broker_plane.broker.direct import status
from broker_plane.errors import BrokerPlaneError, EncodingError, WireError
from broker_plane.storage.meta import chunked_of, read_meta
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.feeds import Notice, parse_notice
from broker_plane.wire.names import body_id, encode_id
from broker_plane.wire.streams import expiry_of, parse_stream_info
from broker_plane.wire.upload import UploadRecord, unpack_record

NUMBERS: list[Any] = [-1, 2**64 - 1, 1e300, float("inf"), "1", [], {}, True]
BODY = BodyInfo(
    id=body_id(bytes(16)),
    owner="local",
    kind="bytes",
    size=10,
    digest="0" * 64,
    media_type="text/plain",
    created=1.0,
    expires=2,
    chunks=1,
    chunk_bytes=10,
)


def stored(**fields: Any) -> bytes:
    """A meta message that says `fields`."""
    packed = msgpack.packb(BODY.to_wire() | fields)
    return orjson.dumps({"nuid": BODY.id, "metadata": {"broker-plane": encode_id(packed)}})


@pytest.mark.parametrize(
    "fields",
    [
        {"created": 3.0},
        {"created": float("nan")},
        {"size": 11},
        {"size": 0},
        {"chunks": 2},
        {"chunks": 0},
        {"digest": ""},
        {"runs": [(1, 2)]},
        {"size": 4000, "chunks": 2, "chunk_bytes": 2000, "runs": [(5, 1), (5, 1)]},
        {"size": 4000, "chunks": 2, "chunk_bytes": 2000, "runs": [(5, 1), (2, 1)]},
        {"size": 4000, "chunks": 2, "chunk_bytes": 2000},
        {"size": 40, "chunks": 40, "chunk_bytes": 1, "runs": [(1, 40)]},
        {"rows": 1},
        {"columns": ["a"]},
        {"kind": "rows"},
        {"kind": "rows", "rows": 1, "size": 100, "chunk_bytes": 100, "table": {"offset": 8, "size": 10, "digest": ""}},
        {"kind": "rows", "rows": 1, "size": 26, "chunk_bytes": 26, "table": {"offset": 8, "size": 10, "digest": ""}}
        | {"columns": ["a", "a"]},
        {"name": "n" * 5_000},
        {"media_type": "t" * 500},
    ],
)
def test_a_meta_that_contradicts_itself_is_named(fields: dict[str, Any]) -> None:
    assert read_meta(stored(), "local") == BODY
    with pytest.raises(EncodingError):
        read_meta(stored(**fields), "local")


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"metadata": []}', b"[" * 100_000, b"\xff", b'{"nuid": 1}'])
def test_an_object_of_another_program_is_no_body_and_stops_no_sweep(raw: bytes) -> None:
    assert chunked_of(raw) is None
    with pytest.raises(BrokerPlaneError):
        read_meta(raw, "local")


@pytest.mark.parametrize("name", ["version", "at", "total"])
@pytest.mark.parametrize("value", NUMBERS)
def test_a_notice_with_a_number_that_cannot_be_is_none(name: str, value: Any) -> None:
    notice = Notice(feed="f", version=1, at=time(), body=BODY)
    assert parse_notice(notice.pack(), 7).sequence == 7
    fields = orjson.loads(notice.pack()) | {name: None if value == float("inf") else value}
    with pytest.raises(WireError):
        parse_notice(orjson.dumps(fields), 7)


def test_a_notice_of_a_body_that_contradicts_itself_is_none() -> None:
    notice = orjson.loads(Notice(feed="f", version=1, at=time(), body=BODY).pack())
    for fields in ({"size": 11}, {"created": 1e300}, {"expires": 2**62}, {"runs": [[1, 2**40]]}, {"rows": 5}):
        with pytest.raises(WireError):
            parse_notice(orjson.dumps(notice | {"body": notice["body"] | fields}), 7)


@pytest.mark.parametrize("name", ["bp-buffer_size", "bp-expires"])
@pytest.mark.parametrize("value", ["-1", "9" * 5_000, "1e300", "nan", "²", "", "99999999999999"])
def test_a_live_stream_with_a_number_that_cannot_be_is_none(name: str, value: str) -> None:
    told = {"bp-owner": "o", "bp-kind": "rows", "bp-media_type": "", "bp-end_signal": ""}
    told |= {"bp-buffer_size": "10", "bp-expires": "2000000000"}
    assert parse_stream_info(BODY.id, told).buffer_size == 10
    assert expiry_of(told) == 2_000_000_000
    with pytest.raises(WireError):
        parse_stream_info(BODY.id, told | {name: value})


@pytest.mark.parametrize("name", ["created", "chunk_bytes", "length"])
@pytest.mark.parametrize("value", NUMBERS)
def test_an_upload_with_a_number_that_cannot_be_is_none(name: str, value: Any) -> None:
    record = UploadRecord(created=1.0, chunk_bytes=10, length=5, media_type="text/plain")
    assert unpack_record(record.pack()) == record
    _, fields = msgpack.unpackb(record.pack())
    with pytest.raises(WireError):
        unpack_record(msgpack.packb([7, fields | {name: value}]))


@pytest.mark.parametrize("code", ["204", "404", "503", "junk"])
def test_a_stored_message_that_calls_itself_a_status_is_a_message(code: str) -> None:
    message = Msg(Client(), headers={"Status": code, "Nats-Stream": "S", "Nats-Sequence": "3"})
    assert status(message) == ""
    assert status(Msg(Client(), headers={"Status": code})) == code
