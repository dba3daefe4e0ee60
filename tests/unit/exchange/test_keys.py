"""Ids of exchanges: unguessable, and for an idempotency key the same from every process of its owner."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import WireError
from broker_plane.exchange.keys import (
    idempotency_key,
    is_exchange_id,
    is_server_name,
    keyed_exchange,
    new_exchange,
    new_session,
    request_digest,
)
from broker_plane.exchange.lines import IDEMPOTENCY_KEY


def call(**params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def test_random_ids_have_128_bits_and_name_their_carrier() -> None:
    assert new_session("w", bytes(16)) == "w" + "00" * 16
    assert len(new_exchange(bytes(range(16)))) == 32
    assert is_exchange_id(new_session("n", bytes(16)))
    for carrier, entropy in (("n", bytes(15)), ("nn", bytes(16)), ("", bytes(16)), (".", bytes(16))):
        with pytest.raises(ValueError, match="16 random bytes"):
            new_session(carrier, entropy)
    with pytest.raises(ValueError, match="16 random bytes"):
        new_exchange(b"")


@pytest.mark.parametrize("text", ["", "a.b", "*", "a b", "x" * 15, "x" * 129, "ü" * 20, "a" * 20 + "\n"])
def test_what_would_be_another_subject_is_no_id(text: str) -> None:
    assert not is_exchange_id(text)


def test_server_names_are_single_tokens() -> None:
    assert all(map(is_server_name, ("a", "weather-2_b", "A" * 64)))
    assert not any(map(is_server_name, ("", "a.b", ">", "A" * 65, "a\n")))


def test_a_key_names_one_exchange_for_those_who_know_its_scope() -> None:
    one = keyed_exchange("weather", "n", b"secret", "order 17")
    assert one == keyed_exchange("weather", "n", b"secret", "order 17")
    assert (one.carrier, is_exchange_id(one.session), is_exchange_id(one.exchange)) == ("n", True, True)
    others = {
        keyed_exchange("weather", "n", b"another", "order 17"),
        keyed_exchange("weather", "n", b"secret", "order 18"),
        keyed_exchange("weathe", "n", b"secret", "r\0order 17"),
        keyed_exchange("storms", "n", b"secret", "order 17"),
    }
    assert len(others | {one}) == 5


def test_idempotency_keys_are_texts_of_bounded_length() -> None:
    assert idempotency_key(call()) is None
    assert idempotency_key({"method": "x", "params": [1]}) is None
    assert idempotency_key(call(_meta={IDEMPOTENCY_KEY: "a" * 200})) == "a" * 200
    wrongs: list[Any] = ["", "a" * 201, 5, ["a"], {}]
    for wrong in wrongs:
        with pytest.raises(WireError, match=IDEMPOTENCY_KEY):
            idempotency_key(call(_meta={IDEMPOTENCY_KEY: wrong}))


def test_the_same_call_has_the_same_digest_from_every_process() -> None:
    first = call(name="x", arguments={"a": 1, "b": float("nan")}, _meta={"progressToken": 1})
    again = {"method": "tools/call", "id": "other", "params": {"arguments": {"b": float("nan"), "a": 1}, "name": "x"}}
    assert request_digest(first) == request_digest(again)
    assert request_digest(first) != request_digest(call(name="x", arguments={"a": 2, "b": float("nan")}))
