"""A story of `collab`: its artifact, its policy, its cast with their scripts, and what must hold in the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .stage import DemoError

if TYPE_CHECKING:
    from broker_plane import Entry, JoinedSession

Found = TypeVar("Found")
Script = Callable[["JoinedSession"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Member:
    """One of the cast. `name` is fixed by the grant; `part` names the script, which is the name's own by default."""

    name: str
    role: Literal["editor", "reviewer", "observer"]
    intent: str = ""
    via: Literal["http", "nats"] = "http"
    part: str = ""
    person: bool = False
    """Whether a person plays it, in the page of the session."""
    after: str = ""
    """The member after whose end this one begins; empty: at once."""
    killed: bool = False
    """Whether its process is ended by kill -9 as soon as its first change is in the log."""


@dataclass(frozen=True, slots=True)
class Told:
    """How a session ended: its entries, its last artifact, and what is said of it."""

    entries: Sequence[Entry]
    value: Any
    shown: Mapping[str, Any]
    """The answer of `show` to the owner, at the end."""

    def of(self, kind: str, who: str = "") -> list[Entry]:
        """The entries of a kind, of a participant if one is named."""
        return [each for each in self.entries if each.kind == kind and (not who or is_by(each.participant, who))]


@dataclass(frozen=True, slots=True)
class Story:
    """One story. `check` yields what is wrong at the end, in words."""

    name: str
    title: str
    kind: Literal["text", "json", "table"]
    sync: Literal["crdt", "patch", "ot"]
    value: Any
    cast: Sequence[Member]
    parts: Mapping[str, Script]
    check: Callable[[Told], list[str]]
    policy: Mapping[str, Any] = field(default_factory=dict)


def is_by(participant: str, name: str) -> bool:
    """Whether a participant's id belongs to this name."""
    return participant == name or participant.rpartition("-")[0] == name


async def seen(session: JoinedSession, condition: Callable[[], Found | None]) -> Found:
    """Wait until `condition` finds something in what is known of the session, and return it.

    Raises:
        DemoError: the session ended before.
    """
    async with aclosing(session.entries()) as entries:
        while not (found := condition()):
            if await anext(entries, None) is None:
                raise DemoError("The session ended before a participant had seen what it waits for")
        return found


async def entry_of(session: JoinedSession, kind: str, who: str, nth: int = 1) -> Entry:
    """Wait for the nth entry of a kind by a participant, counted from the beginning of the session."""
    async with aclosing(session.entries(1)) as entries:
        async for entry in entries:
            if entry.kind == kind and is_by(entry.participant, who):
                nth -= 1
                if not nth:
                    return entry
    raise DemoError(f"The session ended without an entry {kind} of {who}")


async def note_of(session: JoinedSession, type: str, who: str, thread: str = "") -> Mapping[str, Any]:
    """Wait for a note of a type by a participant, in a thread if one is named."""

    def found() -> Mapping[str, Any] | None:
        for note in session.notes:
            of_thread = not thread or note["thread"] == thread
            if note["type"] == type and is_by(str(note["participant"]), who) and of_thread:
                return note
        return None

    return await seen(session, found)


def region_of(text: str, part: str) -> dict[str, int]:
    """The region of the first place where `part` is.

    Raises:
        DemoError: it is nowhere.
    """
    start = text.find(part)
    if start < 0:
        raise DemoError(f"The artifact does not have {part!r}")
    return {"start": start, "end": start + len(part)}
