"""The page of a session in a real browser, beside participants that are programs: nothing but a person's keys."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.browser import PROGRAM, Browser, BrowserPage, running_browser
from broker_plane.testing.processes import until
from tests.bridge.sessions import JsonClient, Session, Sessions
from tests.interop.yjs_clients import Network
from tests.tools import need

pytestmark = pytest.mark.anyio
TEXT = "# Plan\n\nWe ship on Monday 🌴.\nThe budget is 300.\n"
AREA = "document.querySelector('.editor textarea')"
SAVED = "document.querySelector('#saved').textContent.startsWith('All')"
FULL_CRDT, FULL_OT = (pytest.param(sync, marks=pytest.mark.full) for sync in ("crdt", "ot"))
SECONDS = 10
"""Ten times what an edit may take until somebody else sees it."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the browser and all tests; the browser is the same on every kind of loop."""
    return "asyncio"


@pytest.fixture
async def sessions(plane: Plane, wiring: Wiring) -> AsyncIterator[Sessions]:
    async with Sessions.of(plane, wiring) as made:
        yield made


@pytest.fixture(scope="module")
async def browser(anyio_backend: str) -> AsyncIterator[Browser]:
    async with running_browser(need(PROGRAM, why="in which the page runs")) as running:
        yield running


@dataclass
class Person:
    """Somebody at the page. After the test nothing may have been wrong in it."""

    page: BrowserPage
    session: Session

    async def text(self) -> str:
        return str(await self.page.see(f"{AREA}.value"))

    async def place(self, start: int, end: int | None = None) -> None:
        """Select a part of the text, in UTF-16 units."""
        await self.page.see(f"({AREA}.focus(), {AREA}.setSelectionRange({start}, {start if end is None else end}))")

    async def sees(self, text: str) -> None:
        await self.page.until(f"{AREA}.value.includes({text!r})", SECONDS)

    async def shows(self, selector: str, text: str = "") -> None:
        """Wait until an element is there, and shows a text."""
        found = f"[...document.querySelectorAll({selector!r})].some(each => each.innerText.includes({text!r}))"
        await self.page.until(found, SECONDS)

    def check(self) -> None:
        host = self.session.url.removeprefix("http://")
        assert self.page.console == []
        assert {address.split("/")[2] for address in self.page.requested} == {host}, "another host"


class Desk:
    """Opens pages and sockets of one session, which end with the test."""

    def __init__(self, stack: AsyncExitStack, browser: Browser, session: Session) -> None:
        self._stack = stack
        self._browser = browser
        self.session = session
        self.people: list[Person] = []

    async def person(self, name: str = "anna", role: str = "editor") -> Person:
        """Somebody who opens the page with a grant that names them."""
        grant = await self.session.grant(role, participant=name)
        page = await self._stack.enter_async_context(self._browser.page())
        await page.open(f"{self.session.url}/v1/sessions/{grant}/page")
        await page.until("!document.querySelector('#room').hidden && document.querySelector('#you').textContent", 30)
        person = Person(page, self.session)
        self.people.append(person)
        return person

    async def program(self, name: str = "bot", intent: str = "") -> JsonClient:
        """An editor that speaks JSON."""
        grant = await self.session.grant(participant=name, intent=intent)
        client = JsonClient(await self._stack.enter_async_context(self.session.socket(grant)))
        await client.event("hello")
        return client


@asynccontextmanager
async def desk(browser: Browser, session: Session) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        made = Desk(stack, browser, session)
        yield made
        for person in made.people:
            person.check()


def region(part: str) -> dict[str, int]:
    """Where a part of TEXT is, in code points."""
    start = TEXT.index(part)
    return {"start": start, "end": start + len(part)}


async def value_of(program: JsonClient) -> Any:
    return (await program.ok(do="show"))["value"]


async def has(program: JsonClient, text: str) -> None:
    async def there() -> bool:
        return text in await value_of(program)

    await until(there, f"{text} in the artifact", SECONDS)


@pytest.mark.parametrize("sync", ["crdt", "ot"])
async def test_edits_are_seen_by_the_others_at_once(sessions: Sessions, browser: Browser, sync: Any) -> None:
    """A person's edits reach a program and another person, and theirs reach the person."""
    async with desk(browser, await sessions.create(TEXT, sync=sync)) as at:
        anna, bob, bot = await at.person("anna"), await at.person("bob"), await at.program()
        for person in (anna, bob):
            await person.sees("Monday")
        await anna.place(len("# Plan"))
        await anna.page.type(" of 🌵 Anna")
        await has(bot, "# Plan of 🌵 Anna\n")
        await bob.sees("# Plan of 🌵 Anna\n")
        await anna.page.until(SAVED, SECONDS)
        revision = (await bot.ok(do="show"))["revision"]
        await bot.ok(do="propose", base=revision, edit={"ops": ["🌊 "]}, stale="merge")
        await anna.sees("🌊 # Plan of 🌵 Anna\n")
        await bob.place(0)
        await bob.page.type("Bob: ")
        await anna.sees("Bob: 🌊 # Plan")
        assert await anna.text() == await bob.text() == await value_of(bot)


