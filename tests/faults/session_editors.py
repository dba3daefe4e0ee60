"""Editors of one session in a process that a test may kill: `python -m tests.faults.session_editors JOB`.

JOB is JSON: `{"seed", "edits", "editors": [{"name", "session", "settings"}]}`. Each editor makes edits until the log
has `edits` of its own. Lines of output: `{"stored": revision}` for each of its operations that it hears of,
`{"answered": revision, "mark"}` for each proposal that was answered, `{"done": name}`. On each line of input every
editor says what it has: `{"states": [{"name", "revision", "sha256", "vector"}]}`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import Any

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import BrokerPlaneError, ConflictError, StaleBaseError
from broker_plane.runtime.joined_session import JoinedSession
from broker_plane.runtime.session_requests import Choice
from broker_plane.sessions.canonical import sha256
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.folded import Folded

INTENTS = ("fix", "refactor", "write")
ASTRAL = "🌊🌴𝄞é"
_PAUSE_SECONDS = 0.02


def vector_of(raw: bytes) -> Iterator[tuple[int, int]]:
    """Client and clock of each pair of a state vector of Yjs, whose order says nothing: numbers of 7 bits a byte."""
    numbers, number, shift = [], 0, 0
    for byte in raw:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    yield from zip(numbers[1::2], numbers[2::2], strict=True)


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


class Editor:
    """One participant. Its replica is folded from the entries that it hears, and from nothing else."""

    def __init__(self, name: str, session: JoinedSession, edits: int, seed: int) -> None:
        self.name = name
        self.session = session
        self.edits = edits
        self.chance = random.Random(f"{seed} {name}")
        self.folded: Folded | None = None
        self.stored = 0
        self.marks = 0
        self._heard = asyncio.Event()

    async def hear(self) -> None:
        """Fold every entry, and say which operations of this participant are stored."""
        me = self.session.you["id"]
        async with aclosing(self.session.entries(0)) as entries:
            async for entry in entries:
                self._fold(entry)
                if entry.kind == "operation" and entry.participant == me:
                    self.stored += 1
                    say(stored=entry.revision)
                self._heard.set()

    async def edit(self) -> None:
        """Make edits until enough are stored."""
        while self.folded is None:
            await self._wait()
        work = self._type if self.session.sync == "crdt" else self._propose
        while self.stored < self.edits:
            try:
                await work()
            except StaleBaseError:
                continue
            except BrokerPlaneError as error:
                if not (error.retryable or isinstance(error, ConflictError)):
                    raise
            await asyncio.sleep(self.chance.random() * _PAUSE_SECONDS)
        if self.session.sync == "crdt":
            await self.session.document().synchronized()
        say(done=self.name)

    def state(self) -> dict[str, Any]:
        """What this editor has now."""
        if self.folded is None:
            return {"name": self.name, "revision": 0}
        said = {"name": self.name, "revision": self.folded.state.revision}
        value = self.folded.value
        if self.session.sync == "crdt":
            document = self.session.document()
            value = document.value
            said["vector"] = sorted(vector_of(document.get_state()))
        return {**said, "sha256": sha256("text", value)}

    async def _type(self) -> None:
        """Insert or delete something in the live document."""
        document = self.session.document()
        text = document.value
        at = self.chance.randint(0, len(text))
        if self.chance.random() < 0.3 and text:
            document.splice(at, min(len(text), at + self.chance.randint(1, 4)), "")
        else:
            document.splice(at, at, self._mark())
        if self.chance.random() < 0.3:
            await document.synchronized()

    async def _propose(self) -> None:
        """Edit a line of what this editor knows; others may have changed it meanwhile."""
        assert self.folded is not None
        base, text = self.folded.state.revision, self.folded.value
        starts = [0, *(at + 1 for at, letter in enumerate(text) if letter == "\n")]
        start = self.chance.choice(starts[:-1])
        end = text.index("\n", start)
        mark = self._mark()
        region = {"start": start, "end": end}
        edit = {"text": f"{text[start:end]} {mark}"}
        intent = self.chance.choice(INTENTS)
        done = await self.session.propose(base, intent, region, edit, stale="merge")
        say(answered=done.revision, mark=mark)
        if self.session.sync == "patch" and self.session.conflicts and self.chance.random() < 0.3:
            await self._decide()

    async def _decide(self) -> None:
        """Decide a conflict, unless somebody was faster; again whenever others have changed its region."""
        conflict = self.chance.choice(self.session.conflicts)
        choices: list[Choice] = ["ours", "theirs"]
        choice = self.chance.choice(choices)
        base: int | None = None
        while True:
            try:
                await self.session.decide(conflict, choice, base)
                return
            except StaleBaseError as error:
                base = error.revision
            except BrokerPlaneError as error:
                if error.code != "session":
                    raise
                return

    def _mark(self) -> str:
        """A text that nobody else inserts, with characters of one to four bytes."""
        self.marks += 1
        return f"[{self.name}.{self.chance.getrandbits(32):08x}{self.chance.choice(ASTRAL)}]"

    def _fold(self, entry: Entry) -> None:
        if self.folded is None:
            self.folded = Folded.of([entry])
        else:
            self.folded.fold(entry)

    async def _wait(self) -> None:
        self._heard.clear()
        await self._heard.wait()


async def take_part(job: Mapping[str, Any], asked: Mapping[str, Any], editors: dict[str, Editor]) -> None:
    """One editor, until the process is killed."""
    async with (
        Plane.connect(load_settings(**asked["settings"])) as plane,
        plane.sessions.join(asked["session"], name=asked["name"], via="http") as session,
        asyncio.TaskGroup() as tasks,
    ):
        editor = editors[asked["name"]] = Editor(asked["name"], session, job["edits"], job["seed"])
        tasks.create_task(editor.hear())
        tasks.create_task(editor.edit())


async def answer(editors: Mapping[str, Editor]) -> None:
    """Say what every editor has, whenever a line comes."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        say(states=[editor.state() for editor in editors.values()])


async def main(job: Mapping[str, Any]) -> None:
    editors: dict[str, Editor] = {}
    async with asyncio.TaskGroup() as tasks:
        for asked in job["editors"]:
            tasks.create_task(take_part(job, asked, editors))
        tasks.create_task(answer(editors))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
