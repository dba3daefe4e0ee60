"""Entries as JSON objects, read back into `Entry`. Pure."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any, cast, get_args

from broker_plane.errors import WireError
from broker_plane.sessions.entries import Entry, EntryKind

_KINDS = frozenset(get_args(EntryKind))


def entry_of(fields: Any) -> Entry:
    """The entry that `Entry.to_json` wrote; a change of `crdt` is bytes again.

    Raises:
        WireError: it is not an entry of a version that is known.
    """
    if not isinstance(fields, dict):
        raise WireError("An entry of a session is a JSON object")
    revision, kind, content = fields.get("revision"), fields.get("kind"), fields.get("content", {})
    if type(revision) is not int or revision < 1 or not isinstance(content, dict):
        raise WireError("An entry of a session has a revision from 1 on and content")
    if kind not in _KINDS:
        raise WireError("An entry of this session has a kind that this version does not know; update broker-plane")
    # Bytes are base64 in JSON. The changes of other protocols than `crdt` are lists.
    raw = {"change": _bytes(content["change"])} if isinstance(content.get("change"), str) else {}
    at, base = fields.get("at", 0), fields.get("base", 0)
    if type(at) not in (int, float) or type(base) is not int:
        raise WireError("An entry of a session has a time in seconds and a base revision")
    return Entry(
        revision=revision,
        at=float(at),
        participant=str(fields.get("participant", "")),
        role=str(fields.get("role", "")),
        intent=str(fields.get("intent", "")),
        base=base,
        kind=cast("EntryKind", kind),
        content=content | raw,
    )


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError("The change of an entry is not base64") from error
