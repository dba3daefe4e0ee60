"""The grant: seal, unseal, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import GrantRefusedError
from broker_plane.wire.grant import Flag, Grant, Key, Kind, is_grant, key_id_of, seal, unseal, uses_of
from broker_plane.wire.names import body_id, decode_id, encode_id

KEY = Key(b"k" * 32)
GRANT = Grant(body=body_id(b"b" * 16), grant_id=b"g" * 16, expires=1_900_000_000, uses=3)

grants = st.builds(
    Grant,
    body=st.binary(min_size=16, max_size=16).map(body_id),
    grant_id=st.binary(min_size=16, max_size=16),
    expires=st.integers(0, 2**32 - 1),
    uses=st.integers(0, 65_535),
    kind=st.just(Kind.BODY),
    flags=st.sampled_from([Flag.NONE, Flag.RECORDED]),
)


@given(grants, st.binary(min_size=32, max_size=32))
def test_what_is_sealed_opens_as_it_was(grant: Grant, secret: bytes) -> None:
    text = seal(grant, Key(secret))
    assert unseal(text, Key(secret)) == grant
    assert len(text) == 80
    assert uses_of(text) == grant.uses


def test_every_flipped_bit_is_refused() -> None:
    raw = decode_id(seal(GRANT, KEY))
    for bit in range(len(raw) * 8):
        altered = bytearray(raw)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(GrantRefusedError):
            unseal(encode_id(bytes(altered)), KEY)


def test_every_other_character_in_every_place_is_refused() -> None:
    text = seal(GRANT, KEY)
    for place in range(len(text)):
        for letter in "ABQgw-_9":
            if letter != text[place]:
                with pytest.raises(GrantRefusedError):
                    unseal(text[:place] + letter + text[place + 1 :], KEY)


@given(st.text(max_size=120))
def test_any_text_opens_or_is_refused_with_one_message(text: str) -> None:
    with pytest.raises(GrantRefusedError, match=r"^Unknown or expired resource$"):
        unseal(text, KEY)
    assert not is_grant(text) or len(text) == 80


def test_another_key_opens_nothing_even_with_the_same_short_id() -> None:
    text = seal(GRANT, KEY)
    other = Key(b"o" * 32)
    forged = encode_id(decode_id(text)[:1] + other.id + decode_id(text)[4:])
    for attempt in (text, forged):
        with pytest.raises(GrantRefusedError):
            unseal(attempt, other)


def test_a_grant_of_a_later_version_is_refused() -> None:
    raw = decode_id(seal(GRANT, KEY))
    with pytest.raises(GrantRefusedError):
        key_id_of(encode_id(bytes([2]) + raw[1:]))


def test_a_grant_lives_until_its_second_and_not_in_it() -> None:
    assert GRANT.live(1_899_999_999.9)
    assert not GRANT.live(1_900_000_000)
    assert not GRANT.live(float("nan"))
