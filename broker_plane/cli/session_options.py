"""The policy of a new session, out of the options of `session create`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from broker_plane.wire.exact_json import MALFORMED, loads


def policy_of(
    intents: Sequence[str],
    expected: Sequence[str],
    arbiter: str,
    validators: Sequence[str],
    leases: str,
    *,
    anonymous: bool,
) -> dict[str, Any]:
    """The members of the policy that the options name; the session checks their values.

    Raises:
        typer.BadParameter: an option cannot be read.
    """
    policy: dict[str, Any] = {"leases": leases, "anonymous": anonymous}
    if intents:
        policy["intents"] = dict(map(_intent, intents))
    if expected:
        policy["expected"] = list(expected)
    if arbiter:
        policy |= {"arbitration": "owner"} if arbiter == "owner" else {"arbitration": "arbiter", "arbiter": arbiter}
    if validators:
        policy["validators"] = [_validator(text) for text in validators]
    return policy


def _intent(text: str) -> tuple[str, dict[str, Any]]:
    """`security=90`, or `review=0:reviewer,editor` with the roles that may have it."""
    name, _, given = text.partition("=")
    priority, _, roles = given.partition(":")
    if not name or not priority.strip().isdecimal():
        raise typer.BadParameter(f"--intent must be NAME=PRIORITY, such as security=90, not {text!r:.60}")
    found: dict[str, Any] = {"priority": int(priority)}
    if roles:
        found["roles"] = [role.strip() for role in roles.split(",")]
    return name.strip(), found


def _validator(text: str) -> dict[str, Any]:
    """A file with a JSON Schema, else the name of a validator of the bridge."""
    if not text.endswith(".json"):
        return {"name": text}
    try:
        return {"json_schema": loads(Path(text).read_bytes())}
    except OSError as error:
        raise typer.BadParameter(f"--validator: {text} cannot be read: {error.strerror}") from None
    except MALFORMED:
        raise typer.BadParameter(f"--validator: {text} is not JSON") from None
