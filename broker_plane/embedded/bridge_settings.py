"""The settings that a running embedded broker and its bridge use: those of the process that started them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from broker_plane.wire.plane_names import DEFAULT_PREFIX

if TYPE_CHECKING:
    from broker_plane.config import Settings

_OF_CALLERS = frozenset(
    """
    nats_url nats_creds nats_nkey nats_ca nats_cert nats_key nats_domain nats_probe_password
    role nats_guest_url callout_password callout_seed bridge_url data_dir owner puller_name log_format log_level
    trusted_hosts plain_http token token_hosts transfer_networks transfer_directories pull_timeout_seconds
    levels levels_provider levels_hosts levels_model levels_api_key levels_api_url
    max_generation_seconds max_code_seconds code_ttl_days protocols_key
    ttl_seconds grant_uses delete_when_used max_abstract_rows max_inline_result_bytes max_inline_body_bytes
    max_consumer_rows max_consumer_memory_bytes max_pull_memory_bytes max_unsized_bytes max_proxy_message_bytes
    mcp_session_days callback_deadline_seconds asyncmcp_clients webhook_hosts
    task_ttl_seconds task_wait_seconds task_lease_seconds max_running_tasks
    """.split()  # noqa: SIM905  # one a line is longer than the rest of the module
)
"""Settings of which each process uses its own value. All others are the bridge's."""

_AT_THE_START = frozenset(("max_store_bytes", "idle_stop_seconds"))
"""Settings of the broker. A process that leaves them at their default accepts any value."""


def obeyed(settings: Settings) -> dict[str, str]:
    """The settings of a broker that is started with `settings`: the values that differ from the default, as text."""
    usual = type(settings)()
    names = (name for name in type(settings).__struct_fields__ if name not in _OF_CALLERS)
    return {name: str(getattr(settings, name)) for name in names if getattr(settings, name) != getattr(usual, name)}


def variables(settings: Settings) -> dict[str, str | None]:
    """Environment changes for the bridge; None removes a variable."""
    wanted = obeyed(settings)
    names = (name for name in type(settings).__struct_fields__ if name not in _OF_CALLERS)
    return {f"BROKER_PLANE_{name.upper()}": wanted.get(name) for name in names}


def as_text(settings: Settings) -> str:
    return json.dumps(obeyed(settings), sort_keys=True)


def prefix_of(started_with: str) -> str:
    """The prefix of the names of the plane whose broker obeys these settings."""
    return str(json.loads(started_with).get("prefix", DEFAULT_PREFIX))


def other(started_with: str, settings: Settings) -> list[str]:
    """The variables whose values differ between `settings` and the running broker."""
    there, here = json.loads(started_with), obeyed(settings)
    different = {name for name in {*there, *here} if there.get(name) != here.get(name)}
    different -= {name for name in _AT_THE_START if name not in here}
    return sorted(f"BROKER_PLANE_{name.upper()}" for name in different)
