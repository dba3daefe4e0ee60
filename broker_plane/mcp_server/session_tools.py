"""The tools with which a model takes part in collaborative sessions (docs/sessions.md).

Each call is a request of its own: a model has no connection that stays open. Values above the token budget become a
body, which the reading tools read on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BeforeValidator, Field

from broker_plane.errors import BrokerPlaneError, StaleBaseError
from broker_plane.reading.tokens import DEFAULT_TOKENS, LEAST_TOKENS, MOST_TOKENS, TOKEN_BYTES, cut_text
from broker_plane.runtime.plane import Plane
from broker_plane.runtime.session_requests import ParticipantRequests, SessionIdentity
from broker_plane.runtime.session_view import Fields, SessionView
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tools import arguments as asked
from broker_plane.wire import slips

_DIFF_BYTES = 4_000
_MOST_LISTED = 20
"""Notes, conflicts, participants and proposals in one answer, the newest."""

_MOST_NOTE_BYTES = 1_000


def _read_json(value: Any) -> Any:
    """An object that a model wrote as a text, as its value; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return slips.read(value)
        except ValueError:
            return value
    return None if slips.is_nothing(value) else value


def _choice(value: Any) -> Any:
    found = _read_json(value)
    return slips.bare(found).lower() if isinstance(found, str) else found


SESSION = Annotated[str, BeforeValidator(slips.text), Field(description="The session's address or descriptor")]
NAME = Annotated[str, BeforeValidator(slips.text), Field(description="Your name in the session; keep the same one")]
REGION = Annotated[
    dict[str, Any] | None,
    BeforeValidator(_read_json),
    Field(description='Text: {"start": n, "end": m} in characters. JSON, tables: {"path": "/pointer"}. None: all'),
]
EDIT = Annotated[
    Any,
    Field(description='What replaces the region: {"text"} or {"value"}; or {"diff"}, {"patch"}. null deletes it'),
]
CHOICE = Annotated[Any, BeforeValidator(_choice), Field(description='"ours", "theirs" or {"edit": …}')]
REVISION = Annotated[int | None, BeforeValidator(slips.number), Field(description="Default: the newest")]
BASE = Annotated[int, BeforeValidator(slips.number), Field(ge=1, description="The revision that you have read")]
TOKENS = Annotated[int, BeforeValidator(slips.number), Field(ge=LEAST_TOKENS, le=MOST_TOKENS)]
KIND = Literal["text", "json", "table"]
NOTE_TYPE = Literal["constraint", "decision", "question", "answer", "reference", "verdict", "comment"]