@pytest.mark.parametrize("sync", ["crdt", "ot"])
async def test_text_typed_without_a_connection_is_stored_once_there_is_one(
    sessions: Sessions, browser: Browser, sync: Any
) -> None:
    """Also if the connection broke while an answer was awaited, and others have edited meanwhile."""
    session = await sessions.create(TEXT, sync=sync)
    async with Network(session.url) as network, desk(browser, session) as at:
        at.session = replace(session, url=network.url)
        anna = await at.person()
        at.session = session
        bot = await at.program()
        await anna.sees("Monday")
        await anna.place(0)
        for turn in range(3):
            await anna.page.type(f"[{turn}")
            network.cut()
            await anna.page.type(f"-{turn}] ")
            await anna.shows("#state", "No connection")
            base = (await bot.ok(do="show"))["revision"]
            await bot.ok(do="propose", base=base, edit={"ops": [f"bot {turn}, "]})
            network.heal()
            await has(bot, f"-{turn}]")
        await anna.page.until(SAVED, SECONDS)
        text = await value_of(bot)
        await anna.sees(text[:40])
        assert await anna.text() == text
        assert all(text.count(part) == 1 for turn in range(3) for part in (f"[{turn}", f"-{turn}]", f"bot {turn},"))
        anna.page.console[:] = [line for line in anna.page.console if "ERR_" not in line and "WebSocket" not in line]


async def test_an_edit_in_the_page_reaches_a_client_in_python(plane: Plane, browser: Browser) -> None:
    """As a program takes part with `plane.sessions`, and with the URL that a person is given."""
    created = await plane.sessions.create(TEXT)
    async with plane.sessions.join(created.grants["editor"], name="bot") as bot, browser.page() as page:
        await page.open(f"{plane.bridge_url}/v1/sessions/{created.grants['editor']}")
        await page.until("!document.querySelector('#join').hidden", 30)
        await page.type("anna")
        await page.press("Enter")
        await page.until(f"{AREA}.value.includes('Monday')", SECONDS)
        await page.see(f"({AREA}.focus(), {AREA}.setSelectionRange(0, 0))")
        await page.type("From the page. ")
        async for entry in bot.entries():
            if entry.kind == "operation" and entry.participant.startswith("anna"):
                break
        view = await bot.read()
        await bot.propose(view.revision, "fix", None, {"ops": ["From Python. "]}, stale="merge")
        await page.until(f"{AREA}.value.startsWith('From Python. From the page. # Plan')", SECONDS)
        assert page.console == []


async def test_ctrl_z_undoes_only_what_the_person_typed(sessions: Sessions, browser: Browser) -> None:
    async with desk(browser, await sessions.create(TEXT)) as at:
        anna, bot = await at.person(), await at.program()
        await anna.sees("Monday")
        await anna.place(0)
        await anna.page.type("Mistake! ")
        await has(bot, "Mistake! # Plan")
        await bot.ok(do="propose", base=(await bot.ok(do="show"))["revision"], edit={"ops": [2, "BOT "]})
        await anna.sees("BOT ")
        await anna.page.press("Ctrl+z")
        await has(bot, "BOT # Plan")
        assert "Mis" not in await value_of(bot)


async def test_others_see_where_a_person_is(sessions: Sessions, browser: Browser) -> None:
    async with desk(browser, await sessions.create(TEXT)) as at:
        anna, bob, bot = await at.person("anna"), await at.person("bob", "reviewer"), await at.program()
        await anna.sees("Monday")
        await bob.sees("Monday")
        await anna.place(8, 15)
        await bob.shows(".marks .person", "We ship")
        assert await bob.page.see("document.querySelector('.marks .caret').dataset.label") == "anna"
        await bob.shows("#people-list li", "line 3")
        regions = []
        while {"start": 8, "end": 15} not in regions:
            regions += [(each.get("at") or {}).get("region") for each in await bot.event("presence")]


