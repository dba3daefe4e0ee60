"""The routes with which a holder reads on: statuses and problem details."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.plane.bodies.publish import StoredBody
from tests.bridge.bodies import ROWS, Bridge

pytestmark = pytest.mark.anyio


async def ask(bridge: Bridge, published: StoredBody, verb: str, content: bytes = b"") -> tuple[int, Any]:
    answer = await bridge.post(published, content, f"/{verb}")
    return answer.status_code, answer.json()


async def test_a_body_is_read_and_described(bridge: Bridge) -> None:
    published = await bridge.publish(ROWS)
    status, part = await ask(bridge, published, "read", b'{"head": 1, "columns": ["area", "event"]}')
    assert (status, part["text"]) == (200, "_row_id,area,event\n0,Harris,Flood")
    assert part == {
        "text": part["text"],
        "unit": "rows",
        "first": 0,
        "count": 1,
        "total": 3,
        "next": "rows=1-",
        "cut": False,
    }
    status, described = await ask(bridge, published, "describe")
    assert (status, described["rows"]) == (200, 3)
    assert [column["name"] for column in described["columns"]] == ["event", "severity", "area"]


@pytest.mark.parametrize(
    ("verb", "content", "status", "code"),
    [
        ("read", b'{"page": 0}', 400, "bad_request"),
        ("read", b'{"page": "1"}', 400, "bad_request"),
        ("read", b'{"pages": 1}', 400, "bad_request"),
        ("read", b"[]", 400, "bad_selector"),
        ("read", b"{", 400, "bad_selector"),
        ("read", b'{"columns": ["nope"]}', 400, "bad_selector"),
        ("read", b'{"grep": "("}', 400, "bad_request"),
        ("read", b'{"json_path": "$"}', 400, "bad_selector"),
        ("read", b'{"rows": "' + b"1," * 40_000 + b'"}', 413, "too_large"),
        ("describe", b'{"columns": ["event"]}', 400, "bad_request"),
    ],
)
async def test_a_wrong_request_is_a_problem(bridge: Bridge, verb: str, content: bytes, status: int, code: str) -> None:
    found, problem = await ask(bridge, await bridge.publish(ROWS), verb, content)
    assert (found, problem["code"]) == (status, code)


async def test_other_methods_and_grants_are_refused(bridge: Bridge) -> None:
    published = await bridge.publish(ROWS, uses=1)
    for verb in ("read", "describe"):
        assert (await bridge.request("GET", published, f"/{verb}")).status_code == 405
        assert (await bridge.open(f"/s2sp/data/{'A' * 100}/{verb}", "POST")).status_code == 404
    assert (await bridge.get(published)).status_code == 200
    for verb in ("read", "describe"):
        answer = await bridge.post(published, b"", f"/{verb}")
        while answer.status_code == 409:  # how the delivery ended is noticed a moment after its end
            answer = await bridge.post(published, b"", f"/{verb}")
        assert (answer.status_code, answer.json()["code"]) == (410, "grant_used")
