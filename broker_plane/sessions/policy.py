"""The policy of a session: fixed when it is created, part of its first entry. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final, Literal

from broker_plane.errors import IntentError, WireError
from broker_plane.sessions.members import Members, check_json
from broker_plane.sessions.participants import parse_name
from broker_plane.sessions.roles import ROLES, Role

Arbitration = Literal["arbiter", "owner", "record"]
"""The decider of conflicts: the participant named `arbiter`, the owner, or any editor later (record-and-wait)."""


@dataclass(frozen=True, slots=True)
class Intent:
    """Why somebody edits. Of two overlapping edits the one with the higher `priority` wins; equal ones conflict."""

    priority: int
    roles: tuple[Role, ...] = ("editor",)


INTENTS: Final[Mapping[str, Intent]] = MappingProxyType(
    {
        "security": Intent(90),
        "fix": Intent(80),
        "performance": Intent(70),
        "refactor": Intent(60),
        "enrich": Intent(50),
        "extract": Intent(40),
        "write": Intent(30),
        "docs": Intent(20),
        "format": Intent(10),
        "review": Intent(0, ("reviewer", "observer", "editor")),
    }
)
"""The intents of a session whose policy names none. `write` is that of an editor who gives none, `review` of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Bounds of a session; what exceeds one is a typed error and changes nothing."""

    document_bytes: int = 4 << 20
    change_bytes: int = 256 << 10
    operations_per_second: int = 200
    """Of one participant, over any second; a burst of twice as many is allowed."""
    participants: int = 2_000
    entries: int = 1_000_000
    notes: int = 10_000
    """Of one participant a quarter of them and of their bytes, of all holders of one grant the half."""
    notes_bytes: int = 2 << 20
    """Of the texts of all notes, in UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a session works."""

    expected: tuple[str, ...] = ()
    """Names of participants; when all have confirmed, the session closes by itself. Empty: the owner closes it."""
    intents: Mapping[str, Intent] = field(default_factory=lambda: INTENTS)
    arbitration: Arbitration = "record"
    arbiter: str = ""
    """The name of the participant who decides, for the arbitration `arbiter`."""
    leases: Literal["advise", "block"] = "advise"
    validators: tuple[Mapping[str, Any], ...] = ()
    """Run after each merge: `{"json_schema": {…}}`, or `{"name": …}` of the setting BROKER_PLANE_SESSION_VALIDATORS."""
    validator_seconds: float = 10.0
    anonymous: bool = False
    """Whether the log shows participants by pseudonyms only."""
    limits: SessionLimits = field(default_factory=SessionLimits)
    seconds: int = 86_400
    """How long the session can be used."""
    audit_seconds: int = 7 * 86_400
    """How long its log is kept after that."""

    def to_wire(self) -> dict[str, Any]:
        """As a map for msgpack and JSON."""
        return {
            "expected": list(self.expected),
            "intents": {
                name: {"priority": intent.priority, "roles": list(intent.roles)}
                for name, intent in self.intents.items()
            },
            "arbitration": self.arbitration,
            "arbiter": self.arbiter,
            "leases": self.leases,
            "validators": [dict(each) for each in self.validators],
            "validator_seconds": self.validator_seconds,
            "anonymous": self.anonymous,
            "limits": asdict(self.limits),
            "seconds": self.seconds,
            "audit_seconds": self.audit_seconds,
        }

    def intent_of(self, role: Role, *names: str) -> str:
        """The first of `names` that is not empty, or else the default of the role.

        An editor writes with `write` and others act with `review`; where a policy has neither, the default is the
        intent of the lowest priority that the role may have, and empty if there is none.

        Raises:
            IntentError: the policy does not have it, or not for this role.
        """
        allowed = [name for name, intent in self.intents.items() if role == "owner" or role in intent.roles]
        chosen = next((name for name in names if name), None)
        if chosen is None:
            usual = "write" if role in ("editor", "owner") else "review"
            return usual if usual in allowed else min(allowed, key=lambda name: self.intents[name].priority, default="")
        if chosen not in self.intents:
            raise IntentError(f"The session has no intent {chosen[:40]!r}; it has {', '.join(self.intents)}")
        if chosen not in allowed:
            raise IntentError(f"The role {role} may not have the intent {chosen}; it may have {', '.join(allowed)}")
        return chosen

    def priority(self, intent: str) -> int:
        """The priority of an intent; below all others for one that the policy does not have."""
        found = self.intents.get(intent)
        return -1 if found is None else found.priority


MOST_NAMES: Final = 256
"""Maximum number of expected participants, and of intents."""

MOST_VALIDATORS: Final = 16
MOST_SECONDS: Final = 366 * 86_400
_INTENT = re.compile(r"[a-z][a-z0-9_.-]{0,31}\Z")
_VALIDATORS = ("json_schema", "name")


def parse_policy(given: Mapping[str, Any]) -> Policy:
    """The policy that `to_wire` wrote, or that a creator gave; members that are missing have their defaults.

    An intent is `{"priority": 0 to 100, "roles": [...]}` or only its priority.

    Raises:
        WireError: a member is unknown or not valid; the message names it.
    """
    members = Members(given, "The policy")
    default = Policy()
    policy = Policy(
        expected=tuple(_parse_name(each, "expected") for each in members.items("expected", most=MOST_NAMES)),
        intents=_parse_intents(members.any("intents", None)),
        arbitration=members.choice("arbitration", ("arbiter", "owner", "record"), default.arbitration),
        arbiter=_parse_name(members.any("arbiter", "") or "", "arbiter"),
        leases=members.choice("leases", ("advise", "block"), default.leases),
        validators=tuple(_parse_validator(each) for each in members.items("validators", most=MOST_VALIDATORS)),
        validator_seconds=members.number("validator_seconds", default.validator_seconds, least=0.1, most=300),
        anonymous=members.flag("anonymous", default.anonymous),
        limits=_parse_limits(members.any("limits", {})),
        seconds=members.integer("seconds", default.seconds, least=1, most=MOST_SECONDS),
        audit_seconds=members.integer("audit_seconds", default.audit_seconds, most=MOST_SECONDS),
    )
    members.finish()
    _check_names(policy)
    return policy


def _check_names(policy: Policy) -> None:
    """Raise WireError where names and arbitration do not fit together."""
    if len(set(policy.expected)) < len(policy.expected):
        raise WireError("`expected` of the policy names a participant twice")
    if (policy.arbitration == "arbiter") != bool(policy.arbiter):
        raise WireError("The policy needs `arbiter`, the name of a participant, exactly for the arbitration `arbiter`")
    if policy.anonymous and (policy.expected or policy.arbiter):
        raise WireError("An anonymous session cannot name participants; leave out `expected` and `arbiter`")


def _parse_name(value: object, member: str) -> str:
    if value == "" and member == "arbiter":
        return ""
    try:
        name = parse_name(value)
    except WireError as error:
        raise WireError(f"`{member}` of the policy must have names of participants: {error}") from error
    if value is None or value == "":
        raise WireError(f"`{member}` of the policy has an empty name")
    return name


def _parse_intents(value: object) -> Mapping[str, Intent]:
    if value is None:
        return INTENTS
    if not isinstance(value, Mapping) or not value or len(value) > MOST_NAMES:
        raise WireError(f"`intents` of the policy must be an object with 1 to {MOST_NAMES} intents")
    return MappingProxyType({_intent_name(name): _parse_intent(name, given) for name, given in value.items()})


def _intent_name(name: object) -> str:
    if not isinstance(name, str) or not _INTENT.match(name):
        raise WireError("The names in `intents` must be 1 to 32 characters of a-z, 0-9, _, . and -, and start with a-z")
    return name


def _parse_intent(name: str, given: object) -> Intent:
    members = Members(given if isinstance(given, Mapping) else {"priority": given}, f"The intent {name}")
    priority = members.integer("priority", most=100)
    roles = members.items("roles", most=len(ROLES)) if members.has("roles") else ("editor",)
    members.finish()
    if not roles or not set(map(str, roles)) <= set(ROLES[:-1]) or not all(isinstance(each, str) for each in roles):
        raise WireError(f"`roles` of the intent {name} must have some of {', '.join(ROLES[:-1])}")
    return Intent(priority, roles)


def _parse_validator(given: object) -> Mapping[str, Any]:
    """One validator; which names there are is known to the bridge that runs them."""
    if not isinstance(given, Mapping) or len(given) != 1 or next(iter(given)) not in _VALIDATORS:
        raise WireError('A validator of the policy must be {"json_schema": {...}} or {"name": "..."}')
    ((kind, value),) = given.items()
    if not isinstance(value, Mapping if kind == "json_schema" else str) or not value:
        raise WireError(f"`{kind}` of a validator must be {'a schema' if kind == 'json_schema' else 'a name'}")
    check_json(value, "validators")
    return MappingProxyType({kind: value})


def _parse_limits(given: object) -> SessionLimits:
    if isinstance(given, SessionLimits):
        return given
    members = Members(given, "`limits` of the policy")
    default = SessionLimits()
    found = {
        each.name: members.integer(each.name, getattr(default, each.name), least=1) for each in fields(SessionLimits)
    }
    members.finish()
    return SessionLimits(**found)
