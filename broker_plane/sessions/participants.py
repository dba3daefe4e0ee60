"""The participants of a session and their names. Pure."""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from broker_plane.errors import WireError
from broker_plane.sessions.roles import Role
from broker_plane.wire.names import asker_of

_DIGITS: Final = 12
"""Of five bits each: whoever narrows a grant, or tries names, billions of times must not find the id of another one."""

ParticipantType = Literal["agent", "human"]

OWNER_ID: Final = "owner"
PLANE_ID: Final = "plane"
"""The participant of entries that no participant asked for: a failed validator's revert, a lease that a closed
connection gave up."""

ANONYMOUS_NAME: Final = "anonymous"
_NAME = re.compile(r"[a-z0-9_.-]{1,32}\Z")


@dataclass(frozen=True, slots=True)
class Participant:
    """One participant, as its grant and its request to join describe it."""

    id: str
    name: str
    role: Role
    intent: str = ""
    """The intent of its grant, or the one that it joined with; empty if it has not said."""
    type: ParticipantType = "agent"
    verified: bool = False
    """Whether the grant fixes the name; otherwise it is what the participant calls itself."""
    grant: str = field(default="", repr=False, compare=False)
    """The id of its grant, which all grants that are narrowed from it share; empty if it has none."""

    @property
    def is_owner(self) -> bool:
        return self.role == "owner"


OWNER: Final = Participant(OWNER_ID, OWNER_ID, "owner", verified=True)


def parse_name(text: object) -> str:
    """The name that a participant calls itself, in lower case; `anonymous` for an empty one or None.

    Raises:
        WireError: it is not 1 to 32 characters of a-z, 0-9, _, . and -, or it is reserved.
    """
    if text is None or text == "":
        return ANONYMOUS_NAME
    name = text.lower() if isinstance(text, str) else ""
    if not _NAME.match(name):
        raise WireError("`name` must be 1 to 32 characters of a-z, 0-9, _, . and -")
    if name in (OWNER_ID, PLANE_ID):
        raise WireError(f"The name {name} is reserved; choose another `name`")
    return name


def participant_id(name: str, grant: str) -> str:
    """The id of the holder of `grant` who is called `name`; both together identify a participant."""
    return f"{name}-{asker_of(grant)[:_DIGITS]}"


def of_one_grant(first: str, second: str) -> bool:
    """Whether two ids are of holders of one grant. Pseudonyms do not say that, so only equal ones are."""
    return first == second or (not first.startswith("p-") and first.rpartition("-")[2] == second.rpartition("-")[2])


def hidden(who: Participant, secret: str) -> Participant:
    """`who` under the pseudonym that an anonymous session shows. The owner is not hidden.

    `secret` is the session's: with it, whoever shares a grant could try names until one has a pseudonym that is shown.
    """
    if who.is_owner:
        return who
    digest = hmac.digest(secret.encode(), who.id.encode(), "sha256")
    pseudonym = f"p-{b32encode(digest).decode()[:_DIGITS].lower()}"
    return replace(who, id=pseudonym, name=pseudonym, verified=False)
