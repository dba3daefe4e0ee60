"""Which announcements a search finds."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import RegistryError
from broker_plane.registry.agent_search import AgentQuery, matched
from tests.unit.registry.announcing import announced, served

CRM = announced(
    "crm-1",
    served("https", "https://crm.example/v1", "text/csv", "json"),
    served("acme/orders@1.2.0", "https://orders.example", "application/x-ndjson", modes=("fetch", "stream")),
    name="Customer Records",
    consumes=["sse", "acme/events@2.0.0"],
    capabilities={"level2": True, "runtimes": ["python"], "max_payload_bytes": 1000},
)


@pytest.mark.parametrize(
    ("query", "serves"),
    [
        ({}, 2),
        ({"text": "customer"}, 2),
        ({"text": "RECORDS crm"}, 2),
        ({"text": "orders"}, 2),
        ({"text": "events"}, 2),
        ({"text": "customer invoices"}, None),
        ({"protocol": "https"}, 1),
        ({"protocol": "http"}, None),
        ({"protocol": "acme/orders"}, 1),
        ({"protocol": "acme/orders@1.2.0"}, 1),
        ({"protocol": "acme/orders@1.3.0"}, None),
        ({"protocol": "acme/orders@^1.1"}, 1),
        ({"protocol": "acme/orders@>=1.2 <2"}, 1),
        ({"protocol": "acme/orders@^2"}, None),
        ({"protocol": "https@*"}, None),  # it has no version
        ({"protocol": "https@1.0.0"}, None),
        ({"protocol": "sse"}, 0),
        ({"protocol": "sse", "direction": "consumes"}, 0),
        ({"protocol": "acme/events@2.0.0", "direction": "consumes"}, 0),
        ({"protocol": "sse", "direction": "serves"}, None),
        ({"protocol": "https", "direction": "consumes"}, None),
        ({"direction": "consumes"}, 0),
        ({"format": "text/csv"}, 1),
        ({"format": "csv"}, 1),
        ({"format": "text/*"}, 1),
        ({"format": "TEXT/CSV; charset=utf-8"}, 1),
        ({"format": "application/*"}, 2),
        ({"format": "*/*"}, 2),
        ({"format": "application/jso?"}, None),
        ({"format": "application/[j]son"}, None),
        ({"mode": "stream"}, 1),
        ({"mode": "push"}, None),
        ({"protocol": "https", "mode": "stream"}, None),  # one entry has to match all of it
        ({"protocol": "sse", "format": "text/csv"}, None),
        ({"level2": True}, 2),
        ({"level2": False}, None),
        ({"payload_bytes": 1000}, 2),
        ({"payload_bytes": 1001}, None),
    ],
)
def test_everything_that_is_asked_for_has_to_match(query: dict[str, Any], serves: int | None) -> None:
    found = matched(AgentQuery(**query), CRM)
    assert (None if found is None else len(found.serves)) == serves


def test_an_agent_that_does_not_say_what_it_takes_is_found() -> None:
    assert matched(AgentQuery(payload_bytes=1 << 40), announced("a")) is not None


def test_what_cannot_match_is_refused_by_name() -> None:
    with pytest.raises(RegistryError, match="consumes"):
        AgentQuery(direction="consumes", format="text/csv")
    with pytest.raises(RegistryError, match="range"):
        AgentQuery(protocol="acme/orders@newest")
    with pytest.raises(RegistryError, match="255"):
        AgentQuery(format="*" * 256)
