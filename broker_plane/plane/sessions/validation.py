"""Validation after each merge: the validators of the policy accept the artifact, or the merge is reverted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from broker_plane.sessions.policy import Policy
from broker_plane.sessions.replicas.port import ArtifactKind, Value

MOST_REASON = 500
"""Characters of a reason that the log keeps."""


class SessionValidators(Protocol):
    """Runs validators away from the event loop."""

    async def check(self, validators: Sequence[Mapping[str, Any]]) -> None:
        """Find out whether these validators of a policy can be run here.

        Raises:
            WireError: a JSON Schema is not valid, or there is no validator of this name.
        """

    async def refusal(self, validator: Mapping[str, Any], kind: ArtifactKind, value: Value, seconds: float) -> str:
        """Why a validator refuses the artifact; empty if it accepts it. One that takes longer than `seconds`, ends
        with an error or cannot be run here refuses it.
        """

    async def close(self) -> None:
        """End the processes of validators."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which validator refused the artifact, and why."""

    validator: str
    reason: str


async def first_refusal(
    validators: SessionValidators, policy: Policy, kind: ArtifactKind, value: Value
) -> Refusal | None:
    """Run the validators of a policy in their order, and return the first refusal; None if all accept."""
    for number, validator in enumerate(policy.validators, 1):
        reason = await validators.refusal(validator, kind, value, policy.validator_seconds)
        if reason:
            return Refusal(name_of(validator, number), reason[:MOST_REASON])
    return None


def name_of(validator: Mapping[str, Any], number: int) -> str:
    """What to call a validator: its name, or `json_schema` with its title or its place in the policy."""
    if "name" in validator:
        return str(validator["name"])
    title = validator.get("json_schema", {}).get("title")
    return f"json_schema {title[:64] if isinstance(title, str) and title else number}"
