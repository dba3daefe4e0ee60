"""Plays one story: creates the session, starts its cast as processes, and reads what happened when it has closed."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING, Any

import orjson

from broker_plane import Plane
from broker_plane.testing.embedded import bare

from .collab_cast import Member, Story, Told, is_by
from .collab_page import has_browser, opened_browser, play_page
from .stage import DemoError, module
from .traffic import broker_of

if TYPE_CHECKING:
    from broker_plane import CreatedSession, Entry
    from broker_plane.testing.browser import Browser

_STORY_SECONDS = 120.0
_LOOK_SECONDS = 0.05
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Played:
    """A story that was played. `problems` is empty if everything is as it must be."""

    story: Story
    told: Told
    problems: list[str]
    through_page: bool
    """Whether the person's part was played in a browser."""
    ms: float

    def as_json(self) -> dict[str, Any]:
        kinds = [entry.kind for entry in self.told.entries]
        return {
            "story": self.story.name,
            "title": self.story.title,
            "verified": not self.problems,
            "problems": self.problems,
            "participants": sorted({entry.participant for entry in self.told.entries}),
            "entries": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
            "revisions": len(self.told.entries),
            "sha256": self.told.shown.get("sha256", ""),
            "through_page": self.through_page,
            "ms": round(self.ms, 1),
        }


async def play(plane: Plane, story: Story, *, browser: bool) -> Played:
    """Play a story to its end, which is that its session has closed.

    Raises:
        DemoError: it did not close.
    """
    began = perf_counter()
    created = await plane.sessions.create(story.value, kind=story.kind, sync=story.sync, policy=dict(story.policy))
    through_page = browser and has_browser() and any(member.person for member in story.cast)
    try:
        async with AsyncExitStack() as stack:
            opened = await stack.enter_async_context(opened_browser()) if through_page else None
            async with asyncio.timeout(_STORY_SECONDS):
                ends = await _play_all(plane, story, created, opened)
    except TimeoutError as error:
        entries = await _entries(plane, created.session_id)
        last = ", ".join(f"{entry.participant} {entry.kind}" for entry in entries[-4:])
        raise DemoError(f"The story {story.name} did not end in time; last: {last}") from error
    told = await _told(plane, created.session_id)
    problems = [f"{name}: {end}" for name, end in ends if end]
    if told.shown.get("status") != "closed":
        problems.append("The session is still open")
    problems += await _result_problems(plane, told)
    return Played(story, told, problems + story.check(told), through_page, (perf_counter() - began) * 1000)


async def _play_all(
    plane: Plane, story: Story, created: CreatedSession, browser: Browser | None
) -> list[tuple[str, str]]:
    """Play every part at the same time; the name of each that ended, and what went wrong with it."""
    grants = {
        member.name: plane.narrow(created.grants[member.role], participant=member.name, intent=member.intent or None)
        for member in story.cast
    }
    ended = {member.name: asyncio.Event() for member in story.cast}

    async def one(member: Member) -> tuple[str, str]:
        if member.after:
            await ended[member.after].wait()
        job = _job(plane, story, member, grants[member.name])
        if member.person and browser is not None:
            return member.name, await play_page(browser, grants[member.name].resource_url)
        async with _process() as process:
            await _tell(process, job)
            if member.killed:
                await _first_change(plane, created.session_id, member.name)
                process.kill()
                await process.wait()
                ended[member.name].set()
                return member.name, ""
            return member.name, await _said(process)

    return await _until_one_fails([asyncio.create_task(one(member)) for member in story.cast])


async def _until_one_fails(parts: Sequence[asyncio.Task[tuple[str, str]]]) -> list[tuple[str, str]]:
    """The results of all parts; if one of them goes wrong, of those that ended: the others may wait for it."""
    try:
        for part in asyncio.as_completed(parts):
            _, problem = await part
            if problem:
                break
        return [part.result() for part in parts if part.done()]
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)


def _job(plane: Plane, story: Story, member: Member, narrowed: Any) -> dict[str, Any]:
    """What a participant's process gets: where broker and bridge are, without a user, and the URL with its grant."""
    url, _ = broker_of(plane.settings)
    return {
        "story": story.name,
        "part": member.part or member.name,
        "type": "human" if member.person else "agent",
        "via": member.via if plane.offers_subjects else "http",
        "session": narrowed.resource_url,
        "settings": {"nats_url": bare(url), "role": "guest", "bridge_url": plane.bridge_url},
    }


@asynccontextmanager
async def _process() -> AsyncIterator[Process]:
    # Settings come with the job: this environment is the owner's.
    env = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    name, path = module("demos.collab_agent")
    process = await create_subprocess_exec(
        *(sys.executable, "-m", name), env=env | {"PYTHONPATH": path}, stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _tell(process: Process, job: dict[str, Any]) -> None:
    assert process.stdin is not None  # noqa: S101 - for the type checker: it was started with pipes
    process.stdin.write(orjson.dumps(job, option=orjson.OPT_APPEND_NEWLINE))
    await process.stdin.drain()


async def _said(process: Process) -> str:
    assert process.stdout is not None  # noqa: S101 - for the type checker: it was started with pipes
    line = await process.stdout.readline()
    return str(orjson.loads(line)["problem"]) if line else "its process ended early; its output is above"


async def _first_change(plane: Plane, session: str, name: str) -> None:
    """Wait until a participant's first change is in the log."""
    while True:
        for entry in await _entries(plane, session):
            if entry.kind == "operation" and is_by(entry.participant, name):
                return
        await asyncio.sleep(_LOOK_SECONDS)


async def _entries(plane: Plane, session: str) -> list[Entry]:
    found: list[Entry] = []
    while page := await plane.sessions.log(session, after=found[-1].revision if found else 0, limit=_PAGE):
        found += page
    return found


async def _told(plane: Plane, session: str) -> Told:
    view = await plane.sessions.show(session)
    return Told(await _entries(plane, session), view.value, view.fields)


async def _result_problems(plane: Plane, told: Told) -> list[str]:
    """Pull what the session became, as anybody does who has its URL."""
    url = (told.shown.get("result") or {}).get("resource_url")
    if not url:
        return ["The session has no result"]
    pulled = await plane.pull(url)
    return [] if sha256(pulled).hexdigest() == told.shown["sha256"] else ["The body is not the last artifact"]
