"""Announcements: which protocols an agent serves and consumes, and where, as one JSON object (ToMCP). Pure.

Everybody who may search reads an announcement. So it has no grant and no credential: an endpoint is a base URL or the
name of a place, and it is refused if it contains a user, a query or a grant. Everything is bounded, because readers
list the announcements of strangers.
"""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from broker_plane.errors import RegistryError
from broker_plane.wire.descriptor import Instant, Mode, Runtime
from broker_plane.wire.exact_json import MALFORMED, dumps, loads
from broker_plane.wire.urls import redact

MAX_ENTRY_BYTES = 16 << 10
"""Maximum size of an announcement as JSON."""

MAX_SERVED = 32
MAX_CONSUMED = 64
MAX_FORMATS = 16
MIN_TTL_SECONDS, MAX_TTL_SECONDS = 3, 86_400
DEFAULT_TTL_SECONDS = 30
_MAX_NAME = 200
_MAX_ENDPOINT = 2048

# One subject token, and what the name of a NATS service may have (ADR-32).
_AGENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_INSTANCE = re.compile(r"[A-Za-z0-9_-]{22}\Z")
_PROTOCOL_ID = r"^[A-Za-z0-9][A-Za-z0-9._+/-]{0,127}(@[0-9A-Za-z.+-]{1,64})?$"
_FORMAT = r"^[!-~]+( ?; ?[!-~]+)*$"
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]*\Z")
"""No control characters, and none that change the direction of a line."""


def is_agent_id(text: str) -> bool:
    """Whether `text` has the form of an agent's id."""
    return _AGENT_ID.match(text) is not None


def _agent_id(text: str) -> str:
    if not is_agent_id(text):
        raise ValueError("use 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
    return text


def _instance(text: str) -> str:
    if not _INSTANCE.match(text):
        raise ValueError("it has 22 characters of base64url")
    return text


def _one_line(text: str) -> str:
    if not _PRINTABLE.match(text):
        raise ValueError("it has control characters")
    return text


def _endpoint(text: str) -> str:
    """A URL without user, query and fragment, or another printable text without spaces."""
    if _one_line(text) != "".join(text.split()):
        raise ValueError("it has spaces")
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("it is not a URL") from None
    if "@" in parts.netloc:
        raise ValueError("it names a user; an announcement has no credentials")
    if parts.query or parts.fragment:
        raise ValueError("it is a base URL, without query and fragment: an announcement has no credentials")
    return text


ProtocolId = Annotated[str, Field(pattern=_PROTOCOL_ID)]
"""`https`, or that of a description: `owner/name`, `owner/name@1.2.0`."""

AgentId = Annotated[str, AfterValidator(_agent_id)]


class _Member(BaseModel):
    """Frozen; unknown members are dropped; errors do not repeat values."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True)


class ServedProtocol(_Member):
    """A protocol that an agent serves. `formats` are media types or their short names; empty means that it does not
    say.
    """

    protocol_id: ProtocolId
    endpoint: Annotated[str, Field(min_length=1, max_length=_MAX_ENDPOINT), AfterValidator(_endpoint)]
    formats: tuple[Annotated[str, Field(max_length=255, pattern=_FORMAT)], ...] = Field((), max_length=MAX_FORMATS)
    modes: tuple[Mode, ...] = Field(("fetch",), min_length=1, max_length=4)


class AgentCapabilities(_Member):
    """What an agent can do as a consumer: learn protocols (Level 2), in these runtimes, and up to this size."""

    level2: bool = False
    runtimes: tuple[Runtime, ...] = Field((), max_length=3)
    max_payload_bytes: int | None = Field(None, ge=0, lt=1 << 53)


class AgentProfile(_Member):
    """What an agent says of itself. `ttl` is in seconds: without a heartbeat, the announcement is gone after it."""

    agent_id: AgentId
    name: Annotated[str, Field(max_length=_MAX_NAME), AfterValidator(_one_line)] = ""
    serves: tuple[ServedProtocol, ...] = Field((), max_length=MAX_SERVED)
    consumes: tuple[ProtocolId, ...] = Field((), max_length=MAX_CONSUMED)
    capabilities: AgentCapabilities = AgentCapabilities()
    ttl: int = Field(DEFAULT_TTL_SECONDS, ge=MIN_TTL_SECONDS, le=MAX_TTL_SECONDS)

    @model_validator(mode="after")
    def _has_no_grant(self) -> AgentProfile:
        texts = [self.name, *self.consumes]
        for served in self.serves:
            texts += [served.protocol_id, served.endpoint, *served.formats]
        if any(redact(text) != text for text in texts):
            raise ValueError("an endpoint or a name contains a grant, or a text as long as one; announce a base URL")
        return self


class AgentAnnouncement(AgentProfile):
    """An announcement as it is stored. `instance` names the process: several may announce one `agent_id`."""

    instance: Annotated[str, AfterValidator(_instance)]
    announced_at: Instant
    last_seen: Instant

    def alive(self, now: float) -> bool:
        """Whether its last heartbeat is no older than its TTL at `now`, in unix seconds."""
        return now - self.last_seen.timestamp() < self.ttl

    def to_wire(self) -> dict[str, Any]:
        """The JSON object, with ToMCP's members and `instance`."""
        return self.model_dump(mode="json", exclude_none=True)


def parse_profile(fields: Any) -> AgentProfile:
    """The profile of parsed JSON. The times and the instance of an announcement that was stored are left out.

    Raises:
        RegistryError: it is not a profile; the message names the first wrong member, never its value.
    """
    try:
        profile = AgentProfile.model_validate(fields)
    except ValidationError as error:
        raise _invalid("This cannot be announced", error) from None
    size = len(dumps(profile.model_dump(mode="json", exclude_none=True)))
    if size > MAX_ENTRY_BYTES - _TIMES_BYTES:
        raise RegistryError(f"The announcement has {size} bytes; announce fewer protocols, or shorter names")
    return profile


_TIMES_BYTES = 256
"""Room for the times and the instance."""


def parse_announcement(raw: bytes) -> AgentAnnouncement:
    """The announcement of a stored entry. Raises as `parse_profile`."""
    if len(raw) > MAX_ENTRY_BYTES:
        raise RegistryError(f"An announcement has at most {MAX_ENTRY_BYTES} bytes")
    try:
        return AgentAnnouncement.model_validate(loads(raw))
    except ValidationError as error:
        raise _invalid("This is not an announcement", error) from None
    except MALFORMED:
        raise RegistryError("This is not an announcement: it is not JSON") from None


def announcement_of(profile: AgentProfile, *, instance: str, announced: Any, seen: Any) -> AgentAnnouncement:
    """The announcement of a profile; the times are instants."""
    times = {"instance": instance, "announced_at": announced, "last_seen": seen}
    return AgentAnnouncement.model_validate(profile.model_dump() | times)


def _invalid(what: str, error: ValidationError) -> RegistryError:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    return RegistryError(f"{what}: {where}: {reason}" if where else f"{what}: {reason}")
