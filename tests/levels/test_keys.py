"""The key of cached code: what it binds, so that code for one endpoint is never run for another, and what it leaves."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import UnsupportedProtocolError, WireError
from broker_plane.levels.keys import code_key, origin_of, path_template
from broker_plane.sandbox.ports import HOST_API
from tests.levels.api import describe

ENDPOINT = "x-paged://data.example:7000/v1/items/17?view=all&sort=id"
TEXT = {"tier": "high", "text": "Pages.", "examples": ["?page=1"], "constraints": ["at most 5 a second"]}
BASE: dict[str, Any] = {"endpoint": ENDPOINT, "description": TEXT, "region": "north"}


def key(**fields: Any) -> str:
    return code_key(describe(**(BASE | fields)))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"endpoint": ENDPOINT.replace("data.", "other.")}, id="host"),
        pytest.param({"endpoint": ENDPOINT.replace(":7000", ":7001")}, id="port"),
        pytest.param({"endpoint": ENDPOINT.replace("x-paged:", "https:")}, id="scheme"),
        pytest.param({"endpoint": ENDPOINT.replace("items", "users")}, id="path"),
        pytest.param({"endpoint": ENDPOINT.replace("/17", "/17/pages")}, id="longer path"),
        pytest.param({"endpoint": ENDPOINT.replace("/17", "/abc")}, id="no id in the path"),
        pytest.param({"endpoint": ENDPOINT.replace("sort", "order")}, id="name in the query"),
        pytest.param({"auth": None}, id="no auth"),
        pytest.param({"auth": {"type": "hmac", "value": "a"}}, id="kind of auth"),
        pytest.param({"auth": {"type": "bearer", "value": "a", "header_name": "x-key"}}, id="header of auth"),
        pytest.param({"description": TEXT | {"text": "Pages!"}}, id="text"),
        pytest.param({"description": TEXT | {"tier": "mid"}}, id="tier"),
        pytest.param({"description": TEXT | {"examples": []}}, id="examples"),
        pytest.param({"description": TEXT | {"constraints": ["at most 6 a second"]}}, id="constraints"),
        pytest.param({"description": TEXT | {"tiers": {"full": {"text": "All."}}}}, id="texts of other tiers"),
        pytest.param({"protocol": "y-paged"}, id="protocol"),
        pytest.param({"format": "text/csv"}, id="format"),
        pytest.param({"mode": "stream"}, id="mode"),
        pytest.param({"method": "POST"}, id="method"),
        pytest.param({"compression": "gzip"}, id="compression"),
        pytest.param({"zone": "1"}, id="another parameter"),
        pytest.param({"region": ["north"]}, id="kind of a parameter"),
        pytest.param({"sandbox": {"runtime": "python", "allowed_hosts": ["mirror.example"]}}, id="hosts"),
        pytest.param({"sandbox": {"runtime": "python", "allowed_ports": [22]}}, id="ports"),
    ],
)
def test_code_is_not_shared_with_what_it_was_not_made_for(fields: dict[str, Any]) -> None:
    assert key(**fields) != key()


def test_code_of_another_version_of_the_host_functions_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr("broker_plane.levels.keys.HOST_API", HOST_API + 1)
    assert key() != before


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"endpoint": ENDPOINT.replace("/17", "/18")}, id="id"),
        pytest.param({"endpoint": ENDPOINT.replace("/17", "/2e1c3a44-9f52-4a1e-9f0a-1d6f6f6f6f6f")}, id="UUID"),
        pytest.param({"endpoint": ENDPOINT.replace("/17", "/DEADBEEF00112233")}, id="hex"),
        pytest.param({"endpoint": ENDPOINT.replace("view=all", "view=few")}, id="value in the query"),
        pytest.param({"endpoint": ENDPOINT.replace("view=all&sort=id", "sort=no&view=a")}, id="order of the query"),
        pytest.param({"endpoint": ENDPOINT.replace("data.example", "DATA.example")}, id="spelling of the host"),
        pytest.param({"auth": {"type": "bearer", "value": "another"}}, id="credential"),
        pytest.param({"region": "south"}, id="value of a parameter"),
        pytest.param({"size_hint": 5}, id="size"),
        pytest.param({"checksum": "sha256:" + "0" * 64}, id="checksum"),
        pytest.param({"expires": "2099-01-01T00:00:00Z"}, id="expiry"),
        pytest.param({"sandbox": {"runtime": "node"}}, id="sandbox"),
        pytest.param({"fallback": "inline"}, id="fallback"),
        pytest.param({"$schema": "tomcp/v0.1"}, id="schema"),
        pytest.param({"description": {name: TEXT[name] for name in reversed(TEXT)}}, id="order of members"),
    ],
)
def test_code_is_shared_by_all_resources_of_an_api(fields: dict[str, Any]) -> None:
    assert key(**fields) == key()


def test_no_auth_is_the_auth_none_and_the_usual_port_need_not_be_named() -> None:
    assert key(auth=None) == key(auth={"type": "none"})
    assert key(endpoint="https://data.example/a") == key(endpoint="https://data.example:443/a")


def test_people_see_the_origin_of_an_endpoint_and_nothing_else_of_it() -> None:
    assert origin_of(describe(ENDPOINT)) == "x-paged://data.example:7000"
    assert origin_of(describe("https://user:pass@[2001:DB8::1]/a?b=c")) == "https://[2001:db8::1]:443"


def test_ids_in_a_path_are_recognised() -> None:
    assert path_template("/v1/items/17/parts/2e1c3a44-9f52-4a1e-9f0a-1d6f6f6f6f6f/") == "/v1/items/{}/parts/{}/"
    assert path_template("/a17/0123456789abcde/v2") == "/a17/0123456789abcde/v2"
    assert path_template("") == ""


def test_what_has_no_key_is_refused() -> None:
    with pytest.raises(UnsupportedProtocolError, match="no description"):
        key(description=None)
    with pytest.raises(UnsupportedProtocolError, match="an endpoint with a host"):
        key(endpoint="/rows.bin")
    with pytest.raises(UnsupportedProtocolError, match="names of at most"):
        key(protocol="x" * 1000)
    with pytest.raises(UnsupportedProtocolError, match="names of at most"):
        key(endpoint=f"https://{'x' * 1000}/")
    with pytest.raises(WireError, match="number beyond"):
        key(description=TEXT | {"limit": 1 << 60})
