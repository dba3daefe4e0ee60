"""Settings: frozen, read once from the environment (prefix `BROKER_PLANE_`), units in the names or beside them.

By msgspec, which a start imports in 10 ms where pydantic takes 130 and pydantic-settings 70 more (decision 0010).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import platformdirs
from msgspec import Meta

from broker_plane.errors import ConfigError

MIB = 1 << 20
PREFIX = "BROKER_PLANE_"
_SECONDS = r"^\d+(\.\d+)?(,\d+(\.\d+)?)*\Z"


def default_data_dir() -> Path:
    """The store of this user's embedded broker, e.g. `~/.local/share/broker-plane`."""
    return Path(platformdirs.user_data_dir("broker-plane"))


class Secret:
    """A text that is shown by nothing but `get_secret_value`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(…)" if self._text else "Secret('')"

    def get_secret_value(self) -> str:
        return self._text


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be set: `load_settings(ttl=60, …)` makes one, and checks it. Nothing set gives a private broker."""

    nats_url: str = ""
    """An existing NATS (`nats://user:password@host:4222`, or a comma list); empty: the embedded one."""
    role: Literal["plane", "source", "guest"] = "plane"
    """What the user of `nats_url` may do: everything, publish only, or pull only (docs/accounts.md)."""
    guest_url: str = ""
    """For pulls: the same NATS as an asker; empty: as `nats_url`, or with the grant itself."""
    callout_password: Secret = Secret("")
    """Of the AUTH user `callout`, for a bridge."""
    callout_seed: Secret = Secret("")
    """Signs what a bridge says about grants that connect."""
    nats_creds: str = ""
    """A NATS credentials file, for `nats_url`."""
    nats_probe_password: Secret = Secret("")
    """Of the SYS user `probe`, to read the durability."""
    bridge_url: str = ""
    """Public base URL of the bridge, as consumers reach it."""
    hosts: str = ""
    """Further hosts (`host`, `host:port`; a comma list) that a bridge is known by; `*`: any."""
    cors_origins: str = ""
    """Of a bridge: origins (`https://app.example`; a comma list) whose pages may read and upload; `*`: any."""
    confirm: Literal["optional", "required"] = "optional"
    """Of a bridge: whether only a confirmation completes a counted delivery (docs/bridge.md)."""
    trusted_hosts: str = ""
    """Hosts (`host`, `host:port`; a comma list) whose URLs are followed, besides our own bridge."""
    plain_http: Literal["never", "loopback", "private"] = "loopback"
    """Up to which hosts descriptors may lead over plain text; never to public ones."""
    data_dir: Path = msgspec.field(default_factory=default_data_dir)
    """Store, state and log of the embedded broker."""
    owner: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,32}\Z")] = "local"
    """Of bodies and keys: `OBJ_bp_<owner>`."""
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,32}\Z")] = ""
    """This asker on the presigned subject; empty: random."""
    audiences: str = ""
    """Of a bridge: who a bearer token stands for, `name=sha256,…` or a file with one a line."""
    token: Secret = Secret("")
    """Bearer token of this puller, for grants with an audience; sent to our own bridge and to `token_hosts`."""
    token_hosts: str = ""
    """Further hosts (`host`, `host:port`; a comma list) that get `token`, over https or on loopback."""
    ttl: Annotated[int, Meta(ge=1, le=30 * 86_400)] = 600
    """Seconds that a body lives."""
    uses: Annotated[int, Meta(ge=0, le=65_535)] = 1
    """Completed deliveries of a grant; 0 is unlimited."""
    collect: bool = False
    """Free a body after the last use of its last grant, before it expires."""
    abstract_limit: Annotated[int, Meta(ge=0)] = 1_000
    """Abstract rows in a tool result; 0 is all."""
    inline_limit: Annotated[int, Meta(ge=1024)] = 512 * 1024
    """Bytes of a tool result above which it is published."""
    inline_most: Annotated[int, Meta(ge=0)] = 0
    """Bytes of a body that goes inline in parts, at most; 0: any does."""
    max_body_bytes: Annotated[int, Meta(ge=1)] = 64 << 30
    """Largest body that is published or pulled."""
    max_rows_inline: Annotated[int, Meta(ge=1)] = 50_000_000
    """Most rows that a list-taking consumer function gets."""
    max_memory_inline: Annotated[int, Meta(ge=1)] = 4 << 30
    """Most memory that these rows may take, in bytes, estimated as they are decoded."""
    pull_bytes: Annotated[int, Meta(ge=1)] = 1 << 30
    """Most bytes that a pull or a fetch takes into memory; larger bodies go into a file, or row by row."""
    unsized_bytes: Annotated[int, Meta(ge=1)] = 32 * MIB
    """Most bytes of an answer or a stream that does not say its size."""
    line_bytes: Annotated[int, Meta(ge=1024)] = 64 * MIB
    """Longest message that the proxy takes from a client or an upstream."""
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    """Replicas of streams that are created."""
    store_bytes: Annotated[int, Meta(ge=0)] = 0
    """Of the embedded store; 0: half of the free disk, at most 64 GiB."""
    transfer_networks: str = ""
    """Networks (`10.1.0.0/16,127.0.0.1/32`) that descriptors may lead to besides what is public."""
    transfer_directories: str = ""
    """Directories (a list with `:`) that descriptors of `fs` may read."""
    cache_bytes: Annotated[int, Meta(ge=0)] = 64 * MIB
    """Hot bodies that a bridge keeps in memory."""
    pass_seconds: Annotated[float, Meta(gt=0)] = 30
    """CPU seconds of a bridge that the looks and `where` passes of one grant may take at once, and one pass at most."""
    read_bytes: Annotated[int, Meta(ge=8 * MIB)] = 32 * MIB
    """Asked of NATS by one bridge and not yet arrived; whoever needs more waits. Far below `max_pending` of NATS."""
    audit_bytes: Annotated[int, Meta(ge=0)] = 64 * MIB
    """Kept of the audit, the newest; 0: no audit is written."""
    audit_days: Annotated[int, Meta(ge=1)] = 30
    """Days that an audit entry is kept."""
    feed_versions: Annotated[int, Meta(ge=1)] = 100
    """Of a feed, kept at most; the newest always is."""
    feed_days: Annotated[float, Meta(gt=0)] = 7
    """Days that a version of a feed is kept, but for the newest."""
    feed_bytes: Annotated[int, Meta(ge=1)] = 1 << 30
    """Of the versions of a feed that are kept, in all."""
    durables_per_grant: Annotated[int, Meta(ge=1)] = 32
    """Durables in feeds of one grant and of all that was narrowed from it."""
    durables_per_owner: Annotated[int, Meta(ge=1)] = 500
    """Durables of all grants of one owner."""
    durables_in_total: Annotated[int, Meta(ge=1)] = 1_000
    """Durables of all grants."""
    durable_days: Annotated[float, Meta(gt=0)] = 7
    """Days after which a grant's durable ends that nobody asks."""
    webhook_networks: str = ""
    """Networks (a comma list, `10.1.0.0/16`) to which webhooks may go besides public https."""
    webhook_schedule: Annotated[str, Meta(pattern=_SECONDS)] = "5,300,1800,7200,18000,36000,50400,72000,86400"
    """Seconds after each failed try of a webhook; then it is a dead letter."""
    idle_stop_seconds: Annotated[int, Meta(ge=1)] = 900
    """The embedded broker stops this long after its last use."""
    request_timeout_seconds: Annotated[float, Meta(gt=0)] = 5.0
    """For one answer of nats-server."""
    pull_timeout_seconds: Annotated[float, Meta(gt=0)] = 30.0
    """Without a byte, before a pull is tried again."""
    nats_nkey: str = ""
    """A file with the seed of a user nkey, for `nats_url`."""
    nats_ca: str = ""
    """A file with the certificates that NATS's may be signed by; empty: the system's. TLS is required with it."""
    nats_cert: str = ""
    """A file with the client certificate for NATS (PEM). TLS is required with it."""
    nats_key: str = ""
    """A file with its key; empty: it stands in the same file."""
    nats_domain: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}\Z")] = ""
    """JetStream's domain, where that of the connected server is another one (a leaf node)."""


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment, with `overrides` above it.

    Raises:
        ConfigError: a variable does not parse; the message names it.
    """
    names = Settings.__struct_fields__
    variables = {name: os.environ[PREFIX + name.upper()] for name in names if PREFIX + name.upper() in os.environ}
    try:
        return msgspec.convert({**variables, **overrides}, Settings, strict=False, dec_hook=_of_text)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        raise ConfigError(f"{PREFIX}{place.rstrip('`').upper()}: {problem}" if place else problem) from error


def _of_text(kind: Any, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        return kind(value)
    raise TypeError(f"Expected text, got `{type(value).__name__}`")
