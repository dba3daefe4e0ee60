"""How far the messages of a session were sent, and which process sends them now."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, replace

import orjson

from broker_plane.errors import ConflictError, WireError
from broker_plane.plane.ports import Bucket

_LEASE_SECONDS = 20.0
"""More than twice as long as one attempt to send. Another process goes on when it has ended, or its holder has."""


_HELD_SECONDS, _LONGEST_SECONDS, _MOST_DOUBLINGS = 0.2, 60.0, 16
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """All messages up to `sent` were accepted by the callback, or became dead letters. Times are in unix seconds."""

    sent: int = 0
    holder: str = ""
    until: float = 0.0
    attempts: int = 0
    """Failed attempts to send the next message."""
    dead: int = 0
    """How many messages became dead letters."""
    ahead: tuple[int, ...] = ()
    """The places behind `sent` of messages that were settled before an earlier one was."""
    resumes: float = 0.0
    """Until when messages wait after a failed attempt, unless the client shows itself."""


class Positions:
    """The positions of one server's sessions. A process may change one only while it holds it."""

    def __init__(
        self,
        bucket: Bucket,
        server: str,
        holder: str,
        is_alive: Callable[[str], Awaitable[bool]],
        ask: Callable[[str, str], Awaitable[None]],
        *,
        seconds: int,
        now: Callable[[], float],
    ) -> None:
        """`holder` names this process; an entry expires `seconds` after its last change.

        `ask` asks another process, which holds the position of a session, to send what is stored.
        """
        self._bucket = bucket
        self._server = server
        self._holder = holder
        self._is_alive = is_alive
        self._ask = ask
        self._seconds = seconds
        self._now = now
        self._held: OrderedDict[str, tuple[Position, int]] = OrderedDict()
        """Positions that this process holds until their leases end, with their revisions."""

    async def find(self, session: str) -> Position:
        """The position of a session as it is stored, whoever holds it."""
        raw, _ = await self._bucket.load(self._entry(session))
        return _parsed(raw) if raw else Position()

    async def take(self, session: str, *, shown: bool = False) -> HeldPosition | float:
        """Hold the position of a session. If another process holds it, that one is asked to send what is stored, unless
        its callback does not answer and the client has not `shown` itself; then returns the seconds after which to look
        again.

        Raises:
            BrokerUnavailableError, StoreFullError.
        """
        known = self._held.pop(session, None)
        if known is not None and not self.is_short(known[0]):
            return HeldPosition(self, session, *known)
        raw, revision = await self._bucket.load(self._entry(session))
        found = _parsed(raw) if raw else Position()
        held_elsewhere = found.holder not in ("", self._holder) and self._now() < found.until
        if held_elsewhere and await self._is_alive(found.holder):
            if found.attempts and not shown:
                return min(_LONGEST_SECONDS, _HELD_SECONDS * 2.0 ** min(found.attempts, _MOST_DOUBLINGS))
            await self._ask(found.holder, session)
            return _HELD_SECONDS
        held = HeldPosition(self, session, found, revision)
        try:
            await held.keep()
        except ConflictError:
            return _HELD_SECONDS
        return held

    async def save(self, session: str, position: Position, revision: int) -> tuple[Position, int]:
        """Store a position, held by this process, and return it with its revision.

        Raises:
            ConflictError: another process holds it.
        """
        stored = replace(position, holder=self._holder, until=self._now() + _LEASE_SECONDS)
        entry = orjson.dumps(asdict(stored))
        return stored, await self._bucket.save(self._entry(session), entry, revision, self._seconds)

    def remember(self, session: str, position: Position, revision: int) -> None:
        """Go on from here when the session is taken again, unless the lease has ended."""
        self._held[session] = position, revision
        if len(self._held) > _REMEMBERED:
            self._held.popitem(last=False)

    async def forget(self, session: str) -> None:
        """Remove the position of a session that was closed."""
        self._held.pop(session, None)
        raw, revision = await self._bucket.load(self._entry(session))
        if raw:
            await self._bucket.delete(self._entry(session), revision)

    def is_short(self, position: Position) -> bool:
        """Whether less than half of the lease is left."""
        return position.until - self._now() < _LEASE_SECONDS / 2

    def _entry(self, session: str) -> str:
        return f"{self._server}.{session}.position"


class HeldPosition:
    """A position that this process holds."""

    def __init__(self, positions: Positions, session: str, position: Position, revision: int) -> None:
        self._positions = positions
        self._session = session
        self._revision = revision
        self._taken = position
        self.position = position

    def sent(self, place: int) -> None:
        """The messages up to `place` were accepted. Stored with the next `keep` or `leave`."""
        sent = max(place, self.position.sent)
        ahead = tuple(each for each in self.position.ahead if each > sent)
        self.position = replace(self.position, sent=sent, ahead=ahead, attempts=0, resumes=0.0)

    def sent_ahead(self, places: Iterable[int]) -> None:
        """The messages at these places were settled, but not all before them."""
        ahead = {*self.position.ahead, *places}
        self.position = replace(self.position, ahead=tuple(sorted(each for each in ahead if each > self.position.sent)))

    def failed(self) -> None:
        """An attempt has failed."""
        self.position = replace(self.position, attempts=self.position.attempts + 1)

    def resumes_at(self, when: float) -> None:
        """After a failed attempt nothing is sent until `when`."""
        self.position = replace(self.position, resumes=when)

    def given_up(self) -> None:
        """A message became a dead letter."""
        self.position = replace(self.position, dead=self.position.dead + 1)

    async def keep(self) -> None:
        """Store it, and hold it for another while. Raises ConflictError: another process holds it now."""
        self.position, self._revision = await self._positions.save(self._session, self.position, self._revision)

    async def keep_if_short(self) -> None:
        """As `keep`, unless it is held for long enough already."""
        if self._positions.is_short(self.position):
            await self.keep()

    async def leave(self) -> None:
        """Store it if it has changed. This process holds it until its lease ends; others ask it to send. As `keep`."""
        if self.position != self._taken:
            await self.keep()
        self._positions.remember(self._session, self.position, self._revision)


def _parsed(raw: bytes) -> Position:
    try:
        fields = orjson.loads(raw)
        return Position(**fields | {"ahead": tuple(fields.get("ahead", ()))})
    except (ValueError, TypeError) as error:
        raise WireError("Malformed position of a webhook session", reason=str(error)) from error
