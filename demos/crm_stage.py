"""The setup of `crm`: two servers, a mailbox, a private broker, an agent, and the code that kills them."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import orjson
from mcp import Client

from broker_plane import Plane, Settings, load_settings
from broker_plane.testing.embedded import find

from .bars import Now, working
from .looking import CONTACTS, MEMBERS, SECONDS, commits, members_of, outbox, until, within
from .processes import ServerProcess
from .stage import DemoError, call, first, module

if TYPE_CHECKING:
    from .mailbox import Mailbox

FEED = "crm.contacts"
_CALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Event:
    """An event, in unix seconds. `lane` names the process."""

    at: float
    lane: str
    what: str


@dataclass(slots=True)
class Scene:
    """The processes of the demo, and what was observed."""

    plane: Plane
    settings: Settings
    crm: ServerProcess
    email: ServerProcess
    box: Mailbox
    scratch: Path
    began: float
    source: str
    hidden_values: list[str]
    """Values of the columns that are hidden from the email server, as they were at the start."""
    mail_addresses: list[str]
    abstract: list[dict[str, Any]] = field(default_factory=list)
    first_version: int = 0
    context: list[str] = field(default_factory=list)
    """Every text that passed through the agent."""
    crashes: list[Event] = field(default_factory=list)
    steps: list[Event] = field(default_factory=list)
    bridge_lives: list[tuple[float, float, bool]] = field(default_factory=list)
    pending_at_crash: int = 0
    killed_bridge: int = 0
    now: Now | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.steps.append(Event(time(), "agent", name))
        with working(f"crm: {name}") as self.now:
            yield

    async def call(self, server: ServerProcess, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call a tool and return its answer; arguments and answer are now in the agent's context."""
        assert self.now is not None  # noqa: S101 - for the type checker: within a step
        self.context.append(orjson.dumps(arguments).decode())
        try:
            async with asyncio.timeout(_CALL_SECONDS), Client(server.url) as client:
                answer = await call(client, tool, arguments, self.now)
        except BaseExceptionGroup as group:
            raise first(group) from group  # as in `servers`
        self.context.append(answer.text)
        return answer.said

    def kill_email_at(self, mails: int) -> asyncio.Event:
        """Kill the email server (kill -9) after this number of further mails, and return an event that is set then.

        It is killed before the answer to the last mail: the mail is delivered, and its sender never learns so.
        """
        killed = asyncio.Event()
        last = len(self.box.mails) + mails

        async def look() -> None:
            if len(self.box.mails) >= last:
                self.box.before_answer = None
                await self.email.kill()
                self._crashed("email", f"killed with mail {mails} of this sync delivered and not acknowledged")
                killed.set()

        self.box.before_answer = look
        return killed

    async def started_again(self, killed: asyncio.Event) -> None:
        """Restart the email server that was killed."""
        await within(killed.wait(), "the crash of the email server in mid-sync")
        await self.email.start()

    def kill_bridge(self) -> None:
        pid = self._running_bridge()
        os.kill(pid, signal.SIGKILL)
        self.bridge_lives[-1] = (self.bridge_lives[-1][0], time(), True)
        self._crashed("bridge", "killed before the deletions are pulled")
        self.killed_bridge = pid

    async def bridge_again(self) -> None:
        """Wait until its supervisor has started another one."""

        async def another() -> bool:
            return self._running_bridge() not in (0, self.killed_bridge)

        await within(until(another), "a new bridge")
        self.bridge_lives.append((time(), 0.0, False))

    async def killed_before_publishing(self, arguments: Mapping[str, Any]) -> None:
        """Edit, kill the CRM after the edit is in its database and before it is published, and restart it.

        nats-server is stopped meanwhile (SIGSTOP), so that no version can be published in between.
        """
        last = await self.plane.feeds.latest(FEED)
        with closing(sqlite3.connect(self.database)) as looking, self._held_nats():
            before = commits(looking)

            async def committed() -> bool:
                return commits(looking) != before

            asking = asyncio.create_task(self.call(self.crm, "edit", arguments))
            await within(until(committed), "the edit")
            await self.crm.kill()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            self.pending_at_crash = outbox(looking)
        if await self.plane.feeds.latest(FEED) != last:
            raise DemoError("A CRM that was killed before it could publish has published a version")
        self._crashed("crm", f"killed with {self.pending_at_crash} edits in its outbox that were not published")
        await self.crm.start()

    @contextmanager
    def _held_nats(self) -> Iterator[None]:
        running = find(self.settings.data_dir)
        if running is None:
            raise DemoError("The broker of this demo has ended; run it again")
        os.kill(running.nats_pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(running.nats_pid, signal.SIGCONT)

    @property
    def database(self) -> Path:
        return self.scratch / "crm.sqlite"

    @property
    def list_database(self) -> Path:
        return self.scratch / "email.sqlite"

    async def in_step(self) -> None:
        """Wait until the outbox is empty, and the list has the feed's newest version and the CRM's rows."""

        async def reached() -> bool:
            with closing(sqlite3.connect(self.database)) as looking:
                if outbox(looking):
                    return False
                contacts = members_of(looking, CONTACTS)
            last = await self.plane.feeds.latest(FEED)
            with closing(sqlite3.connect(self.list_database)) as looking:
                found = looking.execute("SELECT version FROM followed").fetchone()
                agree = members_of(looking, MEMBERS) == contacts
            return agree and last is not None and found is not None and found[0] == last.version

        try:
            async with asyncio.timeout(SECONDS):
                await until(reached)
        except TimeoutError:
            said = await self.call(self.email, "status", {})
            raise DemoError(f"The list did not come into step within {SECONDS:.0f} s: {said}") from None

    def _crashed(self, lane: str, what: str) -> None:
        self.crashes.append(Event(time(), lane, what))

    def _running_bridge(self) -> int:
        running = find(self.settings.data_dir)
        return running.bridge_pid if running else 0


@asynccontextmanager
async def scene(scratch: Path, source: str) -> AsyncIterator[Scene]:
    """Set up the demo; after the block every process except the broker has ended.

    Raises:
        DemoError: a server does not start, or no contacts are available.
    """
    used, rows = await asyncio.to_thread(_loaded, scratch / "crm.sqlite", source)
    async with AsyncExitStack() as stack:
        from .mailbox import mailbox  # from an extra, which `is_ready` checks first

        box = await stack.enter_async_context(mailbox())
        settings = load_settings(data_dir=scratch / "plane", nats_url="", bridge_url="")
        plane = await stack.enter_async_context(Plane.connect(settings))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
        environment |= {
            "BROKER_PLANE_DATA_DIR": str(settings.data_dir),
            "CRM_DATABASE": str(scratch / "crm.sqlite"),
            "EMAIL_DATABASE": str(scratch / "email.sqlite"),
            "EMAIL_SMTP": f"127.0.0.1:{box.port}",
        }
        crm, email = (ServerProcess(name, environment, scratch / f"{name}.log") for name in ("crm", "email"))
        for server in (crm, email):
            stack.push_async_callback(server.stop)
        with working("crm: start the servers"):
            await asyncio.gather(crm.start(), email.start())
        began = time()
        hidden = [row[name] for row in rows for name in ("phone", "fax", "address") if row[name]]
        addresses = [row["email"] for row in rows]
        play = Scene(plane, settings, crm, email, box, scratch, began, used, hidden, addresses)
        play.bridge_lives.append((began, 0.0, False))
        yield play


def _loaded(path: Path, source: Any) -> tuple[str, list[dict[str, Any]]]:
    data, store = (import_module(module(f"servers.{name}")[0]) for name in ("crm_data", "crm_store"))
    try:
        used: str = data.load(path, source)
    except data.DataError as error:
        raise DemoError(str(error)) from error
    with store.Contacts.open(path) as contacts:
        return used, contacts.rows()
