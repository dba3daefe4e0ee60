"""Policies: what a creator may give, and what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import IntentError, WireError
from broker_plane.sessions.policy import INTENTS, Intent, Policy, SessionLimits, parse_policy
from broker_plane.sessions.roles import Role


def test_an_empty_policy_has_the_defaults() -> None:
    assert parse_policy({}) == Policy()


def test_a_policy_comes_back_from_the_wire() -> None:
    policy = Policy(
        expected=("anna", "bot-1"),
        intents={"fix": Intent(5), "read": Intent(0, ("reviewer", "observer"))},
        arbitration="arbiter",
        arbiter="anna",
        leases="block",
        validators=({"json_schema": {"type": "object"}}, {"name": "spelling"}),
        limits=SessionLimits(notes=3),
    )
    assert parse_policy(policy.to_wire()) == policy


def test_an_intent_may_be_only_its_priority() -> None:
    given = {"intents": {"fix": 80, "look": {"priority": 0, "roles": ["observer"]}}}
    assert parse_policy(given).intents == {"fix": Intent(80), "look": Intent(0, ("observer",))}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"arbitrator": "anna"}, "arbitrator"),
        ({"expected": "anna"}, "expected"),
        ({"expected": ["anna", "anna"]}, "expected"),
        ({"expected": ["Ä"]}, "expected"),
        ({"expected": [""]}, "expected"),
        ({"expected": ["owner"]}, "expected"),
        ({"expected": [3]}, "expected"),
        ({"expected": ["a"] * 300}, "expected"),
        ({"intents": {}}, "intents"),
        ({"intents": []}, "intents"),
        ({"intents": {"Fix": 1}}, "intents"),
        ({"intents": {"fix": -1}}, "priority"),
        ({"intents": {"fix": 101}}, "priority"),
        ({"intents": {"fix": True}}, "priority"),
        ({"intents": {"fix": {"roles": ["editor"]}}}, "priority"),
        ({"intents": {"fix": {"priority": 1, "roles": ["owner"]}}}, "roles"),
        ({"intents": {"fix": {"priority": 1, "roles": []}}}, "roles"),
        ({"intents": {"fix": {"priority": 1, "roles": [["editor"]]}}}, "roles"),
        ({"intents": {"fix": {"priority": 1, "weight": 2}}}, "weight"),
        ({"arbitration": "vote"}, "arbitration"),
        ({"arbitration": "arbiter"}, "arbiter"),
        ({"arbiter": "anna"}, "arbiter"),
        ({"leases": "yes"}, "leases"),
        ({"validators": [{"python": "os:system"}]}, "validator"),
        ({"validators": [{"json_schema": 1}]}, "json_schema"),
        ({"validators": [{"name": ""}]}, "name"),
        ({"validators": [{"json_schema": {"maximum": 2**60}}]}, "validators"),
        ({"validator_seconds": 0}, "validator_seconds"),
        ({"validator_seconds": float("nan")}, "validator_seconds"),
        ({"anonymous": 1}, "anonymous"),
        ({"anonymous": True, "expected": ["anna"]}, "anonymous"),
        ({"limits": {"document_bytes": 0}}, "document_bytes"),
        ({"limits": {"words": 1}}, "words"),
        ({"limits": 5}, "limits"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": 1.5}, "seconds"),
        ({"audit_seconds": -1}, "audit_seconds"),
    ],
)
def test_an_invalid_member_is_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(WireError, match=named):
        parse_policy(given)


@pytest.mark.parametrize(
    ("role", "names", "intent"),
    [
        ("editor", (), "write"),
        ("owner", (), "write"),
        ("reviewer", (), "review"),
        ("observer", ("", "review"), "review"),
        ("editor", ("", "fix", "docs"), "fix"),
        ("owner", ("review",), "review"),
    ],
)
def test_an_intent_is_the_first_that_is_given_or_the_default_of_the_role(
    role: Role, names: tuple[str, ...], intent: str
) -> None:
    assert Policy().intent_of(role, *names) == intent


def test_the_default_is_the_lowest_intent_of_the_role_if_the_policy_has_not_the_usual_one() -> None:
    policy = parse_policy({"intents": {"fix": 5, "tidy": 2, "look": {"priority": 0, "roles": ["reviewer"]}}})
    assert [policy.intent_of(role) for role in ("editor", "reviewer", "observer")] == ["tidy", "look", ""]


@pytest.mark.parametrize(("role", "intent"), [("editor", "conquer"), ("reviewer", "fix"), ("observer", "security")])
def test_an_unknown_intent_and_one_of_another_role_are_refused(role: Role, intent: str) -> None:
    with pytest.raises(IntentError, match=intent):
        Policy().intent_of(role, intent)


def test_the_default_intents_can_all_be_told_apart_by_priority() -> None:
    assert len({intent.priority for intent in INTENTS.values()}) == len(INTENTS)
