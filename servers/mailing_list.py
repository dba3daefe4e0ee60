"""The mailing list: its members in SQLite, the version of the feed that they belong to, and what it follows.

Members and version change in one transaction, after every mail about them was sent.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

Row = dict[str, Any]
COLUMNS = ("address", "first_name", "last_name")
"""Columns of a member besides its key."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS members (id PRIMARY KEY, address, first_name, last_name);
CREATE TABLE IF NOT EXISTS followed (one INTEGER PRIMARY KEY CHECK (one = 1), feed TEXT NOT NULL, grant TEXT NOT NULL,
    mapping TEXT NOT NULL, durable TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS arrived (name TEXT PRIMARY KEY);
"""


def database() -> Path:
    """Return the path of the list: EMAIL_DATABASE, or a file of this user."""
    return Path(os.environ.get("EMAIL_DATABASE", "") or platformdirs.user_data_path("broker-plane") / "email.sqlite")


@dataclass(frozen=True, slots=True)
class Followed:
    """A feed, the grant that opens it, and the names of its columns here (`mapping`: theirs to ours)."""

    feed: str
    grant: str = field(repr=False)
    mapping: Mapping[str, str]
    durable: str
    """The name of the durable that keeps the cursor in the feed."""

    def ours(self, row: Mapping[str, Any]) -> Row:
        """Return a member by our names; columns outside the list are left out, hidden ones are None."""
        renamed = {self.mapping.get(name, name): value for name, value in row.items()}
        return {name: renamed.get(name) for name in COLUMNS}

    def theirs(self, member: Mapping[str, Any]) -> Row:
        """Return a member by the feed's names."""
        back = {ours: theirs for theirs, ours in self.mapping.items()}
        return {back.get(name, name): member[name] for name in COLUMNS}


class MailingList:
    """One connection to the list's database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[MailingList]:
        """Open the list for the time of the block. Only this user can read the file, because it holds a grant."""
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
            yield cls(connection)
        finally:
            connection.close()

    def followed(self) -> Followed | None:
        """Return what the list follows; None before `follow`."""
        found = self._sql.execute("SELECT feed, grant, mapping, durable FROM followed").fetchone()
        return Followed(found[0], found[1], json.loads(found[2]), found[3]) if found else None

    def follow(self, followed: Followed) -> None:
        """Follow this from now on; if it is followed already, only the grant is replaced."""
        values = (followed.feed, followed.grant, json.dumps(dict(followed.mapping)), followed.durable)
        self._sql.execute(
            "INSERT INTO followed (one, feed, grant, mapping, durable) VALUES (1, ?, ?, ?, ?) ON CONFLICT (one) "
            "DO UPDATE SET grant = excluded.grant",
            values,
        )

    @property
    def version(self) -> int:
        """The version of the feed that the members belong to; 0 at first."""
        found = self._sql.execute("SELECT version FROM followed").fetchone()
        return int(found[0]) if found else 0

    def members(self) -> dict[Any, Row]:
        """Return all members by key."""
        rows = self._sql.execute(f"SELECT id, {', '.join(COLUMNS)} FROM members")  # noqa: S608 - our own names
        return {row[0]: dict(zip(COLUMNS, row[1:], strict=True)) for row in rows}

    def member(self, key: Any) -> Row | None:
        """Return the member with this key; None if there is none."""
        found = self._sql.execute(
            f"SELECT {', '.join(COLUMNS)} FROM members WHERE id = ?",  # noqa: S608 - our own names
            (key,),
        ).fetchone()
        return dict(zip(COLUMNS, found, strict=True)) if found else None

    def apply(self, after: Mapping[Any, Row | None], version: int) -> None:
        """Write these members (None: delete the member) and `version` in one transaction."""
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            for key, row in after.items():
                self._sql.execute("DELETE FROM members WHERE id = ?", (key,))
                if row is not None:
                    self._sql.execute("INSERT INTO members VALUES (?, ?, ?, ?)", (key, *(row[n] for n in COLUMNS)))
            self._sql.execute("UPDATE followed SET version = ?", (version,))
        except BaseException:
            self._sql.execute("ROLLBACK")
            raise
        self._sql.execute("COMMIT")

    def note_columns(self, names: Sequence[str]) -> None:
        """Record the names of the feed's columns that arrived."""
        self._sql.executemany("INSERT OR IGNORE INTO arrived VALUES (?)", [(name,) for name in names])

    def arrived(self) -> list[str]:
        """Return every column of which a value ever arrived."""
        return [row[0] for row in self._sql.execute("SELECT name FROM arrived ORDER BY name")]
