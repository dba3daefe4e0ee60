"""Awareness of Yjs (y-protocols 1.0, `awareness.js`): who has which client id, and the newest state of each. Pure.

Yjs lets every client speak for every client id. Here an id belongs to the connection that used it first, for as long as
that is open, so nobody can show a cursor as somebody else. States travel as the presence of participants, so clients of
other bridges, and those that do not speak Yjs, see them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker_plane.errors import WireError
from broker_plane.sessions.members import check_json
from broker_plane.wire.exact_json import MALFORMED, dumps, loads
from broker_plane.wire.yjs_varints import Reader, write_bytes, write_uint

MOST_CLIENTS = 4
"""Client ids of one connection."""

MOST_KNOWN = 10_000
"""Client ids of one session."""

MOST_PARSED = 16
"""States in one message. Clients send back everything that they hear, in larger messages, which need not be read."""

MOST_STATE = 1_900
"""Size of a state in bytes of JSON; with its client id it is a presence, which has at most 2 KiB."""

OUTDATED_SECONDS = 30.0
"""Clients renew their states every 15 s, and forget those that were not renewed for 30 s."""

_MOST_MESSAGE = MOST_PARSED * (MOST_STATE + 32)


@dataclass(frozen=True, slots=True)
class ClientState:
    """The state of a client id; None once it has left. Of two states the one with the higher clock is newer."""

    client: int
    clock: int
    state: Any

    def to_presence(self) -> dict[str, Any]:
        """The form in which a participant's presence has it."""
        return {"client": self.client, "clock": self.clock, "awareness": self.state}


def read_awareness(raw: bytes) -> list[ClientState]:
    """The states in an awareness update; empty for a large one, which only repeats what its sender has received.

    Raises:
        WireError: it cannot be decoded, or a state is no value that every JSON reader takes.
    """
    reader = Reader(raw)
    count = reader.uint()
    if count > MOST_PARSED or len(raw) > _MOST_MESSAGE:
        return []
    return [_client_state(reader) for _ in range(count)]


def write_awareness(states: Iterable[ClientState]) -> bytes:
    """An awareness update with these states."""
    written = [write_uint(each.client) + write_uint(each.clock) + write_bytes(dumps(each.state)) for each in states]
    return write_uint(len(written)) + b"".join(written)


def presence_state(presence: Mapping[str, Any]) -> ClientState | None:
    """The state in a presence; None if its participant does not speak Yjs."""
    state = presence.get("state")
    if not isinstance(state, dict) or state.keys() != {"client", "clock", "awareness"}:
        return None
    client, clock = state["client"], state["clock"]
    valid = type(client) is int and type(clock) is int and min(client, clock) >= 0
    return ClientState(client, clock, state["awareness"]) if valid else None


def _client_state(reader: Reader) -> ClientState:
    client, clock, raw = reader.uint(), reader.uint(), reader.blob()
    if len(raw) > MOST_STATE:
        raise WireError(f"The awareness state of a client may have at most {MOST_STATE} bytes of JSON")
    try:
        state = loads(raw)
    except MALFORMED as error:
        raise WireError("An awareness state is not JSON") from error
    check_json(state, "state")  # as that of every presence, which all bridges have to encode again
    return ClientState(client, clock, state)


@dataclass(slots=True)
class _Known:
    participant: str
    holder: object | None
    """The connection at this bridge that the id belongs to; None if it is at another one."""
    clock: int = -1
    state: Any = None
    heard_at: float = 0.0


class AwarenessTable:
    """The client ids of one session."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def accept(self, holder: object, participant: str, states: Sequence[ClientState]) -> list[ClientState]:
        """Those of `states` that are new, and that the connection `holder` of `participant` may publish."""
        return [each for each in states if self._bound(holder, participant, each) and self._is_new(each)]

    def hear(self, participant: str, told: ClientState, now: float) -> bool | None:
        """Note a state that was published, at `now` in seconds of any clock.

        True if it differs from the one before, False if it only renews that one, None if it has to be ignored.
        """
        if told.client not in self._known and len(self._known) >= MOST_KNOWN:
            return None
        known = self._known.setdefault(told.client, _Known(participant, None))
        if known.participant != participant or not self._is_new(told):
            return None
        changed = bool(known.state != told.state)
        known.clock, known.state, known.heard_at = told.clock, told.state, now
        if told.state is None and known.holder is None:
            del self._known[told.client]
        return changed

    def participant_of(self, client: int) -> str:
        """The participant to whom a client id belongs; empty if it is free."""
        known = self._known.get(client)
        return "" if known is None else known.participant

    def leave(self, holder: object) -> list[ClientState]:
        """Free the ids of a connection that has ended; returns the states to publish for them."""
        left = {client: known for client, known in self._known.items() if known.holder is holder}
        for known in left.values():
            known.holder = None
        told = [ClientState(client, known.clock, None) for client, known in left.items() if known.state is not None]
        for client, known in left.items():
            if known.state is None:
                del self._known[client]
        return told

    def forget(self, participant: str = "", before: float = 0.0) -> list[ClientState]:
        """Forget the ids of a participant that has left, or those of other bridges not renewed since `before`.

        Returns the states to send to clients.
        """
        gone = [
            client
            for client, known in self._known.items()
            if known.holder is None and (known.participant == participant or known.heard_at < before)
        ]
        return [ClientState(client, max(0, known.clock), None) for client in gone if (known := self._known.pop(client))]

    def states(self, clients: Iterable[int] | None = None) -> list[ClientState]:
        """The newest states of `clients`, or of all that are here."""
        chosen = self._known.keys() if clients is None else [each for each in clients if each in self._known]
        return [
            ClientState(client, known.clock, known.state)
            for client in chosen
            if (known := self._known[client]).state is not None
        ]

    def _bound(self, holder: object, participant: str, state: ClientState) -> bool:
        """Whether the client id belongs to the connection `holder`; a free one does from now on."""
        known = self._known.get(state.client)
        if known is not None and known.holder is holder:
            return True
        if known is not None and (known.holder is not None or known.participant != participant):
            return False
        if sum(each.holder is holder for each in self._known.values()) >= MOST_CLIENTS:
            return False
        if known is None and len(self._known) >= MOST_KNOWN:
            return False
        if known is None:
            self._known[state.client] = _Known(participant, holder)
        else:
            known.holder = holder
        return True

    def _is_new(self, state: ClientState) -> bool:
        """As y-protocols decides: a higher clock, or the end of a client with the same one."""
        known = self._known[state.client]
        if state.clock == known.clock:
            return state.state is None and known.state is not None
        return state.clock > known.clock
