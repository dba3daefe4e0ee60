"""The numbers that tell the entries of `bp_grants` apart, which stay what older bridges wrote."""

from __future__ import annotations

import msgpack
import pytest

from broker_plane.plane.grants.state import GrantState, pack_revoked, pack_state
from broker_plane.plane.reclaim.when_used_record import new_use_record
from broker_plane.wire import entry_formats
from broker_plane.wire.upload import UploadRecord

_NUMBERS = {name: value for name, value in vars(entry_formats).items() if isinstance(value, int)}


def test_no_number_is_given_twice() -> None:
    assert _NUMBERS
    assert len(set(_NUMBERS.values())) == len(_NUMBERS)


@pytest.mark.parametrize(
    ("entry", "number"),
    [
        (pack_revoked(1), 3),
        (new_use_record("owner", 1, bytes(16)).pack(), 4),
        (UploadRecord(created=1, chunk_bytes=1, media_type="text/plain").pack(), 7),
        (pack_state({"": GrantState()}), 8),
        (pack_state({"chain": GrantState()}), 9),
    ],
)
def test_an_entry_begins_with_its_number(entry: bytes, number: int) -> None:
    assert msgpack.unpackb(entry)[0] == number
