"""The settings that a running broker and its bridge obey: those of whoever started it, and of nobody else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from broker_plane.wire.plane_names import DEFAULT_PREFIX

if TYPE_CHECKING:
    from broker_plane.config import Settings

_OF_CALLERS = frozenset(
    """
    nats_url nats_creds nats_nkey nats_ca nats_cert nats_key nats_domain nats_probe_password
    role guest_url callout_password callout_seed bridge_url data_dir owner name log log_level
    trusted_hosts plain_http token token_hosts transfer_networks transfer_directories pull_timeout_seconds
    ttl uses collect abstract_limit inline_limit inline_most
    max_rows_inline max_memory_inline pull_bytes unsized_bytes line_bytes
    """.split()  # noqa: SIM905  # one a line is longer than the rest of the module
)
"""Each process obeys its own value of these. Whatever is not here counts as the bridge's."""

_AT_THE_START = frozenset(("store_bytes", "idle_stop_seconds"))
"""Of the broker: who does not set them has no opinion about them."""


def obeyed(settings: Settings) -> dict[str, str]:
    """What a broker obeys that is started with these settings: the values that are not the default, as text."""
    usual = type(settings)()
    names = (name for name in type(settings).__struct_fields__ if name not in _OF_CALLERS)
    return {name: str(getattr(settings, name)) for name in names if getattr(settings, name) != getattr(usual, name)}


def variables(settings: Settings) -> dict[str, str | None]:
    """The environment of a bridge that obeys them; None for a variable that is not to be there."""
    wanted = obeyed(settings)
    names = (name for name in type(settings).__struct_fields__ if name not in _OF_CALLERS)
    return {f"BROKER_PLANE_{name.upper()}": wanted.get(name) for name in names}


def as_text(settings: Settings) -> str:
    return json.dumps(obeyed(settings), sort_keys=True)


def prefix_of(started_with: str) -> str:
    """The prefix of the names of the plane whose broker obeys these settings."""
    return str(json.loads(started_with).get("prefix", DEFAULT_PREFIX))


def other(started_with: str, settings: Settings) -> list[str]:
    """The variables in which `settings` are not those that the running broker obeys."""
    there, here = json.loads(started_with), obeyed(settings)
    different = {name for name in {*there, *here} if there.get(name) != here.get(name)}
    different -= {name for name in _AT_THE_START if name not in here}
    return sorted(f"BROKER_PLANE_{name.upper()}" for name in different)
