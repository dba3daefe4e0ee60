"""What the proxy says of resources: a greeting or a list in, the answer for the client out."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.proxy.body_resources import is_link, with_capability, with_list
from broker_plane.proxy.pending import PendingRequest

OLD, NEW = "2025-11-25", "2026-07-28"
LASTING = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
GREETED = [
    pytest.param("initialize", {"tools": {}}, {"tools": {}, "resources": {}}, id="handshake"),
    pytest.param("server/discover", {"tools": {}}, {"tools": {}, "resources": {}}, id="discovery"),
    pytest.param("initialize", {"tools": {}, "resources": {"subscribe": True}}, None, id="the server has resources"),
    pytest.param("initialize", {"prompts": {}}, None, id="a server without tools"),
    pytest.param("tools/list", {"tools": {}}, None, id="another answer"),
    pytest.param("initialize", "none", None, id="malformed"),
]


@pytest.mark.parametrize(("method", "capabilities", "said"), GREETED)
def test_a_server_with_tools_has_resources(method: str, capabilities: Any, said: Any) -> None:
    answer = {"jsonrpc": "2.0", "id": 1, "result": {"capabilities": capabilities, "instructions": "kept"}}
    made = with_capability(PendingRequest(method), answer)
    if said is None:
        assert made is answer
    else:
        assert made["result"] == {"capabilities": said, "instructions": "kept"}


def error(code: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": "no"}}


LISTED = [
    pytest.param("resources/list", OLD, -32601, {"resources": []}, id="handshake"),
    pytest.param("resources/list", NEW, -32601, {"resources": []} | LASTING, id="2026-07-28"),
    pytest.param("resources/templates/list", OLD, -32601, {"resourceTemplates": []}, id="templates"),
    pytest.param("resources/list", OLD, -32603, None, id="another error"),
    pytest.param("resources/read", OLD, -32601, None, id="another method"),
]


@pytest.mark.parametrize(("method", "version", "code", "result"), LISTED)
def test_a_server_without_resources_has_an_empty_list(method: str, version: str, code: int, result: Any) -> None:
    answer = error(code)
    made = with_list(PendingRequest(method, version=version), answer)
    assert made is answer if result is None else made["result"] == result


@pytest.mark.parametrize(
    "message",
    [
        {"method": "resources/read", "params": {"uri": "test://page"}},
        {"method": "resources/read", "params": {"uri": "plane://body/"}},
        {"method": "resources/read", "params": {"uri": "plane://body/no-grant"}},
        {"method": "resources/read", "params": {"uri": 7}},
        {"method": "resources/read"},
        {"method": "tools/call", "params": {"uri": "plane://body/x"}},
    ],
)
def test_other_resources_are_the_server_s(message: dict[str, Any]) -> None:
    assert not is_link(message)
