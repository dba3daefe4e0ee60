"""docs/sessions.md names every operation, kind of entry, limit, member of a policy and error of the code."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import get_args

import pytest

from broker_plane import errors
from broker_plane.sessions.entries import EntryKind
from broker_plane.sessions.policy import Policy, SessionLimits
from broker_plane.sessions.requests import NOTE_TYPES
from broker_plane.sessions.roles import OPERATIONS
from docs_build import session_tables
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "sessions.md").read_text(encoding="utf-8")


def rows_of(heading: str) -> list[str]:
    """The words in code of the first column of the first table after a heading with this id."""
    table = PAGE.split(f"{{#{heading}}}", 1)[1]
    body = table.split("\n|---", 1)[1].split("\n\n", 1)[0]
    lines = [line for line in body.splitlines() if line.startswith("| `")]
    return [name for line in lines for name in re.findall(r"`([\w.]+)`", line.split("|")[1])]


def test_the_tables_of_roles_and_intents_are_those_of_the_code() -> None:
    assert session_tables.filled(PAGE) == PAGE, "run: python -m docs_build"


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("requests", set(OPERATIONS) - {"hear"}),
        ("entries", set(get_args(EntryKind))),
        ("limits", {each.name for each in fields(SessionLimits)}),
        ("policy", {each.name for each in fields(Policy)}),
    ],
)
def test_a_table_has_a_row_for_each_name(heading: str, expected: set[str]) -> None:
    found = rows_of(heading)
    assert sorted(found) == sorted(set(found))
    assert set(found) == expected


def test_the_limits_have_the_defaults_of_the_code() -> None:
    for limit in fields(SessionLimits):
        assert f"| `{limit.name}` | {limit.default} |" in PAGE


def test_every_error_of_sessions_is_in_the_table_of_errors() -> None:
    codes = {
        error.code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.SessionError) and error is not errors.SessionError
    }
    assert codes <= set(rows_of("errors"))


def test_the_types_of_notes_are_those_of_the_code() -> None:
    line = PAGE.split("{#notes}", 1)[1].split("\n\n", 2)[1]
    assert set(re.findall(r"`(\w+)`", line)) >= {*NOTE_TYPES}
