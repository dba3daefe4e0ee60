"""What carriers read of JSON-RPC messages, whatever else is in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker_plane.exchange.lines import IDEMPOTENCY_KEY, error_answer, localized, outline, with_key
from broker_plane.exchange.progress import ProgressFilter


def progress(value: Any) -> bytes:
    params = {"progressToken": "theirs", "progress": value}
    return json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).encode()


@pytest.mark.parametrize(
    ("line", "is_answer"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', True),
        (b'{"jsonrpc":"2.0","id":1,"result":{"x":NaN}}', True),
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}', True),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}', False),
        (b'{"jsonrpc":"2.0","method":"notifications/message","params":{"result":{}}}', False),
        (b'{"jsonrpc":"2.0","id":1}', False),
        (b'{"id":1,"method":5,"result":{}}', True),
        (b"[]", False),
        (b"not json", False),
        (b"[" * 100_000, False),
        (b"\xff", False),
        (b"", False),
    ],
)
def test_answers_are_told_from_everything_else(line: bytes, is_answer: bool) -> None:
    assert outline(line).is_answer == is_answer


@pytest.mark.parametrize(
    ("value", "found"),
    [(1, 1), (0.5, 0.5), (10**30, 10**30), (True, None), ("1", None), (None, None), ([], None), (float("nan"), None)],
)
def test_progress_is_a_finite_number(value: Any, found: float | None) -> None:
    assert outline(progress(value)).progress == found


def test_only_progress_that_increases_is_news() -> None:
    news = ProgressFilter()
    said = [value for value in (1, 1, 0.5, 2, 2, float("inf"), 3) if news.is_news(outline(progress(value)))]
    assert said == [1, 2, float("inf"), 3]  # what is not a number is not compared
    assert news.is_news(outline(b'{"method":"notifications/message"}'))


def test_a_request_keeps_its_key_or_gets_one() -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x", "_meta": {"a": 1}}}
    line = with_key(json.dumps(call).encode(), "k")
    assert json.loads(line)["params"] == {"name": "x", "_meta": {"a": 1, IDEMPOTENCY_KEY: "k"}}
    assert with_key(line, "other") == line
    for strange in (b"[]", b"x", b"{}", b'{"method":"x","params":[]}', b'{"method":"x","params":{"_meta":3}}'):
        assert with_key(strange, "k") == strange


def test_every_caller_of_an_exchange_sees_its_own_id_and_token() -> None:
    answer = b'{"jsonrpc":"2.0","id":"theirs","result":{"n":12345678901234567890123}}'
    assert json.loads(localized(answer, 5, None)) == json.loads(answer) | {"id": 5}
    assert json.loads(localized(progress(3), 5, "mine"))["params"] == {"progressToken": "mine", "progress": 3}
    assert localized(progress(3), 5, None) == b""
    other = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"id":1}}'
    assert localized(other, 5, "mine") == other


def test_an_error_answers_a_request() -> None:
    line = error_answer("a", -32603, "No.", {"code": "x"})
    assert json.loads(line) == {
        "jsonrpc": "2.0",
        "id": "a",
        "error": {"code": -32603, "message": "No.", "data": {"code": "x"}},
    }
    assert outline(line).is_answer
