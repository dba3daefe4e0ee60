"""Invitations: which ways a descriptor offers, what a client chooses, and how each spelling of an address is read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from broker_plane.errors import ConfigError, DescriptorExpiredError, WireError
from broker_plane.runtime.offering import Terms
from broker_plane.runtime.session_addresses import SessionAddress, session_address
from broker_plane.runtime.session_offers import CreatedSession, Invitation
from broker_plane.wire.capabilities import parse_capabilities
from broker_plane.wire.caveats import SessionIntent, SessionRole
from broker_plane.wire.descriptor import TOMCP, parse_descriptor
from broker_plane.wire.grant import Grant, Key, Kind, narrow, seal
from broker_plane.wire.names import body_id
from broker_plane.wire.offers import negotiate
from broker_plane.wire.session_roles import Role

BRIDGE = "http://127.0.0.1:8787"
LATER = 4_000_000_000


def grant(role: Role = "editor", *, kind: Kind = Kind.SESSION, expires: int = LATER, intent: str = "") -> str:
    sealed = seal(
        Grant(body=body_id(bytes(16)), grant_id=uuid4().bytes, expires=expires, uses=0, kind=kind), Key(bytes(32))
    )
    caveats = [SessionIntent(intent)] if intent else []
    return narrow(sealed, SessionRole(role), *caveats) if kind is Kind.SESSION else sealed


def invitation(text: str = "", bridge_url: str = BRIDGE, **terms: Any) -> Invitation:
    return Invitation(text or grant(), "text", "crdt", bridge_url, Terms(**terms), offers_subject=True)


@pytest.fixture
def created() -> CreatedSession:
    roles: tuple[Role, ...] = ("editor", "reviewer", "observer")
    return CreatedSession(body_id(bytes(16)), "text", "crdt", {role: invitation(grant(role)) for role in roles})


def test_a_descriptor_invites_to_a_role_over_each_way() -> None:
    text = grant("reviewer", intent="review")
    found = invitation(text).descriptor()
    assert (found["mode"], found["protocol"], found["endpoint"]) == (
        "collaborate",
        "ws",
        f"ws://127.0.0.1:8787/v1/sessions/{text}",
    )
    assert found["subprotocol"] == "broker-plane.session.v1"
    assert found["collaborate"] == {
        "session_id": body_id(bytes(16)),
        "role": "reviewer",
        "intent": "review",
        "participants": [],
        "sync_protocol": "crdt",
        "blackboard_endpoint": f"{BRIDGE}/v1/sessions/{text}",
    }
    (nats,) = found["alternatives"]
    assert (nats["protocol"], nats["endpoint"]) == ("nats", f"bp.say.note.{text}")


def test_encrypted_ways_come_first_and_plain_text_does_not_leave_for_public_hosts() -> None:
    secure = invitation(bridge_url="https://bridge.example").offer().descriptors
    assert [each.protocol for each in secure] == ["wss", "nats"]
    far = invitation(bridge_url="http://bridge.example", nats_near="public")
    assert far.offer().descriptors == ()
    with pytest.raises(ConfigError, match="plain text"):
        far.descriptor()


def test_a_client_chooses_what_it_supports() -> None:
    offer = invitation().offer()
    for protocols, chosen in ((["nats"], "nats"), (["ws", "nats"], "ws"), (["https"], None)):
        found = negotiate(offer, parse_capabilities({"supportedProtocols": protocols})).descriptor
        assert (found and found.protocol) == chosen


def test_a_session_has_no_form_in_tomcps_spelling() -> None:
    with pytest.raises(WireError, match="session"):
        invitation().offer().to_wire(schema=TOMCP)


def test_the_line_of_the_command_has_everything_that_a_yjs_client_needs(created: CreatedSession) -> None:
    line = created.to_wire()
    assert set(line) == {"session_id", "descriptor", "grants", "websocket"}
    assert list(line["grants"]) == ["editor", "reviewer", "observer"]
    assert line["websocket"] == "ws://127.0.0.1:8787/v1/sessions"
    assert line["descriptor"]["endpoint"] == f"{line['websocket']}/{line['grants']['editor']}"


def test_every_spelling_of_an_address_leads_to_the_same_session(created: CreatedSession) -> None:
    text, url = created.grants["editor"], created.urls["editor"]
    descriptor = created.descriptor
    expected = SessionAddress(text, url)
    for spelling in (created, descriptor, json.dumps(descriptor), parse_descriptor(descriptor)):
        assert session_address(spelling, "") == expected
    for spelling in (text, url, f" {url}/ ", url.replace("http", "ws"), f"bp.say.edit.{text}"):
        assert session_address(spelling, BRIDGE) == expected
    assert expected.websocket == url.replace("http", "ws")


def test_a_way_is_chosen_by_what_the_address_offers(created: CreatedSession) -> None:
    text = created.grants["editor"]
    assert session_address(text, "").way("auto") == "nats"
    assert session_address(text, BRIDGE).way("auto") == "http"
    assert session_address(text, BRIDGE).way("auto", nats_only=True) == "nats"
    with pytest.raises(WireError, match="BROKER_PLANE_BRIDGE_URL"):
        session_address(text, "").way("http")
    assert session_address(created, BRIDGE).way("nats") == "nats"


def test_alternatives_for_another_grant_are_not_followed(created: CreatedSession) -> None:
    elsewhere = invitation(bridge_url="https://elsewhere.example").descriptor()
    fields = created.invitations["editor"].offer().descriptors[1].to_wire() | {"alternatives": [elsewhere]}
    assert session_address(fields, "").url == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nonsense", "no grant"),
        ("{nonsense", "neither"),
        (None, "NoneType"),
        (grant(kind=Kind.BODY), "not for a session"),
        (f"ftp://host/v1/sessions/{grant()}", "begins with"),
    ],
    ids=["no grant", "no JSON", "nothing", "a body's grant", "another protocol"],
)
def test_a_wrong_address_is_named(given: Any, said: str) -> None:
    with pytest.raises(WireError, match=said):
        session_address(given, BRIDGE)


def test_an_expired_descriptor_is_refused(created: CreatedSession) -> None:
    with pytest.raises(DescriptorExpiredError):
        session_address(created.descriptor | {"expires": "2001-01-01T00:00:00Z"}, "")
    with pytest.raises(WireError, match="mode fetch"):
        session_address(created.descriptor | {"mode": "fetch"}, "")


def test_grants_are_in_no_repr(created: CreatedSession) -> None:
    shown = repr(created) + repr(replace(session_address(created, ""), url=""))
    assert created.grants["editor"] not in shown
