"""The transfer descriptor (SEP-2433): how one body, feed, upload or session is transferred, as one JSON object. Pure.

Unknown members of a descriptor that was read are kept and written again. Everything else is checked at the door: a
checksum that cannot be verified, an expiry without a time zone, or a header that smuggles another one is an error and
never ignored. Endpoint and credential appear in no repr and in no error.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from broker_plane.errors import WireError
from broker_plane.wire.nesting import MAX_DEPTH, levels

V1: Final = "mcp/transfer-descriptor/v1"
"""SEP-2433's name of its schema."""
TOMCP: Final = "tomcp/v0.1"
"""ToMCP's name of it, the only spelling that its own parser accepts."""

Schema = Literal["mcp/transfer-descriptor/v1", "tomcp/v0.1"]
Mode = Literal["fetch", "push", "stream", "collaborate"]
Compression = Literal["none", "gzip", "zstd"]
Fallback = Literal["inline", "error"]
Tier = Literal["high", "mid", "full"]
Runtime = Literal["node", "python", "shell"]
Role = Literal["editor", "reviewer", "observer"]

PROTOCOL_NAME: Final = r"^[a-z][a-z0-9+.-]*$"
_TOKEN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"  # noqa: S105  # RFC 9110, section 5.6.2: a header's name
_ONE_LINE = r"^[^\x00-\x1f\x7f]*$"

