"""The parser of server-sent events, at every split of the bytes."""

from __future__ import annotations

import pytest

from broker_plane.wire.sse import TOO_LONG, EventSplitter, data_of, field_of, id_of, with_data

STREAMS = [
    pytest.param(b"data: a\n\ndata: b\n\n", [b"a", b"b"], id="line feeds"),
    pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"], id="both"),
    pytest.param(b"data: a\r\rdata: b\r\r", [b"a", b"b"], id="carriage returns"),
    pytest.param(b"data: a\n\r\ndata: b\r\n\n", [b"a", b"b"], id="mixed"),
    pytest.param(b"data: a\ndata: b\n\n", [b"a\nb"], id="two lines"),
    pytest.param(b"data:a\n\ndata:  b\n\n", [b"a", b" b"], id="one space is removed"),
    pytest.param(b": ping\n\nid: 7\ndata: a\n\n", [b"", b"a"], id="a comment"),
    pytest.param(b"data: a\n\ndata: cut", [b"a"], id="an event without its end"),
]


def split(stream: bytes, size: int, max_bytes: int = 100) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter(max_bytes)
    events = [event for start in range(0, len(stream), size) for event in splitter.feed(stream[start : start + size])]
    return events, splitter.rest()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(("stream", "data"), STREAMS)
def test_events_at_every_split(stream: bytes, data: list[bytes], size: int) -> None:
    events, rest = split(stream, size)
    assert b"".join(events) + rest == stream
    assert [data_of(event) for event in events if event.strip()] == data


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_event_that_is_too_long_is_discarded(size: int) -> None:
    events, rest = split(b"data: a\n\ndata: " + b"x" * 200 + b"\n\ndata: b\n\n", size)
    assert [
        TOO_LONG if event is TOO_LONG else data_of(event) for event in events if event is TOO_LONG or event.strip()
    ] == [
        b"a",
        TOO_LONG,
        b"b",
    ]
    assert rest.strip() == b""


def test_fields() -> None:
    event = b": note\nid: 1\nid: 7\nevent: item\ndata\n\n"
    assert id_of(event) == "7"
    assert field_of(event, b"event") == b"item"
    assert field_of(event, b"data") == b""
    assert field_of(event, b"retry") is None
    assert with_data(event, b"{}") == b": note\nid: 1\nid: 7\nevent: item\ndata: {}\n\n"