async def test_a_draft_is_sent_against_the_revision_that_it_began_with(sessions: Sessions, browser: Browser) -> None:
    async with desk(browser, await sessions.create(TEXT, sync="patch")) as at:
        anna, bot = await at.person(), await at.program(intent="write")
        await anna.sees("Monday")
        await anna.place(2, 6)
        await anna.page.type("The plan")
        await bot.ok(do="propose", base=1, region=region("300"), edit="400")
        await anna.shows("#draft-since", "What changed since")
        assert "300" in await anna.text()
        await anna.page.press("Ctrl+Enter")
        await has(bot, "# The plan\n\nWe ship on Monday 🌴.\nThe budget is 400.\n")
        await anna.sees("400")
        await anna.shows("#draft-diff .added", "400")


async def test_a_person_decides_a_conflict_with_both_sides_in_view(sessions: Sessions, browser: Browser) -> None:
    async with desk(browser, await sessions.create(TEXT, sync="patch")) as at:
        one, two = await at.program("one", intent="write"), await at.program("two", intent="write")
        anna = await at.person()
        await anna.sees("Monday")
        for program, day in ((one, "Friday"), (two, "Sunday")):
            await program.ok(do="propose", base=1, region=region("Monday"), edit=day)
        await anna.page.press("Alt+Shift+c")
        await anna.shows("#conflicts-list [data-action=theirs]")
        both = await anna.page.text_of("#conflicts-list")
        assert both.count("revision ") == 1, "only the edit in the artifact has a revision"
        assert "We ship on Friday" in both and "We ship on Sunday" in both and "one" in both and "two" in both
        await anna.page.click("#conflicts-list [data-action=theirs]")
        await has(one, "We ship on Sunday")
        await anna.sees("Sunday")
        await anna.shows("#conflicts-empty", "No conflict")


async def test_a_person_sees_what_changed_since_a_conflict_and_decides_again(
    sessions: Sessions, browser: Browser
) -> None:
    async with desk(browser, await sessions.create(TEXT, sync="patch")) as at:
        one, two = await at.program("one", intent="write"), await at.program("two", intent="write")
        anna = await at.person()
        await anna.sees("Monday")
        for program, day in ((one, "Friday"), (two, "Sunday")):
            await program.ok(do="propose", base=1, region=region("Monday"), edit=day)
        start = TEXT.index("Monday")
        now = (await one.ok(do="show"))["revision"]
        await one.ok(do="propose", base=now, region={"start": start, "end": start + 6}, edit="Thursday")
        await anna.sees("Thursday")
        await anna.page.press("Alt+Shift+c")
        await anna.page.click("#conflicts-list [data-action=theirs]")
        await anna.shows("#conflicts-list .diff .added", "Thursday")
        await has(one, "We ship on Thursday")
        await anna.page.click("#conflicts-list [data-action=theirs]")
        await has(one, "We ship on Sunday")
        await anna.shows("#conflicts-empty", "No conflict")


async def test_a_reviewer_approves_with_the_keyboard_alone(sessions: Sessions, browser: Browser) -> None:
    async with desk(browser, await sessions.create(TEXT)) as at:
        rita, bot = await at.person("rita", "reviewer"), await at.program()
        await rita.sees("Monday")
        await rita.page.press("Alt+Shift+a")
        await rita.page.type("Good, and short.")
        for key in ("Tab", "Enter"):
            await rita.page.press(key)
        await rita.shows("#people-list .badge.approve", "approves")
        noted = [each for each in (await bot.ok(do="show"))["notes"] if each["type"] == "verdict"]
        assert [(each["verdict"], each["text"]) for each in noted] == [("approve", "Good, and short.")]
        assert await rita.page.see(f"{AREA}.readOnly")


async def test_an_answer_counts_also_if_the_next_question_comes_at_once(sessions: Sessions, browser: Browser) -> None:
    """The dialog says that it was closed only after the next question has opened it."""
    async with desk(browser, await sessions.create(TEXT)) as at:
        rita, bot = await at.person("rita", "reviewer"), await at.program()
        await rita.sees("Monday")
        await rita.page.see("['approve', 'ask-confirm', 'confirm'].forEach(id => document.getElementById(id).click())")
        await rita.shows("#people-list .badge.approve", "approves")
        await rita.page.press("Escape")
        await rita.page.until("!document.querySelector('#ask').open", SECONDS)
        assert [each["text"] for each in (await bot.ok(do="show"))["notes"]] == ["Approved"]
        await rita.page.click("#confirm")
        await rita.page.click("#ask-confirm")
        await rita.shows("#confirm", "Confirmed")


