"""The options of `session create` as a policy."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from broker_plane.cli.session_options import policy_of
from broker_plane.sessions.policy import parse_policy


def test_options_make_a_policy(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    given = policy_of(
        ["security=90", "review=0:reviewer,editor"],
        ["anna", "bert"],
        "anna",
        [str(schema), "spelling"],
        "block",
        anonymous=False,
    )
    policy = parse_policy(given)
    assert {name: (intent.priority, intent.roles) for name, intent in policy.intents.items()} == {
        "security": (90, ("editor",)),
        "review": (0, ("reviewer", "editor")),
    }
    assert (policy.expected, policy.arbitration, policy.arbiter, policy.leases) == (
        ("anna", "bert"),
        "arbiter",
        "anna",
        "block",
    )
    assert [dict(each) for each in policy.validators] == [{"json_schema": {"type": "object"}}, {"name": "spelling"}]


def test_without_options_it_is_the_usual_policy() -> None:
    assert parse_policy(policy_of([], [], "", [], "advise", anonymous=False)) == parse_policy({})
    assert parse_policy(policy_of([], [], "owner", [], "advise", anonymous=False)).arbitration == "owner"


@pytest.mark.parametrize("intent", ["security", "=3", "security=high", "security="])
def test_an_intent_without_a_priority_is_refused(intent: str) -> None:
    with pytest.raises(typer.BadParameter, match="NAME=PRIORITY"):
        policy_of([intent], [], "", [], "advise", anonymous=False)


def test_a_schema_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{")
    for path, said in ((wrong, "is not JSON"), (tmp_path / "absent.json", "cannot be read")):
        with pytest.raises(typer.BadParameter, match=said):
            policy_of([], [], "", [str(path)], "advise", anonymous=False)
