"""Settings: frozen, read once from the environment (prefix `BROKER_PLANE_`), units in the names or beside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from broker_plane.errors import ConfigError

MIB = 1 << 20
PREFIX = "BROKER_PLANE_"


def default_data_dir() -> Path:
    """The store of this user's embedded broker, e.g. `~/.local/share/broker-plane`."""
    return Path(platformdirs.user_data_dir("broker-plane"))


class Settings(BaseModel):
    """What can be set: `load_settings` reads it. Nothing set gives a private broker for this user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nats_url: str = Field(
        "", description="An existing NATS (`nats://user:password@host:4222`); empty: the embedded one"
    )
    role: Literal["plane", "source", "guest"] = Field(
        "plane",
        description="What the user of `nats_url` may do: everything, publish only, or pull only (docs/accounts.md)",
    )
    guest_url: str = Field(
        "", description="For pulls: the same NATS as an asker; empty: as `nats_url`, or with the grant itself"
    )
    callout_password: SecretStr = Field(SecretStr(""), description="Of the AUTH user `callout`, for a bridge")
    callout_seed: SecretStr = Field(SecretStr(""), description="Signs what a bridge says about grants that connect")
    nats_creds: str = Field("", description="A NATS credentials file, for `nats_url`")
    nats_probe_password: SecretStr = Field(SecretStr(""), description="Of the SYS user `probe`, to read the durability")
    bridge_url: str = Field("", description="Public base URL of the bridge, as consumers reach it")
    trusted_hosts: str = Field("", description="Hosts (`host`, `host:port`; a comma list) whose URLs are followed")
    plain_http: Literal["never", "loopback", "private"] = Field(
        "loopback", description="Up to which hosts descriptors may lead over plain text; never to public ones"
    )
    data_dir: Path = Field(default_factory=default_data_dir, description="Store, state and log of the embedded broker")
    owner: str = Field(
        "local",
        pattern=r"^[a-z0-9_-]{1,32}$",
        description="Of bodies and keys: `OBJ_bp_<owner>`",
    )
    name: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_-]{0,32}$",
        description="This asker on the presigned subject; empty: random",
    )

    audiences: str = Field(
        "", description="Of a bridge: who a bearer token stands for, `name=sha256,…` or a file with one a line"
    )
    token: SecretStr = Field(SecretStr(""), description="Bearer token of this puller, for grants with an audience")

    ttl: int = Field(600, ge=1, le=30 * 86_400, description="Seconds that a body lives")
    uses: int = Field(1, ge=0, le=65_535, description="Completed deliveries of a grant; 0 is unlimited")
    collect: bool = Field(False, description="Free a body after the last use of its last grant, before it expires")
    abstract_limit: int = Field(1_000, ge=0, description="Abstract rows in a tool result; 0 is all")
    inline_limit: int = Field(512 * 1024, ge=1024, description="Bytes of a tool result above which it is published")
    inline_most: int = Field(0, ge=0, description="Bytes of a body that goes inline in parts, at most; 0: any does")
    max_body_bytes: int = Field(64 << 30, ge=1, description="Largest body that is published or pulled")
    max_rows_inline: int = Field(50_000_000, ge=1, description="Most rows that a list-taking consumer function gets")
    replicas: int = Field(1, ge=1, le=5, description="Replicas of streams that are created")
    store_bytes: int = Field(0, ge=0, description="Of the embedded store; 0: half of the free disk, at most 64 GiB")
    transfer_networks: str = Field(
        "", description="Networks (`10.1.0.0/16,127.0.0.1/32`) that descriptors may lead to besides what is public"
    )
    transfer_directories: str = Field("", description="Directories (a list with `:`) that descriptors of `fs` may read")
    cache_bytes: int = Field(64 * MIB, ge=0, description="Hot bodies that a bridge keeps in memory")
    audit_bytes: int = Field(64 * MIB, ge=0, description="Kept of the audit, the newest; 0: no audit is written")
    audit_days: int = Field(30, ge=1, description="Days that an audit entry is kept")
    feed_versions: int = Field(100, ge=1, description="Of a feed, kept at most; the newest always is")
    feed_days: float = Field(7, gt=0, description="Days that a version of a feed is kept, but for the newest")
    feed_bytes: int = Field(1 << 30, ge=1, description="Of the versions of a feed that are kept, in all")
    webhook_networks: str = Field(
        "", description="Networks (a comma list, `10.1.0.0/16`) to which webhooks may go besides public https"
    )
    webhook_schedule: str = Field(
        "5,300,1800,7200,18000,36000,50400,72000,86400",
        pattern=r"^\d+(\.\d+)?(,\d+(\.\d+)?)*$",
        description="Seconds after each failed try of a webhook; then it is a dead letter",
    )
    idle_stop_seconds: int = Field(900, ge=1, description="The embedded broker stops this long after its last use")
    request_timeout_seconds: float = Field(5.0, gt=0, description="For one answer of nats-server")
    pull_timeout_seconds: float = Field(30.0, gt=0, description="Without a byte, before a pull is tried again")


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment, with `overrides` above it.

    Raises:
        ConfigError: a variable does not parse; the message names it.
    """
    # Not pydantic-settings, whose import takes 70 ms of every start: no variable here is more than a scalar.
    variables = {
        name: os.environ[PREFIX + name.upper()] for name in Settings.model_fields if PREFIX + name.upper() in os.environ
    }
    try:
        return Settings.model_validate({**variables, **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(f"{name}: {first['msg']}") from error