async def test_a_note_leads_to_what_it_is_about(sessions: Sessions, browser: Browser) -> None:
    """Also after the text before it has changed, and with an answer in its thread."""
    async with desk(browser, await sessions.create(TEXT)) as at:
        anna, bot = await at.person(), await at.program()
        await anna.sees("Monday")
        await anna.place(TEXT.index("Monday"), TEXT.index("Monday") + 6)
        await anna.page.press("Alt+Shift+n")
        await anna.page.type("Why Monday?")
        await anna.page.press("Ctrl+Enter")
        await anna.shows("#notes-list li", "Why Monday?")
        shown = await bot.ok(do="show")
        [note] = shown["notes"]
        assert note["anchor"]["quote"] == "Monday"
        await bot.ok(do="note", type="answer", thread=note["thread"], text="It is a quiet day.")
        await bot.ok(
            do="propose", base=shown["revision"], region={"start": 0, "end": 0}, edit="A title\n", stale="merge"
        )
        await anna.sees("A title")
        await anna.shows("#notes-list .thread", "quiet day")
        await anna.shows("#notes-list button", "line 4, “Monday”")
        await anna.page.click("#notes-list [data-action^=go]")
        area = f"{AREA}.value.slice({AREA}.selectionStart, {AREA}.selectionEnd)"
        assert await anna.page.see(area) == "Monday"


async def test_history_shows_what_each_revision_changed_and_rolls_back(sessions: Sessions, browser: Browser) -> None:
    async with desk(browser, await sessions.create(TEXT)) as at:
        anna, bot = await at.person(), await at.program()
        await anna.sees("Monday")
        done = await bot.ok(do="propose", base=(await bot.ok(do="show"))["revision"], edit="Everything else\n")
        await anna.sees("Everything else")
        await anna.page.press("Alt+Shift+h")
        row = f'#history-list [data-key="{done["revision"]}"]'
        await anna.shows(row)
        await anna.page.click(f"{row} [data-action=diff]")
        await anna.shows(f"{row} .removed", "We ship on Monday")
        await anna.page.click('#history-list [data-key="1"] [data-action=rollback]')
        await anna.page.press("Enter")
        await anna.sees("Monday")
        assert await value_of(bot) == TEXT


@pytest.mark.parametrize("sync", [FULL_CRDT, "patch", FULL_OT])
async def test_an_undo_waits_until_it_is_accepted(sessions: Sessions, browser: Browser, sync: Any) -> None:
    async with desk(browser, await sessions.create(TEXT, sync=sync)) as at:
        bot = await at.program()
        anna = await at.person()
        await anna.sees("Monday")
        await bot.ok(do="propose", base=(await bot.ok(do="show"))["revision"], region=region("Monday"), edit="Friday")
        await anna.sees("Friday")
        await anna.page.press("Alt+Shift+u")
        await anna.page.see("document.getElementById('undo-since').focus()")
        await anna.page.press("Enter")
        await anna.shows("#proposals-list .proposal", "Undoes revision")
        assert "Friday" in await anna.text() and "Friday" in await value_of(bot)
        await anna.page.click("#proposals-list [data-action=undoes]")
        await anna.shows("#proposals-list .added", "Friday")
        await anna.page.click("#proposals-list [data-action=accept]")
        await anna.page.press("Enter")
        await anna.sees("Monday")
        await has(bot, "Monday")


async def test_cells_of_a_table_are_edited_one_by_one(sessions: Sessions, browser: Browser) -> None:
    rows = [{"name": "Ann", "n": 1}, {"name": "Bo", "n": 2}]
    async with desk(browser, await sessions.create(rows, kind="table", sync="patch")) as at:
        anna, bot = await at.person(), await at.program()
        await anna.shows("td")
        await anna.page.click('[data-path="/1/n"]')
        await anna.page.see("document.activeElement.select()")
        await anna.page.type("20")
        await anna.page.press("Enter")
        await until(lambda: _is(bot, [rows[0], {"name": "Bo", "n": 20}]), "the edit of the page", SECONDS)
        await bot.ok(
            do="propose", base=(await bot.ok(do="show"))["revision"], region={"path": "/0/name"}, edit={"value": "Anna"}
        )
        await anna.page.until("document.querySelector('[data-path=\"/0/name\"]').value === 'Anna'", SECONDS)


