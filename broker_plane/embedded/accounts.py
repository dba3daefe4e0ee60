"""The accounts of the embedded server, the same as in nats.conf (docs/accounts.md).

Every process that can read kept.json belongs to this user and may do everything, so processes publish as `plane`:
another user's restrictions would protect nothing. They still pull as `asker` through GUEST, so that every test and
every pull exercises a guest's permissions, and mistakes in them are found before they reach a shared server.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from broker_plane.embedded.state import Kept
from broker_plane.wire.durables import GUESTS_DURABLE, guest_durable
from broker_plane.wire.names import asker_inbox
from broker_plane.wire.plane_names import Names
from broker_plane.wire.session_roles import Access

ASKER = "asker"
_PROBE = [
    "$SYS.REQ.SERVER.PING.VARZ",
    "$SYS.REQ.ACCOUNT.GUEST.CONNZ",
    "$SYS.REQ.SERVER.*.KICK",
    "$SYS.REQ.ACCOUNT.GUEST.INFO",
]


def render_accounts(kept: Kept, names: Names) -> str:
    """The configuration's part from `accounts` to `authorization`, for the plane with these names."""
    publish = [
        f"{names.pull_subject('*')}.{ASKER}",
        f"{names.confirm_subject('*')}.{ASKER}",
        *names.durable_subjects(guest_durable(ASKER, GUESTS_DURABLE)),
        f"{names.say_subject(Access.READ, '*')}.{ASKER}",
    ]
    subscribe = [names.delivery_subject(ASKER, ">"), f"{asker_inbox(ASKER)}.>"]
    asker = f"publish: {json.dumps(publish)}, subscribe: {json.dumps(subscribe)}"
    # The probe reads `sync_always`, which tells how durable the storage is (decision 0029), ends the connections of
    # revoked grants, and sees what GUEST imports. It may do nothing else.
    probe = f'publish: {json.dumps(_PROBE)}, subscribe: ["_INBOX_probe.>"]'
    return f"""\
accounts {{
  PLANE {{
    jetstream: enabled
    users: [ {{ user: plane, password: {kept.plane_password} }} ]
    exports: [
{_lines(_exports(names))}
    ]
  }}
  SOURCE {{
    imports: [
{_lines(map(_import, _for_sources(names)))}
    ]
  }}
  GUEST {{
    users: [ {{ user: {ASKER}, password: {kept.asker_password}, permissions {{ {asker} }} }} ]
    imports: [
{_lines(map(_import, _for_guests(names)))}
    ]
  }}
  AUTH {{ users: [ {{ user: callout, password: {kept.callout_password} }} ] }}
  SYS {{ users: [ {{ user: probe, password: {kept.probe_password}, permissions {{ {probe} }} }} ] }}
}}
system_account: SYS
authorization {{
  auth_callout {{
    issuer: {kept.callout_issuer}
    account: AUTH
    auth_users: [ callout, {ASKER} ]
    allowed_accounts: [ GUEST ]
  }}
}}
"""


def _for_guests(names: Names) -> list[tuple[str, str]]:
    """Subjects for guests, as `(kind, subject)`: pulls, confirmations and deliveries, their durable of a feed, requests
    to a session, what everybody in a session hears, and requests to MCP servers.
    """
    feeds = names.feeds_stream
    return [
        ("service", f"{names.pull_subject('*')}.*"),
        ("service", f"{names.confirm_subject('*')}.*"),
        ("stream", f"{names.prefix}.dlv.>"),
        ("service", f"$JS.API.CONSUMER.MSG.NEXT.{feeds}.*"),
        ("service", f"$JS.ACK.{feeds}.>"),
        ("service", f"{names.say_subject('*', '*')}.*"),
        ("stream", names.said_subject("*")),
        ("stream", names.here_subject("*")),
        ("service", names.mcp_subject("*", ">")),
    ]


def _for_sources(names: Names) -> list[tuple[str, str]]:
    """Subjects for resource servers: chunks and metas of bodies, and their keys. Answers are acknowledgements only."""
    return [("service", "$O.*.C.>"), ("service", "$O.*.M.*"), ("service", names.ring_subject("*"))]


def _exports(names: Names) -> list[str]:
    guests = [_export(kind, subject, "GUEST") for kind, subject in _for_guests(names)]
    return [*guests, *(_export(kind, subject, "SOURCE") for kind, subject in _for_sources(names))]


def _export(kind: str, subject: str, account: str) -> str:
    answers = " response_type: stream," if ".MSG.NEXT." in subject or ".mcp." in subject else ""
    return f'{{ {kind}: "{subject}",{answers} accounts: [{account}] }}'


def _import(shared: tuple[str, str]) -> str:
    kind, subject = shared
    return f'{{ {kind}: {{ account: PLANE, subject: "{subject}" }} }}'


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(f"      {line}" for line in lines)
