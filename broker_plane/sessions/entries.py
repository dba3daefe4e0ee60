"""The entries of a session's log, and their form on the wire. Pure.

A message of the log is a list in msgpack: the version of this format, then the entries that one write stored together,
each a map with the members of `Entry` (docs/reference/wire-protocol.md). In JSON a change of `crdt` is base64.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from broker_plane.errors import WireError

ENTRY_FORMAT: Final = 1
"""The version of the format. Readers refuse a later one."""

EntryKind = Literal[
    "created",
    "joined",
    "left",
    "operation",
    "reverted",
    "rolled_back",
    "proposed",
    "conflict",
    "decided",
    "noted",
    "leased",
    "released",
    "confirmed",
    "closed",
]
"""What happened; `content` by kind:

- created: `session`, `artifact` (text, json or table), `sync`, `policy` (Policy.to_wire), `value` (text, JSON value or
  rows); perhaps `secret`, the key of the pseudonyms, which only the plane reads; always revision 1, by the owner
- joined: `name`, `type` (human or agent), `verified` (not in an anonymous session)     left: nothing
- operation: `change`; perhaps `region`, `message`, `proposal` (the accepted one), `conflict` (the one that it decides,
  or that it won by priority)
- reverted: `change`, `of` (a revision), `validator`, `reason`
- rolled_back: `change` (absent if the artifact is that already), `to` (a revision), `sha256` (of the artifact after it)
- proposed: `proposal` (id), `change` (a text operation or a JSON Patch, also for `crdt`), `title`, `revisions` (those
  that it undoes)
- conflict: `conflict` (id), `ours` and `theirs` (each `{participant, intent, revision, region, text or value}`; a JSON
  value that does not exist is left out; `theirs` also has the edit with which it would win, as `ops` or `patch`),
  `region`, and `status` ("open", or "priority" with `winner`, "ours" or "theirs"). `ours` is what the artifact had, and
  `theirs` is the later proposal
- decided: `conflict`, `choice` ("ours", "theirs" or "other"); the change that it leads to is an operation of its own
- noted: `note` (id), `type`, `text`, `thread` (id of the first note), `anchor`; a verdict has `verdict`
- leased: `lease` (id), `region`, `until` (unix seconds)     released: `lease`
- confirmed: nothing
- closed: `reason`, `sha256`, `body` (id), `media_type`

An entry that a request with an id led to also has that id, as `request`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One revision. `at` is in unix seconds by the broker's clock; `base` is the revision that its author had seen."""

    revision: int
    at: float
    participant: str
    """The participant's id, `owner` for the owner's process and `plane` for what the plane itself did."""
    role: str
    intent: str = ""
    base: int = 0
    kind: EntryKind
    content: Mapping[str, Any] = field(default_factory=dict)

    @property
    def change(self) -> Any:
        """What this entry does to the artifact; None if it leaves it as it is."""
        return self.content.get("change") if self.kind in CHANGING else None

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON object, for participants: without the secret of its session. Bytes become base64."""
        return {
            "revision": self.revision,
            "at": self.at,
            "participant": self.participant,
            "role": self.role,
            "intent": self.intent,
            "base": self.base,
            "kind": self.kind,
            "content": {name: _as_json(value) for name, value in self.content.items() if name != _HIDDEN},
        }


_HIDDEN: Final = "secret"
"""The member of the content that only the plane reads."""

CHANGING: Final = frozenset({"operation", "reverted", "rolled_back"})
"""The kinds of entries whose `change` is applied to the artifact."""


def pack_entries(entries: Sequence[Entry]) -> bytes:
    """A message of the log."""
    return _ENCODER.encode([ENTRY_FORMAT, *map(_as_map, entries)])


def unpack_entries(raw: bytes) -> tuple[Entry, ...]:
    """The entries of a message of the log.

    Raises:
        WireError: these are not entries of a version that is known.
    """
    try:
        version, *entries = _OUTER.decode(raw)
        if (found := msgspec.msgpack.decode(version)) != ENTRY_FORMAT:
            raise WireError(f"The entries have format {str(found)[:40]}; this version reads format {ENTRY_FORMAT}")
        return tuple(_checked(_ENTRY.decode(each)) for each in entries)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise WireError("This is not a message of a session's log", reason=str(error)[:200]) from error


def _checked(entry: Entry) -> Entry:
    if entry.revision < 1:
        raise WireError("The revision of an entry is at least 1")
    return entry


def _as_map(entry: Entry) -> dict[str, Any]:
    return {
        "revision": entry.revision,
        "at": entry.at,
        "participant": entry.participant,
        "role": entry.role,
        "intent": entry.intent,
        "base": entry.base,
        "kind": entry.kind,
        "content": dict(entry.content),
    }


def _as_json(value: Any) -> Any:
    return b64encode(value).decode() if isinstance(value, bytes) else value


def _plain(value: Any) -> Any:
    """What msgspec does not know by itself."""
    if isinstance(value, MappingProxyType):
        return dict(value)
    raise TypeError(f"An entry has no {type(value).__name__}")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
_OUTER = msgspec.msgpack.Decoder(list[msgspec.Raw])
_ENTRY = msgspec.msgpack.Decoder(Entry)
