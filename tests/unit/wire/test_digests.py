"""Digest fields, read as a server does and as a client does."""

from __future__ import annotations

from hashlib import sha256

import pytest

from broker_plane.errors import WireError
from broker_plane.wire.digests import digest_field, parse_digests, sha256_of

HEX = sha256(b"body").hexdigest()
FIELD = digest_field(HEX)
READ = [
    pytest.param(FIELD, HEX, id="one"),
    pytest.param(f"sha-512=:{'A' * 86}==:, {FIELD}", HEX, id="among others"),
    pytest.param(f"md5=:AAAA:,{FIELD}", HEX, id="beside an algorithm that is not checked"),
    pytest.param(f"{FIELD};x=1", HEX, id="with a parameter"),
    pytest.param("", "", id="none"),
]
MALFORMED = ["sha-256=abc", "sha-256=:AAAA:", f"{FIELD[:-1]}", f"{FIELD},", "sha-256=:ä:"]


@pytest.mark.parametrize(("field", "found"), READ)
def test_both_read_the_same(field: str, found: str) -> None:
    assert sha256_of(field) == found
    assert parse_digests(field, "repr-digest", strict=True).get("sha-256", "") == found


@pytest.mark.parametrize("field", MALFORMED)
def test_a_server_refuses_what_a_client_ignores(field: str) -> None:
    assert sha256_of(field) in ("", HEX)
    with pytest.raises(WireError, match="Repr-Digest"):
        parse_digests(field, "repr-digest", strict=True)
