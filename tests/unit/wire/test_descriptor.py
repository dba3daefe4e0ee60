"""The descriptor at the door: what is read, what is refused, and what is never repeated."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import WireError
from broker_plane.wire.descriptor import TOMCP, V1, parse_descriptor

SECRET = "an-endpoint-that-is-a-grant"
FIELDS: dict[str, Any] = {
    "$schema": V1,
    "transfer_id": "550e8400-e29b-41d4-a716-446655440000",
    "mode": "fetch",
    "protocol": "https",
    "endpoint": f"https://bridge.example/{SECRET}",
    "format": "application/json",
}


@pytest.mark.parametrize("schema", [V1, TOMCP])
@pytest.mark.parametrize("written", [V1, TOMCP])
def test_both_spellings_are_read_and_written(schema: str, written: Any) -> None:
    descriptor = parse_descriptor(FIELDS | {"$schema": schema})
    assert descriptor.to_wire() == FIELDS | {"$schema": schema}
    assert descriptor.to_wire(written) == FIELDS | {"$schema": written}


def test_it_is_over_at_its_expiry_and_not_before() -> None:
    descriptor = parse_descriptor(FIELDS | {"expires": "1970-01-01T02:00:10+02:00"})
    assert descriptor.live(9.9)
    assert not descriptor.live(10.0)
    assert not descriptor.live(float("nan"))
    assert descriptor.to_wire()["expires"] == "1970-01-01T00:00:10Z"


WRONG: list[tuple[str, Any]] = [
    ("$schema", "mcp/transfer-descriptor/v9"),
    ("transfer_id", "the first"),
    ("mode", "guess"),
    ("protocol", "HTTPS://"),
    ("endpoint", ""),
    ("endpoint", "https://a/\r\nX-Other: 1"),
    ("format", ""),
    ("method", "GET / HTTP/1.1"),
    ("auth", {"type": "bearer"}),
    ("auth", {"type": "header", "value": "v", "header_name": "X\r\nY"}),
    ("auth", {"type": "bearer", "value": "v\nX: y"}),
    ("auth", {"type": "basic", "value": SECRET}),
    ("auth", {"type": "bearer", "value": f"{SECRET}\xe9"}),
    ("auth", {"type": "header", "value": f"{SECRET} "}),
    ("auth", {"type": "query", "value": SECRET * 2000}),
    *(
        ("auth", {"type": kind, "value": SECRET, "header_name": name})
        for kind in ("header", "hmac")
        for name in ("Host", "content-length", "Transfer-Encoding", "connection", "Expect")
    ),
    ("compression", "br"),
    ("size_hint", -1),
    ("expires", "2026-11-21T12:00:00"),
    ("expires", "soon"),
    ("checksum", "md5:d41d8cd98f00b204e9800998ecf8427e"),
    ("checksum", "sha256:abc"),
    ("fallback", "maybe"),
    ("sandbox", {"runtime": "perl"}),
    ("sandbox", {"runtime": "node", "allowed_ports": [0]}),
    ("stream", {"buffer_size": 0}),
    ("collaborate", {"session_id": "s", "role": "owner"}),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_is_wrong_is_named_and_not_repeated(name: str, value: Any) -> None:
    with pytest.raises(WireError) as caught:
        parse_descriptor(FIELDS | {name: value})
    assert name in str(caught.value)
    assert SECRET not in str(caught.value)


def test_what_no_writer_of_json_can_nest_is_refused() -> None:
    nested: Any = "x"
    for _ in range(190):
        nested = [nested]
    descriptor = parse_descriptor(FIELDS | {"parameter": nested})
    assert parse_descriptor(descriptor.to_wire()) == descriptor
    for _ in range(400):
        nested = {"more": nested}
    with pytest.raises(WireError, match="nested"):
        parse_descriptor(FIELDS | {"parameter": nested})


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_each_required_member_is_missed_by_its_name(name: str) -> None:
    with pytest.raises(WireError) as caught:
        parse_descriptor({key: value for key, value in FIELDS.items() if key != name})
    assert name in str(caught.value)


def test_an_invitation_says_to_what() -> None:
    with pytest.raises(WireError):
        parse_descriptor(FIELDS | {"mode": "collaborate"})


def test_endpoint_and_credential_stand_in_no_repr() -> None:
    text = repr(parse_descriptor(FIELDS | {"auth": {"type": "bearer", "value": "the-credential"}}))
    assert SECRET not in text
    assert "the-credential" not in text


@pytest.mark.parametrize(
    "more",
    [
        {"mode": "collaborate", "collaborate": {"session_id": "s", "role": "editor"}},
        {"sandbox": {"runtime": "shell"}},
    ],
)
def test_what_tomcp_has_no_form_for_is_not_written_for_it(more: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        parse_descriptor(FIELDS | more).to_wire(TOMCP)
