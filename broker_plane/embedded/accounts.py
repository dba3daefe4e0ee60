"""The accounts of the embedded server, the same as in nats.conf (docs/accounts.md).

Every process that can read kept.json belongs to this user and may do everything, so processes publish as `plane`:
another user's restrictions would protect nothing. They still pull as `asker` through GUEST, so that every test and
every pull exercises a guest's permissions, and mistakes in them are found before they reach a shared server.
"""

from __future__ import annotations

import json

from broker_plane.embedded.state import Kept
from broker_plane.wire.durables import GUESTS_DURABLE, durable_subjects

ASKER = "asker"

_PLANE_EXPORTS = """\
      { service: "bp.pull.*.*", accounts: [GUEST] }
      { service: "bp.confirm.*.*", accounts: [GUEST] }
      { stream: "bp.dlv.>", accounts: [GUEST] }
      { service: "$JS.API.CONSUMER.MSG.NEXT.BP_FEEDS.*", response_type: stream, accounts: [GUEST] }
      { service: "$JS.ACK.BP_FEEDS.>", accounts: [GUEST] }
      { service: "$O.*.C.>", accounts: [SOURCE] }
      { service: "$O.*.M.*", accounts: [SOURCE] }
      { service: "$KV.bp_keys.*", accounts: [SOURCE] }"""
_SOURCE_IMPORTS = """\
      { service: { account: PLANE, subject: "$O.*.C.>" } }
      { service: { account: PLANE, subject: "$O.*.M.*" } }
      { service: { account: PLANE, subject: "$KV.bp_keys.*" } }"""
_GUEST_IMPORTS = """\
      { service: { account: PLANE, subject: "bp.pull.*.*" } }
      { service: { account: PLANE, subject: "bp.confirm.*.*" } }
      { stream: { account: PLANE, subject: "bp.dlv.>" } }
      { service: { account: PLANE, subject: "$JS.API.CONSUMER.MSG.NEXT.BP_FEEDS.*" } }
      { service: { account: PLANE, subject: "$JS.ACK.BP_FEEDS.>" } }"""


def render_accounts(kept: Kept) -> str:
    """The section of the configuration from `accounts` to `authorization`."""
    publish = [f"bp.pull.*.{ASKER}", f"bp.confirm.*.{ASKER}", *durable_subjects(f"{ASKER}_{GUESTS_DURABLE}")]
    asker = f'publish: {json.dumps(publish)}, subscribe: ["bp.dlv.{ASKER}.>", "_INBOX_{ASKER}.>"]'
    # The probe reads `sync_always`, which tells how durable the storage is (decision 0029). It may do nothing else.
    probe = 'publish: ["$SYS.REQ.SERVER.PING.VARZ"], subscribe: ["_INBOX_probe.>"]'
    return f"""\
accounts {{
  PLANE {{
    jetstream: enabled
    users: [ {{ user: plane, password: {kept.plane_password} }} ]
    exports: [
{_PLANE_EXPORTS}
    ]
  }}
  SOURCE {{
    imports: [
{_SOURCE_IMPORTS}
    ]
  }}
  GUEST {{
    users: [ {{ user: {ASKER}, password: {kept.asker_password}, permissions {{ {asker} }} }} ]
    imports: [
{_GUEST_IMPORTS}
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
