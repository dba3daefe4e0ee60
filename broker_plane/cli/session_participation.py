"""What `session join` does in a session: an edit, a note, and a view of what happens."""

from __future__ import annotations

import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio.to_thread
import typer

from broker_plane.cli.console import note
from broker_plane.cli.session_texts import say_entry
from broker_plane.runtime.joined_session import JoinedSession
from broker_plane.sessions.requests import NOTE_TYPES
from broker_plane.wire.exact_json import MALFORMED, loads


async def act(joined: JoinedSession, propose: str, message: str, note_text: str) -> None:
    """Do what the options of `join` say, before anything is printed."""
    if propose:
        raw = await anyio.to_thread.run_sync(_read, propose)
        await joined.propose(joined.revision, edit=_edit(joined, raw), message=message)
    if note_text:
        kind, colon, text = note_text.partition(":")
        typed = bool(colon) and kind.strip().lower() in NOTE_TYPES
        await joined.note(kind.strip().lower() if typed else "comment", (text if typed else note_text).strip())


async def follow_entries(joined: JoinedSession, *, json: bool) -> None:
    """Print each entry as it comes, until the session ends."""
    note(f"You are {joined.you.get('name')} ({joined.you.get('role')}), at revision {joined.revision}. Ctrl-C leaves.")
    async with aclosing(joined.entries()) as entries:
        async for entry in entries:
            say_entry(entry, json=json)


def _edit(joined: JoinedSession, raw: bytes) -> Any:
    try:
        return {"text": raw.decode()} if joined.kind == "text" else {"value": loads(raw)}
    except UnicodeDecodeError:
        raise typer.BadParameter("--propose needs a text in UTF-8") from None
    except MALFORMED:
        raise typer.BadParameter("--propose needs JSON, because the artifact is JSON") from None


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
