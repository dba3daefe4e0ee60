"""The result of `crm`: compares list and CRM row by row, mails with the versions, and looks for leaked values.

Expected values come from the versions of the feed and the CRM's database only, not from the email server.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from .crm_stage import FEED, Event, Scene
from .looking import CONTACTS, MEMBERS, members_of
from .memory import look

TOKEN_BYTES = 4
TOLD = ("email", "firstname", "lastname")
"""Columns of the feed whose changes are mailed."""
_MANY = 8
Member = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """The number of rows in the CRM and in the mailing list, and of those that differ or are in only one of them."""

    contacts: int
    members: int
    different: int


@dataclass(frozen=True, slots=True)
class Mails:
    """Mails that the versions require, and those in the mailbox. `repeats` were dropped by their Message-ID."""

    expected: int
    in_mailbox: int
    missing: int
    unexpected: int
    repeats: int
    repeats_allowed: int
    """One per crash of the email server."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """What must be hidden from the email server. The last two are None if its memory cannot be read."""

    columns_shown: list[str]
    columns_arrived: list[str]
    values_in_mails_and_list: int
    values_in_memory: int | None
    shown_values_in_memory: int | None
    """A control: the same search finds values that were shown."""
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Context:
    """The text that passed through the agent, in bytes; `values` counts values of the body outside the abstract."""

    bytes: int
    tokens: int
    body_bytes: int
    abstract_rows: int
    values: int


@dataclass(frozen=True, slots=True)
class Told:
    """The result of the demo. Times are in ms since its start."""

    crashes: bool
    source: str
    versions: int
    agreement: Agreement
    mails: Mails
    hidden: Hidden
    context: Context
    pending_at_crash: int
    steps: list[Event]
    kills: list[Event]
    published: list[tuple[float, int]]
    arrived: list[float]
    repeated: list[float]
    lives: dict[str, list[tuple[float, float, bool]]]
    ms: float

    @property
    def problems(self) -> list[str]:
        """The problems that were found; empty if there are none."""
        mails, hidden = self.mails, self.hidden
        found = {
            "list and CRM differ": self.agreement.different,
            "mails are missing": mails.missing,
            "mails are not called for": mails.unexpected,
            "more mails came again than servers crashed": max(0, mails.repeats - mails.repeats_allowed),
            "columns arrived that are not shown": len(set(hidden.columns_arrived) - set(hidden.columns_shown)),
            "hidden values are in mails or in the list": hidden.values_in_mails_and_list,
            "hidden values are in the email server's memory": hidden.values_in_memory or 0,
            "values of the body were in the agent's context": self.context.values,
            "crashes did not happen": self.crashes and len({kill.lane for kill in self.kills}) < len(self.lives),
            "no crash came between an edit and its version": self.crashes and not self.pending_at_crash,
        }
        return [f"{what} ({number})" for what, number in found.items() if number]

    @property
    def verified(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        parts = {name: asdict(getattr(self, name)) for name in ("agreement", "mails", "hidden", "context")}
        return {
            "demo": "crm",
            "crashes": self.crashes,
            "source": self.source,
            "verified": self.verified,
            "problems": self.problems,
            "versions": self.versions,
            **parts,
            "edits_unpublished_at_crash": self.pending_at_crash,
            "kills": [{"who": kill.lane, "at_ms": kill.at, "what": kill.what} for kill in self.kills],
            "steps": [{"name": step.what, "at_ms": step.at} for step in self.steps],
            "ms": self.ms,
        }


async def told(play: Scene, crashes: bool, shown: Sequence[str]) -> Told:
    """Compare all results while the servers still run."""
    notices = [notice async for notice in play.plane.feeds.versions(FEED)]
    versions = {notice.version: await play.plane.feeds.rows(notice) for notice in notices}
    wanted = called_for({v: rows for v, rows in versions.items() if v >= play.first_version}, TOLD)
    with closing(sqlite3.connect(play.database)) as one, closing(sqlite3.connect(play.list_database)) as other:
        contacts, members = members_of(one, CONTACTS), members_of(other, MEMBERS)
    box = play.box
    email_crashes = sum(kill.lane == "email" for kill in play.crashes)
    now = max((life[1] for life in play.email.lives), default=0.0)

    def ms(at: float) -> float:
        return round((at - play.began) * 1000, 1)

    ends = [*(mail.at for mail in box.mails.values()), *(notice.at for notice in notices), now]
    lives = {"crm": play.crm.lives, "bridge": play.bridge_lives, "email": play.email.lives}
    return Told(
        crashes=crashes,
        source=play.source,
        versions=len(versions),
        agreement=Agreement(len(contacts), len(members), different(contacts, members)),
        mails=Mails(
            expected=len(wanted),
            in_mailbox=len(box.mails),
            missing=len(wanted - box.mails.keys()),
            unexpected=len(box.mails.keys() - wanted),
            repeats=len(box.repeats),
            repeats_allowed=email_crashes,
        ),
        hidden=_hidden(play, shown),
        context=_context(play, sum(notice.body.size for notice in notices)),
        pending_at_crash=play.pending_at_crash,
        steps=[Event(ms(step.at), step.lane, step.what) for step in play.steps],
        kills=[Event(ms(kill.at), kill.lane, kill.what) for kill in play.crashes],
        published=[(ms(notice.at), notice.version) for notice in notices],
        arrived=[ms(mail.at) for mail in box.mails.values()],
        repeated=[ms(mail.at) for mail in box.repeats],
        lives={
            who: [(ms(start), ms(end) if end else 0.0, killed) for start, end, killed in each]
            for who, each in lives.items()
        },
        ms=ms(max(ends)),
    )


def _context(play: Scene, body_bytes: int) -> Context:
    text = "\n".join(play.context).encode()
    return Context(
        bytes=len(text),
        tokens=-(-len(text) // TOKEN_BYTES),
        body_bytes=body_bytes,
        abstract_rows=len(play.abstract),
        values=_found(text, [*play.hidden_values, *play.mail_addresses]),
    )


def called_for(versions: Mapping[int, Iterable[Mapping[str, Any]]], names: Sequence[str]) -> set[str]:
    """Return the Message-IDs that these versions require: one per contact that was added, deleted or changed.

    `names` are the columns whose changes are mailed.
    """
    wanted: set[str] = set()
    before: dict[Any, Member] = {}
    for version, rows in sorted(versions.items()):
        after = {row["id"]: tuple(row[name] for name in names) for row in rows}
        keys = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        wanted |= {f"<{FEED}.{key}.{version}@lists.example>" for key in keys}
        before = after
    return wanted


def different(some: Mapping[Any, Member], others: Mapping[Any, Member]) -> int:
    """Return the number of keys whose rows differ or are in only one of the two."""
    return sum(some.get(key) != others.get(key) for key in some.keys() | others.keys())


def _hidden(play: Scene, shown: Sequence[str]) -> Hidden:
    kept = [mail.raw for mail in (*play.box.mails.values(), *play.box.repeats)]
    kept += [path.read_bytes() for path in play.scratch.glob("email.*")]  # the list, its journal and its log
    with closing(sqlite3.connect(play.list_database)) as looking:
        arrived = [row[0] for row in looking.execute("SELECT name FROM arrived ORDER BY name")]
    values = [value for value in play.hidden_values if value.isascii() and len(value) >= _MANY]
    looked = look(play.email.pid, values[:: max(1, len(values) // _MANY)])
    control = look(play.email.pid, play.mail_addresses[-_MANY:])
    return Hidden(
        columns_shown=sorted(shown),
        columns_arrived=arrived,
        values_in_mails_and_list=_found(b"\n".join(kept), play.hidden_values),
        values_in_memory=looked.found if looked else None,
        shown_values_in_memory=control.found if control else None,
        memory_bytes=looked.bytes if looked else 0,
    )


def _found(text: bytes, values: Iterable[str]) -> int:
    return sum(value.encode() in text for value in set(values) if len(value) >= _MANY)
