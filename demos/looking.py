"""Observes `crm` from outside: two databases, and conditions to wait for."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

from .stage import DemoError

CONTACTS = "SELECT id, email, firstname, lastname FROM contacts"
MEMBERS = "SELECT id, address, first_name, last_name FROM members"
SECONDS = 120.0
"""Maximum time to wait for a condition."""
_LOOK_SECONDS = 0.02


def members_of(connection: sqlite3.Connection, sql: str) -> dict[Any, tuple[Any, ...]]:
    """Return the rows by key, with the same columns in the same order for CONTACTS and MEMBERS."""
    return {row[0]: tuple(row[1:]) for row in connection.execute(sql)}


def commits(connection: sqlite3.Connection) -> int:
    """Return a number that changes with each commit of another connection (SQLite, PRAGMA data_version)."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def outbox(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM outbox").fetchone()[0])


async def within(awaited: Awaitable[object], what: str) -> None:
    """Wait until the event is set.

    Raises:
        DemoError: it was not set in time.
    """
    try:
        async with asyncio.timeout(SECONDS):
            await awaited
    except TimeoutError:
        raise DemoError(f"{what[:1].upper()}{what[1:]} did not happen within {SECONDS:.0f} s") from None


async def until(ready: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds, polling it."""
    while True:
        if await ready():
            return
        await asyncio.sleep(_LOOK_SECONDS)
