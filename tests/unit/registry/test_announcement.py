"""Announcements: what is read and written, and what is refused because it is a credential or too large."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from broker_plane.errors import RegistryError
from broker_plane.registry.announcement import MAX_ENTRY_BYTES, parse_announcement, parse_profile
from broker_plane.wire.exact_json import dumps, loads
from broker_plane.wire.grant import Grant, Key, seal
from broker_plane.wire.names import BodyId
from tests.unit.registry.announcing import INSTANCE, announced, served

TOMCP = {
    "agent_id": "agent-1",
    "name": "Data Agent",
    "serves": [
        {"protocol_id": "https", "endpoint": "https://data.example.com", "formats": ["json"], "modes": ["fetch"]},
        {"protocol_id": "webtorrent", "endpoint": "magnet:?xt=urn:btih:0a", "formats": ["binary"], "modes": ["fetch"]},
    ],
    "consumes": ["https", "fs"],
    "capabilities": {"level2": True, "runtimes": ["node"]},
    "announced_at": "2026-04-01T12:00:00.000Z",
    "ttl": 300,
    "last_seen": "2026-04-01T12:00:00.000Z",
}
"""An announcement as ToMCP writes it."""


def grant() -> str:
    body = BodyId("A" * 22)
    return seal(Grant(body=body, grant_id=uuid4().bytes, expires=4_000_000_000, uses=0), Key(b"k" * 32))


def test_an_announcement_of_tomcp_is_announced_as_it_is() -> None:
    wire = announced(**(parse_profile(TOMCP).model_dump() | {"serves": ()})).to_wire()
    assert parse_profile(TOMCP).model_dump(mode="json", exclude_none=True) == {
        name: value for name, value in TOMCP.items() if name not in ("announced_at", "last_seen")
    }
    assert wire.keys() == TOMCP.keys() | {"instance"}
    assert wire["announced_at"] == "2026-11-26T12:00:00Z"


def test_what_is_stored_is_read_again() -> None:
    made = announced("crm", served("https", "https://crm.example/v1", "text/csv"), consumes=["sse"], ttl=60)
    assert parse_announcement(dumps(made.to_wire())) == made
    at = made.last_seen.timestamp()
    assert made.alive(at + 59.9)
    assert not made.alive(at + 60)
    assert not made.alive(float("nan"))


@pytest.mark.parametrize(
    ("endpoint", "word"),
    [
        ("https://user:secret@crm.example/v1", "user"),
        ("https://user@crm.example/v1", "user"),
        ("https://crm.example/v1?X-Amz-Signature=abc", "query"),
        ("https://crm.example/v1#token", "query"),
        ("https://[::1", "URL"),
        ("https://crm.example/a b", "spaces"),
        ("https://crm.example/\x1b[2J", "control"),
        ("https://crm.example/\u202egnp.exe", "control"),
        ("https://bridge.example/s2sp/data/{grant}", "grant"),
        ("bp.pull.{grant}", "grant"),
        ("{grant}", "grant"),
        ("", "character"),
        ("x" * 2049, "2048"),
    ],
)
def test_an_endpoint_has_no_credential_and_nothing_invisible(endpoint: str, word: str) -> None:
    secret = grant()
    with pytest.raises(RegistryError, match=word) as refused:
        announced("crm", served("https", endpoint.replace("{grant}", secret)))
    assert secret not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_no_other_text_has_a_grant_either() -> None:
    for members in ({"name": f"see {grant()}"}, {"consumes": [grant()[:120]]}):
        with pytest.raises(RegistryError, match="grant"):
            announced("crm", **members)


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"agent_id": "two words"}, "agent_id"),
        ({"agent_id": "a.b"}, "agent_id"),
        ({"agent_id": "*"}, "agent_id"),
        ({"agent_id": "x" * 65}, "agent_id"),
        ({"name": "x" * 201}, "name"),
        ({"ttl": 2}, "ttl"),
        ({"ttl": 86_401}, "ttl"),
        ({"ttl": float("nan")}, "ttl"),
        ({"serves": [served("https", "https://a.example")] * 33}, "serves"),
        ({"serves": [served("https", "https://a.example", *["text/csv"] * 17)]}, "formats"),
        ({"serves": [served("https", "https://a.example", modes=("beam",))]}, "modes"),
        ({"serves": [served("https", "https://a.example", modes=())]}, "modes"),
        ({"serves": [served("no spaces", "https://a.example")]}, "protocol_id"),
        ({"consumes": ["sse"] * 65}, "consumes"),
        ({"capabilities": {"max_payload_bytes": -1}}, "max_payload_bytes"),
    ],
)
def test_everything_is_bounded(members: dict[str, Any], where: str) -> None:
    with pytest.raises(RegistryError, match=where):
        parse_profile({"agent_id": "crm", **members})


def test_an_announcement_has_a_maximum_size() -> None:
    long = [served("https", f"https://{'.'.join(['host' * 5] * 80)}.example/{n}") for n in range(10)]
    with pytest.raises(RegistryError, match="bytes"):
        announced("crm", *long)


def test_what_is_not_an_announcement_is_refused_by_name() -> None:
    good = announced("crm").to_wire()
    broken = [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b"[" * 5000,
        dumps(good | {"instance": "short"}),
        b" " * (MAX_ENTRY_BYTES + 1),
    ]
    broken += [
        dumps({name: value for name, value in good.items() if name != left_out})
        for left_out in ("agent_id", "last_seen")
    ]
    broken.append(dumps(good | {"last_seen": "2026-04-01T12:00:00"}))  # without a time zone
    for raw in broken:
        with pytest.raises(RegistryError):
            parse_announcement(raw)
    assert loads(dumps(good))["instance"] == INSTANCE
