"""Makes replicas: of a new artifact, and from a snapshot."""

from __future__ import annotations

import orjson

from broker_plane.errors import ChangeError, WireError
from broker_plane.sessions.canonical import check_value
from broker_plane.sessions.replicas.documents import DocumentReplica
from broker_plane.sessions.replicas.port import ArtifactKind, Replica, Sync, Value
from broker_plane.sessions.replicas.texts import TextReplica
from broker_plane.sessions.replicas.yjs_texts import YjsText
from broker_plane.sessions.replicas.yjs_trees import YjsTree


def check_pair(kind: str, sync: str) -> None:
    """Raise WireError unless artifacts of this kind can be changed with this sync protocol."""
    if kind not in ("text", "json", "table"):
        raise WireError("An artifact is of the kind text, json or table")
    if sync not in ("crdt", "patch", "ot"):
        raise WireError("A session has the sync protocol crdt, patch or ot")
    if sync == "ot" and kind != "text":
        raise WireError(f"The sync protocol ot is for texts; for an artifact of the kind {kind} use crdt or patch")


def new_replica(kind: ArtifactKind, sync: Sync, value: Value) -> Replica:
    """The replica of a new session. For one value it is the same in every process, byte by byte.

    Raises:
        WireError: there is no such pair of kind and sync protocol.
        ChangeError: the value is not an artifact of this kind.
    """
    check_pair(kind, sync)
    check_value(kind, value)
    if kind == "text":
        return YjsText.new(value) if sync == "crdt" else TextReplica(value, sync)
    return YjsTree.new(kind, value) if sync == "crdt" else DocumentReplica(kind, value)


def unpack(kind: ArtifactKind, sync: Sync, raw: bytes) -> Replica:
    """The replica whose `pack` gave `raw`.

    Raises:
        WireError: there is no such pair of kind and sync protocol, or the bytes are damaged.
    """
    check_pair(kind, sync)
    try:
        if kind == "text":
            return YjsText(raw) if sync == "crdt" else TextReplica(raw.decode(), sync)
        return YjsTree(kind, raw) if sync == "crdt" else DocumentReplica(kind, orjson.loads(raw))
    except (ChangeError, ValueError) as error:
        raise WireError("The snapshot of the session is damaged") from error
