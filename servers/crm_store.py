"""The database of the CRM: contacts, invoices, and an outbox of edits that are not published yet.

Triggers write the outbox in the transaction of the edit. No program that edits can forget it, and an edit whose process
is killed stays in the outbox for the next process.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

Row = dict[str, Any]
COLUMNS = (
    "firstname",
    "lastname",
    "company",
    "address",
    "city",
    "state",
    "country",
    "postalcode",
    "phone",
    "fax",
    "email",
)
"""Columns of a contact besides its id."""
NEEDED = ("firstname", "lastname", "email")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TRIGGER = """CREATE TRIGGER {table}_{event} AFTER {event} ON {table}
    BEGIN INSERT INTO outbox (contact) VALUES ({row}.{column}); END;"""
_TRIGGERS = "\n".join(
    _TRIGGER.format(table=table, event=event, row=row, column=column)
    for table, column in (("contacts", "id"), ("invoices", "contact"))
    for event, row in (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old"))
)
_SCHEMA = f"""
CREATE TABLE contacts (id INTEGER PRIMARY KEY AUTOINCREMENT,
    {", ".join(f"{name} TEXT{' NOT NULL' if name in NEEDED else ''}" for name in COLUMNS)});
CREATE TABLE invoices (id INTEGER PRIMARY KEY, contact INTEGER NOT NULL REFERENCES contacts ON DELETE CASCADE,
    date TEXT NOT NULL, country TEXT, total REAL NOT NULL);
CREATE INDEX invoices_contact ON invoices (contact);
CREATE TABLE outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, contact INTEGER NOT NULL);
{_TRIGGERS}
"""
_CONTACTS = f"""SELECT id, {", ".join(COLUMNS)},
    (SELECT round(coalesce(sum(total), 0.0), 2) FROM invoices WHERE contact = contacts.id) AS spent
    FROM contacts ORDER BY id"""  # noqa: S608 - our own names


class EditError(Exception):
    """The edit is not valid, and nothing was changed; the message says how to correct it."""


def database() -> Path:
    """Return the path of the CRM's data: CRM_DATABASE, or a file of this user."""
    return Path(os.environ.get("CRM_DATABASE", "") or platformdirs.user_data_path("broker-plane") / "crm.sqlite")


class Contacts:
    """One connection to the database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, create: bool = False) -> Iterator[Contacts]:
        """Open the database for the time of the block.

        Raises:
            EditError: it does not exist, and `create` is not set.
        """
        if not create and not path.exists():
            raise EditError(f"There is no {path}: run `python -m servers.crm_data`, or name it in CRM_DATABASE")
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # a confirmed edit also survives a power cut
            connection.execute("PRAGMA foreign_keys = ON")
            yield cls(connection)
        finally:
            connection.close()

    def replace_all(self, contacts: Sequence[Mapping[str, Any]], invoices: Sequence[Mapping[str, Any]]) -> None:
        """Replace all data with these rows; missing tables are created."""
        with self._transaction():
            if not self._sql.execute("SELECT 1 FROM sqlite_master WHERE name = 'outbox'").fetchone():
                for statement in _statements(_SCHEMA):
                    self._sql.execute(statement)
            self._sql.execute("DELETE FROM contacts")
            for table, rows in (("contacts", contacts), ("invoices", invoices)):
                for row in rows:
                    self._insert(table, row)

    def edit(
        self, insert: Sequence[Mapping[str, Any]], update: Sequence[Mapping[str, Any]], delete: Sequence[int]
    ) -> list[int]:
        """Edit in one transaction, and return the ids of the new contacts.

        Raises:
            EditError: a column or contact does not exist, or a value is not valid; nothing was changed.
        """
        try:
            with self._transaction():
                new = [self._insert("contacts", _checked(row)) for row in insert]
                for row in update:
                    self._update(_checked(row, with_id=True))
                for number in delete:
                    self._one("DELETE FROM contacts WHERE id = ?", (number,), number)
                return new
        except sqlite3.Error as error:
            raise EditError(f"{error}; nothing was edited") from error

    def unpublished(self) -> int:
        """Return the number of the newest unpublished edit; 0 if there is none."""
        return int(self._sql.execute("SELECT coalesce(max(number), 0) FROM outbox").fetchone()[0])

    def snapshot(self) -> tuple[list[Row], int]:
        """Return all contacts, each with what it `spent`, and the number of the last edit they include."""
        with self._transaction():
            return self.rows(), self.unpublished()

    def rows(self) -> list[Row]:
        return [dict(row) for row in self._sql.execute(_CONTACTS)]

    def invoices(self) -> list[Row]:
        return [dict(row) for row in self._sql.execute("SELECT * FROM invoices ORDER BY id")]

    def published(self, upto: int) -> None:
        """Remove the edits up to this number from the outbox."""
        self._sql.execute("DELETE FROM outbox WHERE number <= ?", (upto,))

    def _insert(self, table: str, row: Mapping[str, Any]) -> int:
        places = ", ".join("?" for _ in row)
        sql = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"  # noqa: S608 - names that were checked
        return int(self._sql.execute(sql, tuple(row.values())).lastrowid or 0)

    def _update(self, row: Row) -> None:
        number = row.pop("id")
        if not row:
            raise EditError(f"Nothing is changed of contact {number}: name columns and their new values")
        sets = ", ".join(f"{name} = ?" for name in row)
        self._one(f"UPDATE contacts SET {sets} WHERE id = ?", (*row.values(), number), number)  # noqa: S608

    def _one(self, sql: str, values: tuple[Any, ...], number: int) -> None:
        if self._sql.execute(sql, values).rowcount != 1:
            raise EditError(f"There is no contact {number}; nothing was edited")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._sql.execute("ROLLBACK")
            raise
        self._sql.execute("COMMIT")


def _checked(row: Mapping[str, Any], *, with_id: bool = False) -> Row:
    allowed = {*COLUMNS, "id"} if with_id else set(COLUMNS)
    if unknown := sorted(row.keys() - allowed):
        raise EditError(f"A contact has no {unknown[0]!r} to be set; its columns are {', '.join(COLUMNS)}")
    if with_id and "id" not in row:
        raise EditError("An update names the id of its contact")
    for name, value in row.items():
        if name != "id" and not (value is None or isinstance(value, str)):
            raise EditError(f"{name} is text or null, not {value!r}")
        if isinstance(value, str) and _CONTROL.search(value):
            raise EditError(f"{name} is one line of text, without control characters")
    return dict(row)


def _statements(script: str) -> Iterator[str]:
    """Execute the statements one by one: `executescript` would commit the open transaction."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