class SessionMcpTools:
    """Each method is a tool; its docstring is what the model reads."""

    def __init__(self, plane: Callable[[], Awaitable[Plane]]) -> None:
        self._plane = plane

    @property
    def all(self) -> tuple[Callable[..., Awaitable[dict[str, Any]]], ...]:
        """The tools, in the order in which they are listed."""
        return (
            self.session_create,
            self.session_read,
            self.session_propose,
            self.session_note,
            self.session_decide,
            self.session_confirm,
        )

    async def session_create(
        self,
        value: Annotated[Any, Field(description="The artifact; a small one, since it comes through you")] = None,
        resource_url: Annotated[str, BeforeValidator(slips.text), Field(description="Or a body to begin with")] = "",
        kind: Annotated[KIND | None, BeforeValidator(_read_json)] = None,
        sync: Literal["crdt", "patch", "ot"] = "patch",
        expected: Annotated[list[str] | None, BeforeValidator(slips.names)] = None,
        ttl: asked.SECONDS = None,
    ) -> dict[str, Any]:
        """Start a session in which several agents and people edit one text, JSON document or table.

        Hand `editor` to those who may edit, `reviewer` to those who may write notes, and `observer` to readers; each
        is an address that also opens in a browser. It closes when all `expected` names have confirmed.
        """
        plane = await self._connected()
        with _as_tool_errors():
            created = await plane.sessions.create(
                value, source=resource_url or None, kind=kind, sync=sync, policy={"expected": expected or []}, ttl=ttl
            )
            urls: dict[str, Any] = {str(role): url for role, url in created.urls.items()}
            return {"session_id": created.session_id, **urls, "descriptor": created.descriptor}

    async def session_read(
        self, session: SESSION, revision: REVISION = None, name: NAME = "", max_tokens: TOKENS = DEFAULT_TOKENS
    ) -> dict[str, Any]:
        """The artifact of a session, with its revision, open conflicts, notes and leases. Read before you propose."""
        async with self._requests(session, name) as requests:
            view = await requests.read(revision)
            return {**_about(view.fields), **await self._value(view, max_tokens)}

    async def session_propose(
        self,
        session: SESSION,
        base: BASE,
        edit: EDIT = None,
        region: REGION = None,
        intent: Annotated[str, Field(description="Why, such as fix, refactor, docs or write")] = "",
        message: Annotated[str, Field(description="What the edit does, for the history")] = "",
        name: NAME = "",
    ) -> dict[str, Any]:
        """Edit a region of the artifact as you read it at revision `base`.

        If it has changed since, the answer or the error has the diff: read it before you go on. An edit that overlaps
        another one may become a conflict.
        """
        async with self._requests(session, name) as requests:
            done = await requests.propose(base, intent, region, edit, message=message)
            stale = {"stale": True, "merged": done.merged, "diff": _cut(done.diff)} if done.stale else {}
            return {"revision": done.revision, **stale, **({"conflict": done.conflict} if done.conflict else {})}

    async def session_note(
        self,
        session: SESSION,
        type: NOTE_TYPE,
        text: str,
        thread: Annotated[str, Field(description="The note that this answers")] = "",
        region: REGION = None,
        verdict: Literal["", "approve", "request_changes"] = "",
        name: NAME = "",
    ) -> dict[str, Any]:
        """Write on the session's blackboard, for the other participants. A verdict also needs `verdict`."""
        async with self._requests(session, name) as requests:
            return {"note": await requests.note(type, text, region=region, thread=thread, verdict=verdict)}

    async def session_decide(
        self,
        session: SESSION,
        conflict: str,
        choice: CHOICE,
        base: Annotated[int | None, Field(description="The newest revision that you have read")] = None,
        name: NAME = "",
    ) -> dict[str, Any]:
        """Decide an open conflict: keep what the artifact had ("ours"), take the later edit ("theirs"), or another.

        If its region has changed since the conflict, the error has the diff: read it, and decide again with the newest
        revision as `base`.
        """
        async with self._requests(session, name) as requests:
            return {"revision": await requests.decide(conflict, choice, base)}

    async def session_confirm(self, session: SESSION, name: NAME = "") -> dict[str, Any]:
        """Say that you are done. The session closes when all expected participants have confirmed."""
        async with self._requests(session, name) as requests:
            confirmed, missing = await requests.confirm()
            return {"confirmed": confirmed, "missing": missing}

    @asynccontextmanager
    async def _requests(self, session: str, name: str) -> AsyncIterator[ParticipantRequests]:
        plane = await self._connected()
        with _as_tool_errors():
            who = SessionIdentity(name or plane.settings.puller_name.lower())
            async with plane.sessions.requests(session, who=who) as requests:
                yield requests

    async def _value(self, view: SessionView, max_tokens: int) -> dict[str, Any]:
        """The value, or its beginning and a body that has all of it."""
        raw = view.value.encode() if isinstance(view.value, str) and view.kind == "text" else json_bytes(view.value)
        budget = max_tokens * TOKEN_BYTES
        if len(raw) <= budget:
            return {"value": view.value}
        plane = await self._connected()
        if view.kind == "table":
            published = await plane.publish(view.value, uses="unlimited")
        else:
            media_type = "text/plain" if view.kind == "text" else "application/json"
            published = await plane.publish(raw, media_type=media_type, uses="unlimited")
        return {
            "beginning": cut_text(raw.decode(), budget // 2),
            "resource_url": published.resource_url,
            "next_step": "The value is large: read parts of it with read_body(resource_url, …)",
        }

    async def _connected(self) -> Plane:
        with _as_tool_errors():
            return await self._plane()


@contextmanager
def _as_tool_errors() -> Iterator[None]:
    """Turn our errors in the block into tool errors, whose text says what to do; a stale base comes with the diff."""
    try:
        yield
    except StaleBaseError as error:
        raise ToolError(f"{error}\nWhat changed since your base:\n{_cut(error.diff)}") from error
    except BrokerPlaneError as error:
        raise ToolError(str(error)) from error


def _about(fields: Fields) -> dict[str, Any]:
    """What `show` says beside the value, without what is empty, and bounded."""
    names = ("revision", "kind", "sync", "status", "expected", "confirmed", "intents", "you", "result")
    found = {name: fields.get(name) for name in names}
    for name in ("participants", "conflicts", "proposals", "leases", "notes"):
        listed = list(fields.get(name) or ())
        found[name] = [_short(each) for each in listed[-_MOST_LISTED:]]
        found[f"{name}_left_out"] = max(0, len(listed) - _MOST_LISTED) + int(fields.get(f"{name}_left_out") or 0)
    return {name: value for name, value in found.items() if value}


def _short(listed: Any) -> Any:
    """An object whose texts are cut."""
    if isinstance(listed, str):
        return cut_text(listed, _MOST_NOTE_BYTES)
    if isinstance(listed, Mapping):
        return {name: _short(value) for name, value in listed.items()}
    return listed


def _cut(diff: str) -> str:
    return cut_text(diff, _DIFF_BYTES)