CONNECTION_HEADERS: Final = frozenset(
    (
        *("connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    )
)
"""Headers that say where a request goes and where it ends (RFC 9110, section 7.6.1, and RFC 9112)."""

_SENT = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
"""A value of a header that every HTTP implementation sends as it is."""

_MAX_CREDENTIAL = 16 << 10
"""Characters of a credential; servers take headers and URLs of about half of this."""


def _uuid(text: str) -> str:
    return str(UUID(text))


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _lower(text: str) -> str:
    return text.lower()


TransferId = Annotated[str, Field(json_schema_extra={"format": "uuid"}), AfterValidator(_uuid)]
Instant = Annotated[AwareDatetime, PlainSerializer(_instant, return_type=str, when_used="json")]


class _Part(BaseModel):
    """Frozen; unknown members are kept; errors do not repeat invalid values."""

    model_config = ConfigDict(
        frozen=True, extra="allow", hide_input_in_errors=True, populate_by_name=True, defer_build=True
    )


class Auth(_Part):
    """The credential that is sent with each request to the endpoint; `value` is a secret.

    `header` sends `value` in `header_name` (default `Authorization`, unchanged), `query` in the parameter `query_param`
    (default `token`), `hmac` signs with it. A presigned endpoint has none.
    """

    type: Literal["bearer", "header", "query", "hmac", "none"]
    value: str | None = Field(None, pattern=_ONE_LINE, repr=False)
    header_name: str | None = Field(None, pattern=_TOKEN)
    query_param: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _has_value(self) -> Self:
        if self.type != "none" and not self.value:
            raise ValueError(f"auth of type {self.type} has no value")
        if len(self.value or "") > _MAX_CREDENTIAL:
            raise ValueError(f"the value of auth has more than {_MAX_CREDENTIAL} characters")
        if self.type in ("bearer", "header") and not _SENT.fullmatch(self.value or ""):
            raise ValueError("a header cannot carry the value of auth: it has characters other than printable ASCII")
        if (self.header_name or "").lower() in CONNECTION_HEADERS:
            raise ValueError("the header of auth is one of the connection, such as Host or Content-Length")
        return self


class Description(_Part):
    """What a model reads at Level 2 to write the transfer code itself; `tier` says how much of it there is."""

    tier: Tier
    text: str
    examples: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()


class Sandbox(_Part):
    """What Level 2 code may use. The client's own list of hosts narrows it further."""

    runtime: Runtime
    timeout_ms: int = Field(30_000, ge=1)
    allowed_hosts: tuple[str, ...] = ()
    allowed_ports: tuple[Annotated[int, Field(ge=1, le=65_535)], ...] = ()


class Stream(_Part):
    """A live sequence: whether readers can reconnect, how much may be in flight, and what ends it.

    `buffer_size` is in items (rows, or chunks of bytes); `end_signal` is the text of the last message or event.
    """

    reconnect: bool = False
    buffer_size: int | None = Field(None, ge=1)
    end_signal: str | None = None


class ListedParticipant(_Part):
    """A participant of a session, as an invitation lists it."""

    id: str
    role: Role
    type: Literal["human", "agent"]


class Collaborate(_Part):
    """An invitation to a session over one artifact, for one role."""

    session_id: str
    role: Role
    intent: str | None = None
    participants: tuple[ListedParticipant, ...] = ()
    sync_protocol: Literal["crdt", "ot", "patch"] | None = None
    blackboard_endpoint: str | None = Field(None, repr=False)


class Descriptor(_Part):
    """One way of one transfer.

    `transfer_id` is a UUID (in ours, the grant id), `format` a media type, `size_hint` is in bytes before compression,
    `expires` an instant with its time zone, `checksum` `sha256:` and 64 characters of hex, of the bytes before
    compression.
    """

    schema_: Schema = Field(V1, alias="$schema")
    transfer_id: TransferId
    mode: Mode
    protocol: str = Field(pattern=PROTOCOL_NAME)
    endpoint: str = Field(min_length=1, pattern=_ONE_LINE, repr=False)
    format: str = Field(min_length=1, pattern=_ONE_LINE)
    method: str | None = Field(None, pattern=_TOKEN)
    auth: Auth | None = None
    compression: Compression | None = None
    size_hint: int | None = Field(None, ge=0)
    expires: Instant | None = None
    checksum: Annotated[str, Field(pattern=r"^sha256:[0-9a-fA-F]{64}$"), AfterValidator(_lower)] | None = None
    fallback: Fallback | None = None
    description: Description | None = None
    sandbox: Sandbox | None = None
    stream: Stream | None = None
    collaborate: Collaborate | None = None

    @model_validator(mode="after")
    def _invites(self) -> Self:
        if self.mode == "collaborate" and self.collaborate is None:
            raise ValueError("mode collaborate needs collaborate, with the session and a role")
        return self

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes in hex; empty if the descriptor has none."""
        return (self.checksum or "").removeprefix("sha256:")

    @property
    def size(self) -> int | None:
        """The exact size in bytes; None if it is not known. ToMCP's `size_hint` is an estimate, unless a checksum says
        that somebody measured the bytes.
        """
        return self.size_hint if self.schema_ == V1 or self.checksum else None

    def live(self, now: float) -> bool:
        """Whether it may still be used at `now`, in unix seconds."""
        return self.expires is None or now < self.expires.timestamp()

    def to_wire(self, schema: Schema | None = None) -> dict[str, Any]:
        """The JSON object, including unknown members that were read; `schema` writes the other spelling.

        Raises:
            WireError: ToMCP has no form for it (collaboration, the runtime `shell`).
        """
        fields = self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        fields = {"$schema": schema or self.schema_, **{name: fields[name] for name in fields if name != "$schema"}}
        return _for_tomcp(fields) if schema == TOMCP else fields


def parse_descriptor(fields: Any) -> Descriptor:
    """The descriptor of parsed JSON.

    Raises:
        WireError: it is not a descriptor; the message names the first wrong member, never its value.
    """
    if isinstance(fields, dict) and "$schema" not in fields:
        raise WireError(f"This is not a transfer descriptor: $schema is missing, as in {V1}")
    if any(depth > MAX_DEPTH for depth, _ in enumerate(levels([fields]))):
        raise WireError(f"This is not a transfer descriptor: it is nested in more than {MAX_DEPTH} levels")
    try:
        return Descriptor.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WireError(f"This is not a transfer descriptor: {where}: {first['msg']}".replace(": : ", ": ")) from None


def _for_tomcp(fields: dict[str, Any]) -> dict[str, Any]:
    """What ToMCP's parser accepts: it knows neither the auth `none` nor a sandbox without hosts."""
    if fields["mode"] == "collaborate" or fields.get("sandbox", {}).get("runtime") == "shell":
        raise WireError(f"A descriptor of a session, or of the runtime shell, has no form in {TOMCP}")
    if fields.get("auth", {}).get("type") == "none":
        del fields["auth"]
    if "sandbox" in fields:
        fields["sandbox"] = {"allowed_hosts": [], **fields["sandbox"]}
    return fields
