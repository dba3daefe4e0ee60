"""Settings: frozen, read once from the environment (prefix `BROKER_PLANE_`), units in the names or beside them.

By msgspec, which a start imports in 10 ms where pydantic takes 130 and pydantic-settings 70 more (decision 0010).
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import platformdirs
from msgspec import Meta

from broker_plane.environment import PREFIX, given, read, read_http_url, read_path, read_paths, warn_of_unknown
from broker_plane.errors import ConfigError
from broker_plane.units import parse_size, parse_time, parse_whole_time

MIB = 1 << 20
MOST_BYTES = 1 << 60
"""NATS counts bytes in 64 bits with a sign."""
MOST_SECONDS = 366 * 86_400
MOST_DAYS = 36_500
MOST_COUNT = 1 << 31

_SIZE = {"reader": parse_size, "unit": "bytes"}
_TIME = {"reader": parse_time, "unit": "seconds"}
_WHOLE_TIME = {"reader": parse_whole_time, "unit": "seconds"}
_DAYS = {"reader": partial(parse_time, per=86_400), "unit": "days"}
_WHOLE_DAYS = {"reader": partial(parse_whole_time, per=86_400), "unit": "days"}
_PATH = Meta(extra={"reader": read_path})
_PATHS = Meta(extra={"reader": read_paths})


def default_data_dir() -> Path:
    """The store of this user's embedded broker, e.g. `~/.local/share/broker-plane`.

    It begins with a literal `~` for a user without a home directory, whom only an embedded broker needs to tell.
    """
    try:
        return Path(platformdirs.user_data_dir("broker-plane"))
    except RuntimeError:
        return Path("~/.local/share/broker-plane")


def _audiences(text: str) -> str:
    return text if "=" in text else read_path(text)


def read_schedule(text: str) -> str:
    """A comma list of times, as a comma list of seconds."""
    parts = [part.strip() for part in text.split(",")]
    seconds = [parse_time(part) for part in parts]
    if not all(0 <= each <= MOST_SECONDS for each in seconds):
        raise ValueError(f"each time is 0 to {MOST_SECONDS} seconds")
    return ",".join(f"{each:.10g}" for each in seconds)


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
    nats_creds: Annotated[str, _PATH] = ""
    """A NATS credentials file, for `nats_url`."""
    nats_probe_password: Secret = Secret("")
    """Of the SYS user `probe`, to read the durability."""
    bridge_url: Annotated[str, Meta(extra={"reader": read_http_url})] = ""
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
    owner: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,32}\Z", description="1 to 32 of a-z, 0-9, _ and -")] = "local"
    """Of bodies and keys: `OBJ_bp_<owner>`."""
    prefix: Annotated[str, Meta(pattern=r"^[a-z0-9]{1,16}\Z", description="1 to 16 of a-z and 0-9")] = "bp"
    """Prefix of all streams, buckets and subjects: planes with different prefixes can share a NATS account."""
    name: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_-]{0,32}\Z", description="at most 32 of A-Z, a-z, 0-9, _ and -")
    ] = ""
    """This asker on the presigned subject; empty: random."""
    audiences: Annotated[str, Meta(extra={"reader": _audiences, "lines": True})] = ""
    """Of a bridge: who a bearer token stands for, `name=sha256,…` or a file with one a line."""
    token: Secret = Secret("")
    """Bearer token of this puller, for grants with an audience; sent to our own bridge and to `token_hosts`."""
    token_hosts: str = ""
    """Further hosts (`host`, `host:port`; a comma list) that get `token`, over https or on loopback."""
    ttl: Annotated[int, Meta(ge=1, le=30 * 86_400, extra=_WHOLE_TIME)] = 600
    """Seconds that a body lives."""
    uses: Annotated[int, Meta(ge=0, le=65_535)] = 1
    """Completed deliveries of a grant; 0 is unlimited."""
    collect: bool = False
    """Free a body after the last use of its last grant, before it expires."""
    abstract_limit: Annotated[int, Meta(ge=0, le=MOST_COUNT)] = 1_000
    """Abstract rows in a tool result; 0 is all."""
    inline_limit: Annotated[int, Meta(ge=1024, le=MOST_BYTES, extra=_SIZE)] = 512 * 1024
    """Bytes of a tool result above which it is published."""
    inline_most: Annotated[int, Meta(ge=0, le=MOST_BYTES, extra=_SIZE)] = 0
    """Bytes of a body that goes inline in parts, at most; 0: any does."""
    max_body_bytes: Annotated[int, Meta(ge=1, le=MOST_BYTES, extra=_SIZE)] = 64 << 30
    """Largest body that is published or pulled."""
    max_rows_inline: Annotated[int, Meta(ge=1, le=MOST_COUNT)] = 50_000_000
    """Most rows that a list-taking consumer function gets."""
    max_memory_inline: Annotated[int, Meta(ge=1, le=MOST_BYTES, extra=_SIZE)] = 4 << 30
    """Most memory that these rows may take, in bytes, estimated as they are decoded."""
    pull_bytes: Annotated[int, Meta(ge=1, le=MOST_BYTES, extra=_SIZE)] = 1 << 30
    """Most bytes that a pull or a fetch takes into memory; larger bodies go into a file, or row by row."""
    unsized_bytes: Annotated[int, Meta(ge=1, le=MOST_BYTES, extra=_SIZE)] = 32 * MIB
    """Most bytes of an answer or a stream that does not say its size."""
    line_bytes: Annotated[int, Meta(ge=1024, le=MOST_BYTES, extra=_SIZE)] = 64 * MIB
    """Longest message that the proxy takes from a client or an upstream."""
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    """Replicas of streams that are created."""
    store_bytes: Annotated[int, Meta(ge=0, le=MOST_BYTES, extra=_SIZE)] = 0
    """Of the embedded store; 0: half of the free disk, at most 64 GiB."""
    transfer_networks: str = ""
    """Networks (`10.1.0.0/16,127.0.0.1/32`) that descriptors may lead to besides what is public."""
    transfer_directories: Annotated[str, _PATHS] = ""
    """Directories (a list with `:`) that descriptors of `fs` may read."""
    cache_bytes: Annotated[int, Meta(ge=0, le=MOST_BYTES, extra=_SIZE)] = 64 * MIB
    """Hot bodies that a bridge keeps in memory."""
    pass_seconds: Annotated[float, Meta(gt=0, le=MOST_SECONDS, extra=_TIME)] = 30
    """CPU seconds of a bridge that the looks and `where` passes of one grant may take at once, and one pass at most."""
    read_bytes: Annotated[int, Meta(ge=8 * MIB, le=MOST_BYTES, extra=_SIZE)] = 32 * MIB
    """Asked of NATS by one bridge and not yet arrived; whoever needs more waits. Far below `max_pending` of NATS."""
    audit_bytes: Annotated[int, Meta(ge=0, le=MOST_BYTES, extra=_SIZE)] = 64 * MIB
    """Kept of the audit, the newest; 0: no audit is written."""
    audit_days: Annotated[int, Meta(ge=1, le=MOST_DAYS, extra=_WHOLE_DAYS)] = 30
    """Days that an audit entry is kept."""
    feed_versions: Annotated[int, Meta(ge=1, le=MOST_COUNT)] = 100
    """Of a feed, kept at most; the newest always is."""
    feed_days: Annotated[float, Meta(gt=0, le=MOST_DAYS, extra=_DAYS)] = 7
    """Days that a version of a feed is kept, but for the newest."""
    feed_bytes: Annotated[int, Meta(ge=1, le=MOST_BYTES, extra=_SIZE)] = 1 << 30
    """Of the versions of a feed that are kept, in all."""
    durables_per_grant: Annotated[int, Meta(ge=1, le=MOST_COUNT)] = 32
    """Durables in feeds of one grant and of all that was narrowed from it."""
    durables_per_owner: Annotated[int, Meta(ge=1, le=MOST_COUNT)] = 500
    """Durables of all grants of one owner."""
    durables_in_total: Annotated[int, Meta(ge=1, le=MOST_COUNT)] = 1_000
    """Durables of all grants."""
    durable_days: Annotated[float, Meta(gt=0, le=MOST_DAYS, extra=_DAYS)] = 7
    """Days after which a grant's durable ends that nobody asks."""
    webhook_networks: str = ""
    """Networks (a comma list, `10.1.0.0/16`) to which webhooks may go besides public https."""
    webhook_schedule: Annotated[str, Meta(extra={"reader": read_schedule})] = (
        "5,300,1800,7200,18000,36000,50400,72000,86400"
    )
    """Seconds after each failed try of a webhook; then it is a dead letter."""
    idle_stop_seconds: Annotated[int, Meta(ge=1, le=MOST_SECONDS, extra=_WHOLE_TIME)] = 900
    """The embedded broker stops this long after its last use."""
    request_timeout_seconds: Annotated[float, Meta(gt=0, le=MOST_SECONDS, extra=_TIME)] = 5.0
    """For one answer of nats-server."""
    log: Literal["text", "json"] = "text"
    """How commands write their log lines, on standard error: for people, or one JSON object each."""
    log_level: Literal["", "debug", "info", "warning", "error"] = ""
    """The least that commands log; empty: `info` for `broker-plane bridge`, `warning` elsewhere."""
    pull_timeout_seconds: Annotated[float, Meta(gt=0, le=MOST_SECONDS, extra=_TIME)] = 30.0
    """Without a byte, before a pull is tried again."""
    nats_nkey: str = ""
    """A file with the seed of a user nkey, for `nats_url`."""
    nats_ca: str = ""
    """A file with the certificates that NATS's may be signed by; empty: the system's. TLS is required with it."""
    nats_cert: str = ""
    """A file with the client certificate for NATS (PEM). TLS is required with it."""
    nats_key: str = ""
    """A file with its key; empty: it stands in the same file."""
    nats_domain: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}\Z", description="at most 64 of A-Z, a-z, 0-9, _ and -")
    ] = ""
    """JetStream's domain, where that of the connected server is another one (a leaf node)."""


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment, with `overrides` above it.

    Raises:
        ConfigError: a variable does not parse; the message names it.
    """
    names = Settings.__struct_fields__
    warn_of_unknown(names, os.environ)
    texts = {name: text for name, text in given(names, os.environ).items() if name not in overrides}
    texts |= {name: value for name, value in overrides.items() if isinstance(value, str) and value and name in names}
    values = {**overrides, **_values(texts)}
    if isinstance(values.get("data_dir"), Path):
        values["data_dir"] = Path(read("data_dir", str(values["data_dir"]), str, read_path))
    try:
        return msgspec.convert(values, Settings, strict=False, dec_hook=_of_text)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        name = place.rstrip("`")
        raise ConfigError(f"{PREFIX}{name.upper()}: {_explained(name, problem)}" if place else problem) from error


def load_log_settings() -> tuple[str, str]:
    """The values of `log` and `log_level`, whatever the other variables hold.

    Raises:
        ConfigError: one of these two does not parse.
    """
    values = {"log": "text", "log_level": "", **_values(given(("log", "log_level"), os.environ))}
    return values["log"], values["log_level"]


def _values(texts: dict[str, str]) -> dict[str, Any]:
    hints = get_type_hints(Settings, include_extras=True) if texts else {}
    return {name: _value(name, text, hints[name]) for name, text in texts.items()}


def _value(name: str, text: str, hint: Any) -> Any:
    kind, extra = (get_args(hint)[0], _meta(hint).extra or {}) if get_origin(hint) is Annotated else (hint, {})
    return read(name, text, kind, extra.get("reader"), lines=bool(extra.get("lines")))


def _meta(hint: Any) -> Meta:
    return next((each for each in get_args(hint)[1:] if isinstance(each, Meta)), Meta())


_BOUND = re.compile(r"Expected `(?:int|float)` (>=|<=|>) (.+)\Z")
_BOUNDS = {">=": "it must be at least", "<=": "it may be at most", ">": "it must be more than"}


def _explained(name: str, problem: str) -> str:
    """What msgspec found, as a person would say it."""
    meta = _meta(get_type_hints(Settings, include_extras=True).get(name))
    found = _BOUND.match(problem)
    if found:
        unit = (meta.extra or {}).get("unit", "")
        return f"{_BOUNDS[found[1]]} {found[2].removesuffix('.0')} {unit}".rstrip()
    return f"it must be {meta.description}" if "regex" in problem and meta.description else problem


def _of_text(kind: Any, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        return kind(value)
    raise TypeError(f"Expected text, got `{type(value).__name__}`")
