"""What code says of a run keeps nothing that is secret, or may be: no log, no prompt and no error has it."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.levels.redaction import redacted_detail
from broker_plane.sandbox.details import detail
from broker_plane.sandbox.ports import MAX_DETAIL_BYTES
from tests.levels.doors import described

CANARY = "canary77c1e9f0b2"


@pytest.mark.parametrize(
    ("endpoint", "fields", "said"),
    [
        pytest.param(f"https://me:{CANARY}@a.example/", {}, f"https://me:{CANARY}@a.example/", id="password"),
        pytest.param(f"https://{CANARY}@a.example/", {}, f"user {CANARY}", id="user"),
        pytest.param(f"https://a.example/v1/{CANARY}/rows", {}, f"no bucket {CANARY}", id="segment of the path"),
        pytest.param(f"https://a.example/?sig={CANARY}", {}, f"{{'sig': '{CANARY}'}}", id="query"),
        pytest.param(f"https://a.example/#key={CANARY}", {}, f"key is {CANARY}", id="fragment"),
        pytest.param("https://a.example/", {"api_key": CANARY}, f"api_key {CANARY} is wrong", id="parameter"),
        pytest.param("https://a.example/", {"keys": [{"a": [CANARY]}]}, f"tried {CANARY}", id="parameter inside"),
    ],
)
def test_nothing_of_the_endpoint_and_the_parameters_is_in_it(endpoint: str, fields: dict[str, Any], said: str) -> None:
    text = redacted_detail(f"ValueError: {said}", described(endpoint, **fields))
    assert CANARY not in text and text.startswith("ValueError: ")


def test_a_secret_that_was_cut_off_is_not_in_it_either() -> None:
    """The sandbox keeps the end of a long text, so the beginning of the secret is missing."""
    descriptor = described(f"https://a.example/?long={'x' * 3000}{CANARY}", long=f"{'y' * 3000}{CANARY}")
    for value in (descriptor.endpoint, f"{'y' * 3000}{CANARY}"):
        cut = detail(f"ValueError: {value}", f"asked {value}")
        assert len(cut.encode()) == MAX_DETAIL_BYTES and cut.count(CANARY) == 2
        assert CANARY not in redacted_detail(cut, descriptor)


def test_ordinary_words_stay() -> None:
    descriptor = described("https://a.example/customers/orders?view=all", region="north")
    text = "ValueError: status 404 for customers in the region north, view all"
    assert redacted_detail(text, descriptor) == text
