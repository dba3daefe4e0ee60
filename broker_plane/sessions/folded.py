"""A session as a process holds it: its state and the replica of its artifact, folded from the log together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self, cast

import msgspec

from broker_plane.errors import SessionError, TooLargeError, WireError
from broker_plane.sessions import folds
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.movements import Movement, PathMovement, text_movement
from broker_plane.sessions.participants import OWNER_ID
from broker_plane.sessions.policy import Policy
from broker_plane.sessions.replicas.factory import new_replica, unpack
from broker_plane.sessions.replicas.port import ArtifactKind, Change, Movable, Replica, Sync, Value
from broker_plane.sessions.state import SessionState
from broker_plane.sessions.three_way import difference

STATE_FORMAT: Final = 2
"""The version of packed folds. Readers refuse any other one, and then read the log."""


class Folded:
    """State and replica at one revision. The state is immutable; the replica is not."""

    def __init__(self, state: SessionState, replica: Replica) -> None:
        self.state = state
        self.replica = replica

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """The session after all entries of a log.

        Raises:
            SessionError: they are not a log from its first entry on.
        """
        folded: Self | None = None
        for entry in entries:
            if folded is None:
                folded = cls._created(entry)
            else:
                folded.fold(entry)
        if folded is None:
            raise SessionError("The log of a session starts with its creation, revision 1")
        return folded

    @classmethod
    def _created(cls, entry: Entry) -> Self:
        state = folds.start(entry)
        return cls(state, new_replica(state.kind, state.sync, entry.content["value"]))

    @property
    def value(self) -> Value:
        """The artifact. Do not change it."""
        return self.replica.value

    def fold(self, entry: Entry) -> None:
        """Go on to the next revision.

        Raises:
            SessionError: the entry does not follow.
            ChangeError: its change does not fit; nothing has changed.
        """
        folds.check_follows(self.state, entry)
        change, replica = entry.change, self.replica
        clients = folds.with_clients(self.state, entry, replica)
        self._fold(entry, change, replica)
        if clients is not self.state.clients:
            self.state = replace(self.state, clients=clients)

    def _fold(self, entry: Entry, change: Change | None, replica: Replica) -> None:
        if change is None or not self.state.has_regions:
            if change is not None:
                replica.apply(change)
            self.state = folds.fold(self.state, entry)
        elif replica.kind != "text" and replica.sync == "crdt":
            # Its edit is the difference of two values, and the second one is known afterwards.
            before = replica.value
            replica.apply(change)
            edit = difference(replica.kind, before, replica.value) or []
            self.state = folds.fold(self.state, entry, PathMovement(edit, before))
        else:
            state = folds.fold(self.state, entry, movement_of(replica, change))
            replica.apply(change)
            self.state = state

    def copy(self) -> Self:
        """The same session, which can be folded further on its own."""
        return type(self)(self.state, self.replica.copy())


def movement_of(replica: Replica, change: Change) -> Movement:
    """How a change moves the regions of the artifact that `replica` is before it."""
    edit = edit_of(replica, change)
    return text_movement(edit) if replica.kind == "text" else PathMovement(edit, replica.value)


def edit_of(replica: Replica, change: Change) -> Change:
    """What a change does, as `edits.edit_change` expresses it. Raises ChangeError if it does not fit."""
    if replica.kind == "text":
        return cast(Movable, replica).moved(change)
    if replica.sync != "crdt":
        return change
    after = replica.copy()
    after.apply(change)
    return difference(replica.kind, replica.value, after.value) or []


def created(
    session: str, kind: ArtifactKind, sync: Sync, value: Value, policy: Policy, *, now: float, secret: str = ""
) -> Entry:
    """The first entry of a session. `secret` is the random key of its pseudonyms, if it is anonymous.

    Raises:
        ChangeError: the value is not an artifact of this kind.
        TooLargeError: it is larger than the policy allows.
        WireError: the kind cannot be edited with this sync protocol.
    """
    most = policy.limits.document_bytes
    if (size := new_replica(kind, sync, value).size) > most:
        raise TooLargeError(f"The artifact has {size} bytes; the policy allows {most} (limits.document_bytes)")
    content = {"session": session, "artifact": kind, "sync": sync, "policy": policy.to_wire(), "value": value}
    if policy.anonymous:
        content["secret"] = secret
    return Entry(revision=1, at=now, participant=OWNER_ID, role="owner", kind="created", content=content)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packed:
    format: int
    state: SessionState
    replica: bytes


def pack_state(folded: Folded) -> bytes:
    """The session as bytes, for a snapshot."""
    return _ENCODER.encode(_Packed(format=STATE_FORMAT, state=folded.state, replica=folded.replica.pack()))


def unpack_state(raw: bytes) -> Folded:
    """The session that `pack_state` packed.

    Raises:
        WireError: it is damaged, or of another format. The log is the truth; fold it instead.
    """
    try:
        packed = _DECODER.decode(raw)
        if packed.format != STATE_FORMAT:
            raise WireError(f"The snapshot has format {packed.format}; this version reads format {STATE_FORMAT}")
        return Folded(packed.state, unpack(packed.state.kind, packed.state.sync, packed.replica))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("This is not a snapshot of a session", reason=str(error)[:200]) from error


def _plain(value: Any) -> Any:
    """What msgspec does not know by itself."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"A state has no {type(value).__name__}")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
_DECODER = msgspec.msgpack.Decoder(_Packed)
