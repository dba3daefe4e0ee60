"""The choice among what an agent serves, and what a client accepts of an agent's answer."""

from __future__ import annotations

from typing import Any, Literal
from uuid import uuid4

import pytest

from broker_plane.errors import PeerError
from broker_plane.registry.agent_choice import AgentChoice, choose, parse_choice
from broker_plane.registry.announcement import ServedProtocol
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.descriptor import Descriptor, Mode
from tests.unit.registry.announcing import announced, served

HTTPS = served("https", "https://crm.example/v1", "text/csv")
HTTP = served("http", "http://127.0.0.1:8080/v1", "text/csv")
FAR = served("http", "http://crm.example/v1", "text/csv")
SSE = served("sse", "https://crm.example/live", "application/json", modes=("stream",))
ORDERS = served("Acme_Inc/orders@1.2.0", "https://orders.example", "application/json")
SUBJECT = served("nats", "orders.live", "application/json", modes=("fetch", "stream"))


def entries(*fields: dict[str, Any]) -> tuple[ServedProtocol, ...]:
    return announced("crm", *fields).serves


def chosen(
    *fields: dict[str, Any], mode: Mode = "fetch", plain: Literal["never", "loopback"] = "loopback", **members: Any
) -> tuple[str, int, str]:
    choice = choose(entries(*fields), Capabilities(**members), mode, plain)
    return "" if choice.selected is None else choice.selected.endpoint, choice.level, choice.reason


def test_encrypted_is_chosen_before_plain_text() -> None:
    both: dict[str, Any] = {"protocols": ("http", "https")}
    assert chosen(HTTP, HTTPS, **both)[:2] == (HTTPS["endpoint"], 1)
    assert chosen(HTTP, HTTPS, protocols=("http",))[:2] == (HTTP["endpoint"], 1)
    assert chosen(HTTP, plain="never", **both)[:2] == ("", 0)


def test_plain_text_to_a_public_host_is_not_chosen() -> None:
    assert chosen(FAR, protocols=("http",)) == (
        "",
        0,
        "the agent serves in plain text only, to a host that is not near",
    )


def test_the_format_has_to_be_one_that_the_client_takes() -> None:
    endpoint, level, reason = chosen(HTTPS, protocols=("https",), formats=("json",))
    assert (endpoint, level) == ("", 0)
    assert "text/csv" in reason
    assert chosen(HTTPS, protocols=("https",), formats=("csv",))[1] == 1
    assert chosen(served("https", "https://a.example"), protocols=("https",), formats=("csv",))[1] == 1


def test_the_mode_decides() -> None:
    assert chosen(HTTPS, SSE, mode="stream", protocols=("https", "sse"))[0] == SSE["endpoint"]
    assert "push" in chosen(HTTPS, SSE, mode="push", protocols=("https", "sse"))[2]


def test_a_description_is_learned_only_if_nothing_else_fits() -> None:
    learns: dict[str, Any] = {"level2": True, "runtimes": ("python",)}
    assert chosen(ORDERS, HTTPS, protocols=("https",), **learns)[:2] == (HTTPS["endpoint"], 1)
    endpoint, level, reason = chosen(ORDERS, HTTPS, protocols=("sftp",), **learns)
    assert (endpoint, level) == (ORDERS["endpoint"], 2)
    assert "Acme_Inc/orders@1.2.0" in reason
    assert chosen(ORDERS, protocols=("https",))[1] == 0
    assert chosen(ORDERS, protocols=("Acme_Inc/orders",))[1] == 1  # a client that has a handler for it


def test_a_subject_of_the_same_nats_is_chosen() -> None:
    assert chosen(SUBJECT, protocols=("nats",), plain="never")[:2] == ("orders.live", 1)


def descriptor(**members: Any) -> dict[str, Any]:
    return Descriptor(
        **{
            "transfer_id": str(uuid4()),
            "mode": "fetch",
            "protocol": "https",
            "endpoint": "https://crm.example/v1/presigned",
            "format": "text/csv",
            **members,
        }
    ).to_wire()


def test_an_answer_is_accepted_with_its_descriptor() -> None:
    able, serves = Capabilities(protocols=("https",)), entries(HTTPS, SSE)
    answer = {"selected": HTTPS, "reason": "it fits\n", "level": 2, "descriptor": descriptor()}
    choice = parse_choice(answer, serves, able)
    assert (choice.selected, choice.reason, choice.level) == (serves[0], "it fits", 1)
    assert choice.descriptor is not None
    assert "presigned" not in repr(choice)
    assert parse_choice(choice.to_wire(), serves, able) == choice
    assert parse_choice({"selected": None, "reason": "nothing"}, serves, able) == AgentChoice(None, "nothing")


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (None, "reason"),
        ([], "reason"),
        ({"selected": HTTPS}, "reason"),
        ({"selected": HTTPS | {"endpoint": "https://elsewhere.example"}, "reason": ""}, "not announced"),
        ({"selected": "https", "reason": ""}, "invalid"),
        ({"selected": HTTPS | {"endpoint": "https://u:p@crm.example"}, "reason": ""}, "invalid"),
        ({"selected": SSE, "reason": ""}, "cannot take"),
        ({"selected": HTTPS, "reason": "", "descriptor": {}}, "invalid"),
        ({"selected": HTTPS, "reason": "", "descriptor": descriptor(mode="push")}, "push"),
        ({"selected": HTTPS, "reason": "", "descriptor": descriptor(protocol="ftp")}, "ftp"),
    ],
)
def test_an_answer_that_the_client_cannot_take_is_refused(answer: Any, word: str) -> None:
    with pytest.raises(PeerError, match=word):
        parse_choice(answer, entries(HTTPS, SSE), Capabilities(protocols=("https", "sse")))
