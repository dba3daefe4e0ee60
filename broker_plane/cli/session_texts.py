"""How commands show sessions to people: views, entries and history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from broker_plane.cli.console import note, out, say_json, when
from broker_plane.runtime.session_offers import CreatedSession
from broker_plane.runtime.session_view import SessionView
from broker_plane.sessions.entries import Entry
from broker_plane.wire.grant import peek

_MOST_SHOWN = 100
"""Characters of a text in one line of a history."""


def say_created(created: CreatedSession, *, json: bool) -> None:
    """Print a new session with its grants; in a pipe only the editor's address."""
    if json:
        say_json(created.to_wire())
        return
    about: dict[str, object] = {
        "session": created.session_id,
        "artifact": f"{created.kind}, synchronized by {created.sync}",
        "expires": when(peek(created.grants["editor"]).expires),
        "yjs": created.websocket if created.sync == "crdt" else None,
        **{str(role): url for role, url in created.urls.items()},
    }
    out.result(created.urls["editor"], about)
    if out.to_people:
        note("Open an address in a browser, or run: broker-plane session join ADDRESS --name NAME")


def say_view(view: SessionView, *, json: bool) -> None:
    """Print an artifact; on a terminal with what else there is to know."""
    if json:
        say_json(dict(view.fields))
        return
    if out.to_people:
        out.lines(_about(view.fields))
        out.print("")
    out.text(artifact_text(view).removesuffix("\n"))


def say_history(entries: Iterable[Entry], *, json: bool) -> None:
    """Print entries as a table, oldest first."""
    if json:
        say_json([entry.to_json() for entry in entries])
        return
    out.table(("revision", "at", "participant", "intent", "what"), map(_row, entries))


def say_entry(entry: Entry, *, json: bool) -> None:
    """Print one entry on a line."""
    if json:
        say_json(entry.to_json())
    elif out.to_people:
        revision, at, who, intent, what = _row(entry)
        out.print(f"{revision:>5}  {at}  {who}{f' ({intent})' if intent else ''}  {what}")
    else:
        out.table((), [_row(entry)])


def artifact_text(view: SessionView) -> str:
    """The artifact as text: JSON is indented, a table has a row on each line."""
    if isinstance(view.value, str) and view.kind == "text":
        return view.value
    if view.kind == "table":
        return "\n".join(orjson.dumps(row).decode() for row in view.value or ())
    return orjson.dumps(view.value, option=orjson.OPT_INDENT_2).decode()


def summary(entry: Entry) -> str:
    """What happened, in a few words."""
    content = entry.content
    match entry.kind:
        case "joined":
            return f"joined as {entry.role}"
        case "operation":
            return _shortened(str(content.get("message") or f"edited{_where(content.get('region'))}"))
        case "noted":
            verdict = f" {content['verdict']}" if content.get("verdict") else ""
            return f"{content.get('type')}{verdict}: {_shortened(str(content.get('text', '')))}"
        case "rolled_back":
            return f"rolled back to revision {content.get('to')}"
        case "reverted":
            return f"reverted revision {content.get('of')}: {_shortened(str(content.get('reason', '')))}"
        case "conflict":
            return f"conflict {content.get('conflict')}{_where(content.get('region'))}: {content.get('status')}"
        case "decided":
            return f"decided the conflict {content.get('conflict')}: {content.get('choice')}"
        case "proposed":
            return f"proposal {content.get('proposal')}: {_shortened(str(content.get('title', '')))}"
        case "leased":
            return f"leased{_where(content.get('region')) or ' the whole artifact'} until {when(content['until'])}"
        case "closed":
            return _shortened(f"closed {content.get('reason') or ''}".rstrip())
        case _:
            return entry.kind


def _row(entry: Entry) -> tuple[object, ...]:
    return str(entry.revision), when(entry.at), entry.participant, entry.intent, summary(entry)


def _where(region: Any) -> str:
    if not isinstance(region, Mapping):
        return ""
    if "path" in region:
        return f" at {region['path'] or 'the root'}"
    return f" at {region.get('start')}-{region.get('end')}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_SHOWN else f"{line[: _MOST_SHOWN - 1]}…"


def _about(fields: Mapping[str, Any]) -> dict[str, object]:
    # `present` is whoever has not left; `here` is whoever is connected, and a bridge knows that.
    present = [each for each in fields.get("participants") or () if each.get("here", each.get("present", True))]
    return {
        "session": fields.get("session"),
        "revision": fields.get("revision"),
        "status": fields.get("status"),
        "artifact": f"{fields.get('kind')}, synchronized by {fields.get('sync')}",
        "sha256": fields.get("sha256"),
        "present": ", ".join(f"{each.get('name')} ({each.get('role')})" for each in present),
        "notes": len(fields.get("notes") or ()) + int(fields.get("notes_left_out") or 0) or None,
        "conflicts": len(fields.get("conflicts") or ()) or None,
        "proposals": ", ".join(str(each.get("proposal")) for each in fields.get("proposals") or ()),
        "confirmed": ", ".join(fields.get("confirmed") or ()),
        "result": (fields.get("result") or {}).get("resource_url"),
    }
