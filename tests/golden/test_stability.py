"""Bytes that others hold: to change one of these is an event, and needs a new version."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from uuid import UUID

from broker_plane.tabular.rows import encode_rows
from broker_plane.tabular.types import pack
from broker_plane.wire.caveats import (
    Audience,
    Bytes,
    Caveat,
    Columns,
    Expires,
    Formats,
    Rows,
    SessionIntent,
    SessionName,
    SessionRole,
    Uses,
    Where,
)
from broker_plane.wire.grant import Grant, Key, Kind, narrow, seal, unseal
from broker_plane.wire.names import body_id
from broker_plane.wire.plane_names import Names
from broker_plane.wire.rows import parse_rows


def test_a_sealed_grant_has_these_characters() -> None:
    grant = Grant(body=body_id(bytes(range(16))), grant_id=bytes(range(16, 32)), expires=1_800_000_000, uses=2)
    assert seal(grant, Key(b"\x01" * 32)) == GRANT


def test_a_narrowed_grant_has_these_characters() -> None:
    caveats: list[Caveat] = [
        Rows(parse_rows("0-99,200"), 50),
        Where("a >= 1.5 and b in ('x')"),
        Columns(("a", "b")),
        Expires(1_700_000_000),
        Uses(1),
        Audience("charts"),
        Bytes(1 << 20),
        Formats(("text/csv",)),
    ]
    assert narrow(GRANT, *caveats) == NARROWED
    assert unseal(NARROWED, Key(b"\x01" * 32)).expires == 1_700_000_000


def test_a_grant_of_a_session_has_these_characters() -> None:
    session, grant_id = body_id(bytes(range(16))), bytes(range(16, 32))
    root = Grant(body=session, grant_id=grant_id, expires=1_800_000_000, uses=0, kind=Kind.SESSION)
    caveats: list[Caveat] = [SessionRole("reviewer"), SessionIntent("security"), SessionName("anna")]
    assert narrow(seal(root, Key(b"\x01" * 32)), *caveats) == SESSION


def test_encoded_rows_have_these_bytes() -> None:
    rows = [{"name": "a", "n": 1}, {"name": "b"}, {"name": None, "n": 2**80}]
    raw = b"".join(encode_rows(rows))
    assert raw[:4] == raw[-4:] == b"BPR1"
    assert sha256(raw).hexdigest() == ROWS


def test_every_type_has_these_bytes() -> None:
    values = [datetime(2026, 1, 2, 3, 4, 5, 6, UTC), Decimal("1.10"), UUID(int=7), 2**70, -(2**70)]
    assert sha256(pack(values)).hexdigest() == TYPES


def test_subjects_are_those_of_adr_20() -> None:
    body = body_id(b"\xff" * 16)
    assert Names().chunk_subject("weather", body) == "$O.bp_weather.C._____________________w"
    assert Names().meta_subject("weather", body) == "$O.bp_weather.M.X19fX19fX19fX19fX19fX19fX19fdw=="


GRANT = "AeLl1AEAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eH2tJ0gAAAgBCYtcZ5LTA_AglrzoEK9lG"
SESSION = (
    "AeLl1AUAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eH2tJ0gAAAAAKAAmocmV2aWV3ZXILAAmoc2VjdXJpdHkMAAWkYW5u"
    "YXttGnU2kNBxTSUotgHx9vY"
)
ROWS = "7c04a7888c0b57a39bba34aebd6fb503e09235609d414b279c2b33f7814a304a"
TYPES = "794768326a18b27a8480de675f9a57ad74e8e75948e1b6598d61cae810af6347"
NARROWED = (
    "AeLl1AEAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eH2tJ0gAAAgACAAeSlABkZAEyAwAYt2EgPj0gMS41IGFuZCBiIGlu"
    "ICgneCcpAQAFkqFhoWIEAAXOZVPxAAUAAQEGAAemY2hhcnRzBwAFzgAQAAAIAAqRqHRleHQvY3N2QCAzonbm-W995Q2yX5o4hg"
)