async def test_members_of_a_document_are_added_edited_and_deleted(sessions: Sessions, browser: Browser) -> None:
    document = {"title": "Plan", "steps": [{"do": "ship"}], "old": True}
    async with desk(browser, await sessions.create(document, kind="json", sync="crdt")) as at:
        anna, bot = await at.person(), await at.program()
        await anna.page.click('[data-path="/title"]')
        await anna.page.see("document.activeElement.select()")
        await anna.page.type("The plan")
        await anna.page.press("Enter")
        await until(lambda: _is(bot, document | {"title": "The plan"}), "the edit of the page", SECONDS)
        await anna.page.until("document.querySelector('[data-path=\"/title\"]').defaultValue === 'The plan'")
        await anna.page.click('[aria-label="Delete /old"]')
        expected = {"title": "The plan", "steps": [{"do": "ship"}]}
        await until(lambda: _is(bot, expected), "the deletion", SECONDS)
        await anna.page.until("!document.querySelector('[data-path=\"/old\"]')", SECONDS)
        await anna.page.click('[aria-label="Name of the new member of the document"]')
        await anna.page.type("owner")
        await anna.page.press("Enter")
        await until(lambda: _is(bot, expected | {"owner": None}), "the new member", SECONDS)
        await bot.ok(do="present", at={"region": {"path": "/steps/0/do"}})
        await anna.shows("[data-here=bot]")


async def _is(program: JsonClient, value: Any) -> bool:
    return bool(await value_of(program) == value)


async def test_an_observer_reads_and_is_offered_nothing_else(sessions: Sessions, browser: Browser) -> None:
    async with desk(browser, await sessions.create(TEXT)) as at:
        olga, bot = await at.person("olga", "observer"), await at.program()
        await olga.sees("Monday")
        await bot.ok(do="propose", base=(await bot.ok(do="show"))["revision"], edit={"ops": ["Seen: "]})
        await olga.sees("Seen: # Plan")
        assert await olga.page.see(f"{AREA}.readOnly")
        for name in ("approve", "request-changes", "confirm", "note-form", "undo-form", "lease"):
            assert await olga.page.see(f"document.getElementById({name!r}).hidden"), name


async def test_the_last_confirmation_closes_the_session_and_leads_to_its_result(
    sessions: Sessions, browser: Browser
) -> None:
    async with desk(browser, await sessions.create(TEXT, expected=["anna"])) as at:
        anna = await at.person()
        await anna.sees("Monday")
        await anna.page.press("Alt+Shift+d")
        await anna.page.press("Enter")
        await anna.shows("#closed", "This session is closed")
        assert await anna.page.see(f"{AREA}.readOnly")


async def test_a_person_without_a_name_is_asked_for_it(sessions: Sessions, browser: Browser) -> None:
    session = await sessions.create(TEXT)
    async with browser.page(360, 740) as page:
        await page.open(f"{session.url}/v1/sessions/{await session.grant()}/page")
        await page.until("!document.querySelector('#join').hidden", 30)
        await page.type("Anna")
        await page.press("Enter")
        await page.until("document.querySelector('#you').textContent.startsWith('anna, editor')", SECONDS)
        assert await page.see("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.console == []


@pytest.mark.parametrize("sync", ["crdt", FULL_OT])
async def test_text_that_the_plane_refuses_is_handed_back(sessions: Sessions, browser: Browser, sync: Any) -> None:
    """Nobody else sees it, and the person can go on."""
    limits = {"document_bytes": 400 if sync == "crdt" else 100}
    async with desk(browser, await sessions.create(TEXT, sync=sync, limits=limits)) as at:
        anna, bot = await at.person(), await at.program()
        await anna.sees("Monday")
        await anna.place(0)
        await anna.page.type("too long " * 60)
        await anna.shows("#messages .error", "not stored")
        assert (await anna.page.see("document.getElementById('lost-text').value")).startswith("too long too long")
        await anna.page.until(f"{AREA}.value === {json.dumps(TEXT)}", SECONDS)
        assert await value_of(bot) == TEXT
        await anna.place(0)
        await anna.page.type("OK ")
        await has(bot, "OK # Plan")


async def test_a_revoked_grant_ends_the_page(sessions: Sessions, browser: Browser) -> None:
    session = await sessions.create(TEXT)
    grant = await session.grant(participant="anna")
    async with browser.page() as page:
        await page.open(f"{session.url}/v1/sessions/{grant}/page")
        await page.until(f"{AREA}.value.includes('Monday')", 30)
        await sessions.plane.revoke(grant)
        await page.until("document.querySelector('#state').textContent === 'Ended'", SECONDS)
        assert await page.see(f"{AREA}.readOnly")


async def test_a_grant_that_has_expired_is_explained(sessions: Sessions, browser: Browser) -> None:
    session = await sessions.create(TEXT)
    async with browser.page() as page:
        await page.open(f"{session.url}/v1/sessions/{await session.grant(seconds=-1)}/page")
        await page.until("!document.querySelector('#failed').hidden", 30)
        assert "expired" in await page.text_of("#failed-text")
