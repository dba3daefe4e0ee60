"""Settings: immutable, read once from environment variables with the prefix `BROKER_PLANE_`.

Validated by msgspec, which imports in 10 ms; pydantic takes 130 ms and pydantic-settings another 70 (decision 0010).
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from broker_plane.environment import (
    PREFIX,
    check_renamed,
    given,
    read,
    read_http_url,
    read_path,
    read_paths,
    warn_of_unknown,
)
from broker_plane.errors import ConfigError
from broker_plane.units import (
    UNLIMITED,
    or_unlimited,
    parse_count,
    parse_size,
    parse_time,
    parse_uses,
    parse_whole_time,
)

MIB = 1 << 20
MAX_BYTES = 1 << 60
"""NATS counts bytes as signed 64-bit integers."""
MAX_SECONDS = 366 * 86_400
MAX_DAYS = 36_500
MAX_COUNT = 1 << 31

_SIZE = {"reader": parse_size, "unit": "bytes"}
_TIME = {"reader": parse_time, "unit": "seconds"}
_WHOLE_TIME = {"reader": parse_whole_time, "unit": "seconds"}
_DAYS = {"reader": partial(parse_time, per=86_400), "unit": "days"}
_WHOLE_DAYS = {"reader": partial(parse_whole_time, per=86_400), "unit": "days"}
_NO_LIMIT = {"below": "for no limit, write unlimited"}
_PATH = Meta(extra={"reader": read_path})
_PATHS = Meta(extra={"reader": read_paths})


def default_data_dir() -> Path:
    """The data directory of this user's embedded broker, for example `~/.local/share/broker-plane`.

    Without a home directory the path keeps its literal `~`: only starting an embedded broker makes that an error.
    """
    import platformdirs  # deployments name their directory

    try:
        return Path(platformdirs.user_data_dir("broker-plane"))
    except RuntimeError:
        return Path("~/.local/share/broker-plane")


def _audiences(text: str) -> str:
    return text if "=" in text else read_path(text)


def read_schedule(text: str) -> str:
    """A comma-separated list of times, converted to seconds."""
    parts = [part.strip() for part in text.split(",")]
    seconds = [parse_time(part) for part in parts]
    if not all(0 <= each <= MAX_SECONDS for each in seconds):
        raise ValueError(f"each delay must be between 0 and {MAX_SECONDS} seconds")
    return ",".join(f"{each:.10g}" for each in seconds)


class Secret:
    """A text that only `get_secret_value` reveals."""

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
    """All settings. Create one with `load_settings(ttl_seconds=60, …)`, which validates it.

    The defaults start a private broker. Names carry their unit; a limit of `unlimited` is `UNLIMITED`, which is larger
    than anything that it is compared with.
    """

    # docs/reference/settings.md and `broker-plane config` use these docstrings.

    nats_url: str = ""
    """NATS servers to use, such as `nats://user:password@host:4222` (comma-separated). Empty: the embedded broker."""
    role: Literal["plane", "source", "guest"] = "plane"
    """What the NATS user may do: everything (`plane`), publish only (`source`), or pull only (`guest`)."""
    nats_guest_url: str = ""
    """URL of the same NATS for pulling as a guest. Empty: pull as `nats_url` says, or with the grant itself."""
    nats_creds: Annotated[str, _PATH] = ""
    """NATS credentials file for `nats_url`."""
    nats_nkey: str = ""
    """File with the seed of a user nkey, for `nats_url`."""
    nats_ca: str = ""
    """File with the CA certificates that verify NATS (PEM). Empty: the system's. Setting it requires TLS."""
    nats_cert: str = ""
    """File with the client certificate for NATS (PEM). Setting it requires TLS."""
    nats_key: str = ""
    """File with the private key of `nats_cert`. Empty: the key is in the certificate file."""
    nats_domain: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}\Z", description="at most 64 of A-Z, a-z, 0-9, _ and -")
    ] = ""
    """JetStream domain to use if it differs from that of the connected server (a leaf node)."""
    nats_probe_password: Secret = Secret("")
    """Password of NATS user `probe` (system account), which reads durability and ends connections of revoked grants."""
    callout_password: Secret = Secret("")
    """Bridge: password of the NATS user `callout` in the AUTH account."""
    callout_seed: Secret = Secret("")
    """Bridge: nkey seed that signs the permissions of clients that connect to NATS with a grant."""
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    """Number of replicas of new JetStream streams."""
    request_timeout_seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS, extra=_TIME)] = 5.0
    """Timeout of a single request to nats-server."""
    max_inflight_read_bytes: Annotated[int, Meta(ge=8 * MIB, le=MAX_BYTES, extra=_SIZE)] = 32 * MIB
    """Bytes that a bridge may have requested from NATS but not yet received; keep it far below NATS's `max_pending`."""

    data_dir: Path = msgspec.field(default_factory=default_data_dir)
    """Directory with the store, state and log of the embedded broker."""
    max_store_bytes: (
        Annotated[int, Meta(ge=1, le=MAX_BYTES, extra=_SIZE | {"below": "for the default, leave it empty"})] | None
    ) = None
    """Size limit of the embedded broker's store. Empty: half of the free disk space, up to 64 GiB."""
    idle_stop_seconds: Annotated[int, Meta(ge=1, le=MAX_SECONDS, extra=_WHOLE_TIME)] = 900
    """Idle time after which the embedded broker stops."""

    owner: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,32}\Z", description="1 to 32 of a-z, 0-9, _ and -")] = "local"
    """Owner of the bodies and keys of this process, which live in the bucket `<prefix>_<owner>`."""
    # Without `_`, which ends the prefix in the name of a bucket: the bucket of the owner `a_b` of the plane `x` would
    # be that of the owner `b` of the plane `x_a`.
    prefix: Annotated[str, Meta(pattern=r"^[a-z0-9]{1,16}\Z", description="1 to 16 of a-z and 0-9")] = "bp"
    """Prefix of all streams, buckets and subjects: planes with different prefixes can share a NATS account."""
    ttl_seconds: Annotated[int, Meta(ge=1, le=30 * 86_400, extra=_WHOLE_TIME)] = 600
    """Lifetime of a body."""
    grant_uses: (
        Annotated[int, Meta(ge=1, le=65_535, extra=_NO_LIMIT | {"reader": parse_uses})] | Literal["unlimited"]
    ) = 1
    """Number of completed deliveries per grant, or `unlimited`."""
    delete_when_used: bool = False
    """Delete a body as soon as all its grants are used up, before it expires."""
    max_body_bytes: Annotated[int, Meta(ge=1, le=MAX_BYTES, extra=_SIZE)] = 64 << 30
    """Largest body that is published or pulled."""
    max_abstract_rows: Annotated[
        int, Meta(ge=1, le=UNLIMITED, extra=_NO_LIMIT | {"reader": or_unlimited(parse_count)})
    ] = 1_000
    """Maximum number of rows in an abstract; beyond it the result has a summary by column. Or `unlimited`."""
    max_inline_result_bytes: Annotated[int, Meta(ge=1024, le=MAX_BYTES, extra=_SIZE)] = 512 * 1024
    """Largest tool result that is returned inline; larger results are published."""
    max_inline_body_bytes: Annotated[
        int, Meta(ge=1, le=UNLIMITED, extra=_SIZE | _NO_LIMIT | {"reader": or_unlimited(parse_size)})
    ] = UNLIMITED
    """Largest body that is returned inline, in parts, to a client that has no other way. Or `unlimited`."""

    max_pull_memory_bytes: Annotated[int, Meta(ge=1, le=MAX_BYTES, extra=_SIZE)] = 1 << 30
    """Largest body that a pull or a fetch holds in memory; pull larger ones to a file, or iterate over the rows."""
    max_consumer_rows: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 50_000_000
    """Maximum number of rows that are passed to a consumer function as a list."""
    max_consumer_memory_bytes: Annotated[int, Meta(ge=1, le=MAX_BYTES, extra=_SIZE)] = 4 << 30
    """Maximum memory of these rows, estimated while they are decoded."""
    max_unsized_bytes: Annotated[int, Meta(ge=1, le=MAX_BYTES, extra=_SIZE)] = 32 * MIB
    """Maximum size of a response or stream that does not declare its size."""
    pull_timeout_seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS, extra=_TIME)] = 30.0
    """Time without a received byte after which a pull is retried."""
    trusted_hosts: str = ""
    """Hosts (`host` or `host:port`, comma-separated) whose URLs are followed, besides the own bridge."""
    plain_http: Literal["never", "loopback", "private"] = "loopback"
    """Networks in which descriptors may use plain-text protocols; public hosts always need TLS."""
    puller_name: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_-]{0,32}\Z", description="at most 32 of A-Z, a-z, 0-9, _ and -")
    ] = ""
    """Name of this process on presigned subjects. Empty: random."""
    token: Secret = Secret("")
    """Bearer token for grants that are restricted to an audience; sent to the own bridge and to `token_hosts`."""
    token_hosts: str = ""
    """Further hosts (`host` or `host:port`, comma-separated) that receive `token`, over https or on loopback."""
    transfer_networks: str = ""
    """Networks (`10.1.0.0/16,127.0.0.1/32`) that transfer descriptors may lead to, besides the public internet."""
    transfer_directories: Annotated[str, _PATHS] = ""
    """Directories (separated by `:`) that descriptors of the protocol `fs` may read."""
    handler_plugins: str = "*"
    """Installed packages (comma-separated) whose protocol handlers are used, `*` for all; none if empty. See
    docs/handler-plugins.md."""
    levels: Literal["off", "cached", "generate"] = "off"
    """Protocols without a handler: refuse (`off`), run cached code (`cached`), or let a model write it (`generate`).
    Needs the role `plane`."""
    levels_provider: str = ""
    """Provider of generated code: `anthropic`, `openai` or `command:program`."""
    levels_hosts: str = "*"
    """Hosts (`host` or `host:port`, comma-separated) that generated code may reach if the descriptor allows it, or `*`.
    Private networks need `transfer_networks` as well."""
    levels_model: str = ""
    """Model that `anthropic` or `openai` uses, unless the provider names it (`anthropic:model`)."""
    levels_api_key: Secret = Secret("")
    """API key of the provider. Empty: the variable that the provider's own tools read, such as `ANTHROPIC_API_KEY`."""
    levels_api_url: Annotated[str, Meta(extra={"reader": read_http_url})] = ""
    """Base URL of the provider's API, such as that of a local server. Empty: the provider's own."""
    max_generation_seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS, extra=_TIME)] = 120.0
    """Time that a provider may take to write code."""
    max_code_seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS, extra=_TIME)] = 60.0
    """Time that generated code may run; a descriptor may ask for less."""
    code_ttl_days: Annotated[float, Meta(gt=0, le=MAX_DAYS, extra=_DAYS)] = 30
    """Time after which generated code is written anew, even if it works."""

    protocols_key: Annotated[str, _PATH] = ""
    """File with the key that signs this owner's protocol descriptions (docs/protocols.md). Empty:
    `protocols/<owner>.key` in the data directory, created with the first publication."""

    bridge_url: Annotated[str, Meta(extra={"reader": read_http_url})] = ""
    """Public base URL of the bridge, as clients reach it."""
    bridge_hosts: str = ""
    """Bridge: further hosts (`host` or `host:port`, comma-separated) that it answers for; `*` allows any."""
    cors_origins: str = ""
    """Bridge: origins (`https://app.example`, comma-separated) whose pages may read and upload; `*` allows any."""
    audiences: Annotated[str, Meta(extra={"reader": _audiences, "lines": True})] = ""
    """Bridge: the names of bearer tokens, as `name=sha256,…` or a file with one per line."""
    delivery_confirmation: Literal["optional", "required"] = "optional"
    """Bridge: with `required`, only the client's confirmation completes a counted delivery (docs/bridge.md)."""
    cache_bytes: Annotated[int, Meta(ge=0, le=MAX_BYTES, extra=_SIZE)] = 64 * MIB
    """Bridge: memory for caching frequently read bodies; 0 turns the cache off."""
    max_scan_cpu_seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS, extra=_TIME)] = 30
    """Bridge: CPU time that previews and `where` scans of one grant may use in a burst, and a single scan in total."""
    query_workers: Annotated[int, Meta(ge=0, le=64)] = 2
    """Bridge: processes that run SQL over bodies at the same time (docs/query.md); 0 turns queries off."""
    max_query_seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS, extra=_TIME)] = 10
    """Bridge: time that one query may take."""
    max_query_memory_bytes: Annotated[int, Meta(ge=64 * MIB, le=MAX_BYTES, extra=_SIZE)] = 1 << 30
    """Bridge: memory of one query, for the columns that it reads and for what it computes."""
    max_query_threads: Annotated[int, Meta(ge=1, le=256)] = 2
    """Bridge: threads of one query."""
    max_query_result_rows: Annotated[
        int, Meta(ge=1, le=UNLIMITED, extra=_NO_LIMIT | {"reader": or_unlimited(parse_count)})
    ] = 1_000_000
    """Bridge: largest result of a query in rows, or `unlimited`."""
    max_query_result_bytes: Annotated[int, Meta(ge=1024, le=MAX_BYTES, extra=_SIZE)] = 64 * MIB
    """Bridge: largest result of a query."""
    session_validators: str = ""
    """Bridge: validators that policies of sessions may name (docs/sessions.md#validators), separated by semicolons:
    `name=python:module:function` or `name=command:program`, which may have arguments."""
    serve_protocols: bool = True
    """Bridge: let anybody read the registry of protocol descriptions over HTTP (docs/protocols.md)."""
    audit_retention_bytes: Annotated[int, Meta(ge=0, le=MAX_BYTES, extra=_SIZE)] = 64 * MIB
    """Size limit of the audit log; the oldest entries are deleted first. 0 turns auditing off."""
    audit_retention_days: Annotated[int, Meta(ge=1, le=MAX_DAYS, extra=_WHOLE_DAYS)] = 30
    """Age limit of audit entries."""

    feed_retention_versions: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 100
    """Number of versions kept per feed."""
    feed_retention_days: Annotated[float, Meta(gt=0, le=MAX_DAYS, extra=_DAYS)] = 7
    """Age limit of a feed's versions; the newest version is always kept."""
    feed_retention_bytes: Annotated[int, Meta(ge=1, le=MAX_BYTES, extra=_SIZE)] = 1 << 30
    """Total size of the versions kept per feed."""
    max_durables_per_grant: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 32
    """Maximum number of durables per feed grant, including all grants narrowed from it."""
    max_durables_per_owner: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 500
    """Maximum number of durables of all grants of one owner."""
    max_durables: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 1_000
    """Maximum number of durables of all grants."""
    durable_idle_days: Annotated[float, Meta(gt=0, le=MAX_DAYS, extra=_DAYS)] = 7
    """Idle time after which a grant's durable is deleted."""
    webhook_networks: str = ""
    """Networks (`10.1.0.0/16`, comma-separated) that webhooks may be sent to, besides public https."""
    webhook_retry_delays_seconds: Annotated[str, Meta(extra={"reader": read_schedule})] = (
        "5,300,1800,7200,18000,36000,50400,72000,86400"
    )
    """Delays after each failed attempt of a webhook (comma-separated); then the event becomes a dead letter."""
    mcp_session_days: Annotated[float, Meta(gt=0, le=MAX_DAYS, extra=_DAYS)] = 7
    """Idle time after which a session of MCP over webhooks expires."""
    callback_deadline_seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS, extra=_TIME)] = 43_200
    """How long, up to 23 hours, a message of MCP over webhooks is sent again. Then its client can fetch it, up to 24
    hours after the request."""
    webhook_hosts: str = ""
    """Hosts (`host` or `host:port`, comma-separated) that get the answers of tool calls with webhooks over https or on
    loopback without echoing a challenge."""
    asyncmcp_clients: bool = False
    """Serve clients of asyncmcp by webhooks, too: their callbacks, on this machine alone, prove nothing."""
    callback_address: str = "127.0.0.1:0"
    """Address (`host:port`) where a client of MCP over webhooks listens for messages; port 0: a free one."""
    callback_url: Annotated[str, Meta(extra={"reader": read_http_url})] = ""
    """Public URL of that address, as fronts reach it. Empty: the address itself."""

    task_ttl_seconds: Annotated[int, Meta(ge=1, le=30 * 86_400, extra=_WHOLE_TIME)] = 86_400
    """Lifetime of a durable task (docs/tasks.md), from its creation on."""
    task_wait_seconds: Annotated[float, Meta(ge=0, le=MAX_SECONDS, extra=_TIME)] = 20.0
    """Time that a client without support for tasks waits for the result of a task tool; then the call is an error."""
    task_lease_seconds: Annotated[float, Meta(ge=1, le=MAX_SECONDS, extra=_TIME)] = 10.0
    """Time after which another process takes over a task whose process has died; the same in all processes."""
    max_running_tasks: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 64
    """Number of tasks that one process runs at the same time."""

    max_proxy_message_bytes: Annotated[int, Meta(ge=1024, le=MAX_BYTES, extra=_SIZE)] = 64 * MIB
    """Largest message that the proxy accepts from a client or an upstream server."""
    log_format: Literal["text", "json"] = "text"
    """Format of log lines on standard error: for people, or one JSON object per line."""
    log_level: Literal["", "debug", "info", "warning", "error"] = ""
    """Lowest level that is logged. Empty: `info` for `broker-plane bridge`, `warning` for other commands."""


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment. `overrides` take precedence, unless None, and may be texts such as `"512MiB"`.

    Raises:
        ConfigError: a value is invalid, or a name is unknown or no longer used; the message names it.
    """
    try:
        return _loaded(overrides)
    except ConfigError as error:
        error.in_settings = True
        raise


def _loaded(overrides: dict[str, object]) -> Settings:
    names = Settings.__struct_fields__
    check_renamed(os.environ, overrides)
    warn_of_unknown(names, os.environ)
    chosen = {name: value for name, value in overrides.items() if value is not None}
    texts = {name: text for name, text in given(names, os.environ).items() if name not in chosen}
    texts |= {name: value for name, value in chosen.items() if isinstance(value, str) and value and name in names}
    values = {**chosen, **_values(texts)}
    if isinstance(values.get("data_dir"), Path):
        values["data_dir"] = Path(read("data_dir", str(values["data_dir"]), str, read_path))
    return _converted(values)


def parse_setting(name: str, text: str) -> Any:
    """The value of one setting.

    Raises:
        ConfigError: the text is invalid.
    """
    return getattr(_converted(_values({name: text})), name)


def load_log_settings() -> tuple[str, str]:
    """The values of `log_format` and `log_level`, even if other variables are invalid.

    Raises:
        ConfigError: one of these two is invalid.
    """
    names = ("log_format", "log_level")
    values = {"log_format": "text", "log_level": "", **_values(given(names, os.environ))}
    return values["log_format"], values["log_level"]


def description(name: str) -> Meta:
    """The constraints of a setting; `extra` has its `unit`."""
    return _meta(get_type_hints(Settings, include_extras=True)[name])


def _converted(values: dict[str, Any]) -> Settings:
    try:
        return msgspec.convert(values, Settings, strict=False, dec_hook=_of_text)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        name = place.rstrip("`")
        raise ConfigError(f"{PREFIX}{name.upper()}: {_explained(name, problem)}" if place else problem) from error


def _values(texts: dict[str, str]) -> dict[str, Any]:
    hints = get_type_hints(Settings, include_extras=True) if texts else {}
    return {name: _value(name, text, hints[name]) for name, text in texts.items()}


def _value(name: str, text: str, hint: Any) -> Any:
    extra = _meta(hint).extra or {}
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return read(name, text, kind, extra.get("reader"), lines=bool(extra.get("lines")))


def _meta(hint: Any) -> Meta:
    """The constraints in a type hint, also in that of one member of a union."""
    if get_origin(hint) is Annotated:
        return next(each for each in get_args(hint)[1:] if isinstance(each, Meta))
    inner = [each for each in get_args(hint) if get_origin(each) is Annotated]
    return _meta(inner[0]) if inner else Meta()


_BOUND = re.compile(r"Expected `(?:int|float)` (>=|<=|>) (.+)\Z")
_BOUNDS = {">=": "it must be at least", "<=": "it may be at most", ">": "it must be more than"}


def _explained(name: str, problem: str) -> str:
    """A problem that msgspec found, in words for people."""
    meta = _meta(get_type_hints(Settings, include_extras=True).get(name))
    extra = meta.extra or {}
    found = _BOUND.match(problem)
    if found:
        number, unit = found[2].removesuffix(".0"), extra.get("unit", "")
        said = f"{_BOUNDS[found[1]]} {number} {unit.removesuffix('s') if number == '1' else unit}".rstrip()
        return f"{said}; {extra['below']}" if found[1] == ">=" and "below" in extra else said
    return f"it must be {meta.description}" if "regex" in problem and meta.description else problem


def _of_text(kind: Any, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        return kind(value)
    raise TypeError(f"Expected text, got `{type(value).__name__}`")
