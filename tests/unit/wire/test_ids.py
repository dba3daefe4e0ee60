"""Ids that people pass to commands."""

from __future__ import annotations

import pytest

from broker_plane.wire.names import argument_id, encode_id, is_body_id


@pytest.mark.parametrize("first", range(256))
def test_an_id_is_never_read_as_an_option(first: int) -> None:
    made = argument_id(bytes([first]) + bytes(15))
    assert is_body_id(made)
    assert not made.startswith("-")


def test_random_bytes_alone_may_look_like_an_option() -> None:
    assert encode_id(b"\xf8" + bytes(15)).startswith("-")
