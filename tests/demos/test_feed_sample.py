"""The subscriber of docs/feeds.md, word for word: it mails those whose row changed, and sees who is gone."""

from __future__ import annotations
import __future__

import asyncio
import re
import textwrap
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.plane.feeds.changes import Changes
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.testing.server import eventually
from servers.email import Members as ListMembers
from servers.email import send_mail, subscriber
from servers.mailing_list import Followed, MailingList

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
AT_ONCE = RetrySchedule(delays=(0.0,) * 9)
Row = dict[str, Any]


def sample() -> str:
    """The code block of the page."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/feeds.md").read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if "def keep_in_step" in block]
    return str(found)


class Members:
    """Rows that a subscriber keeps, and what was said about each."""

    def __init__(self) -> None:
        self.table: dict[Any, Row] = {}
        self.version = 0
        self.told: list[tuple[str, Any, int]] = []

    def rows(self, key: Sequence[str]) -> list[Row]:
        return list(self.table.values())

    def apply(self, changes: Changes, version: int) -> None:
        changes.apply(self.table)
        self.version = version


async def told_to(members: Members, change: str, key: Any, row: Mapping[str, Any], identity: str) -> str:
    members.told.append((change, key, int(identity.partition("@")[0].rpartition(".")[2])))
    return "sent"


def of_the_page(members: Members) -> Any:
    """`keep_in_step` of the page, with what it uses."""
    names: dict[str, Any] = {"members": members, "send_mail": told_to}
    flags = __future__.annotations.compiler_flag
    exec(compile(sample(), "docs/feeds.md", "exec", flags), names)  # noqa: S102 - our own page
    return names["keep_in_step"]


def of_the_server(members: Members) -> Any:
    return subscriber(members, told_to)  # type: ignore[arg-type]


@asynccontextmanager
async def following(plane: Plane, feed: str, handle: Any, **options: Any) -> AsyncIterator[None]:
    running = asyncio.create_task(
        plane.on_notice(feed, handle, durable="email_" + feed[-8:], retries=AT_ONCE, **options)
    )
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def stands_at(members: Members, version: int) -> None:
    async def there() -> bool:
        return members.version == version

    await eventually(there)


def contacts() -> list[Row]:
    return [{"id": number, "mail": f"{number}@contacts.example", "stage": 0, "city": "Oslo"} for number in range(100)]


def test_the_page_has_the_code_that_the_server_runs() -> None:
    assert textwrap.indent(sample(), "    ") in (ROOT / "servers/email.py").read_text()


@pytest.mark.parametrize("made", [of_the_page, of_the_server])
@pytest.mark.parametrize("narrowed", [False, True])
async def test_a_hundred_contacts_of_whom_sixty_change_four_times_and_one_goes(
    settings: Settings, made: Any, narrowed: bool
) -> None:
    members, feed = Members(), f"crm.{uuid4().hex}"
    async with Plane.connect(settings) as plane:
        rows = contacts()
        await plane.publish(rows, feed=feed, key="id")
        less: dict[str, Any] = {"columns": ["id", "mail", "stage"], "where": "city = 'Oslo'"}
        grant = {"grant": (await plane.feeds.grant(feed, **less)).resource_url} if narrowed else {}
        async with following(plane, feed, made(members), **grant):
            await stands_at(members, 1)
            assert Counter(change for change, *_ in members.told) == {"added": 100}
            members.told.clear()
            for stage in range(1, 5):
                rows = [row | {"stage": stage} if row["id"] < 60 else row for row in rows]
                if stage == 3:
                    rows = [row for row in rows if row["id"] != 99]
                await plane.publish(rows, feed=feed, key="id")
            await stands_at(members, 5)
        mailed = [(key, version) for change, key, version in members.told if change == "changed"]
        assert (len(mailed), len(set(mailed)), len({key for key, _ in mailed})) == (240, 240, 60)
        assert [each for each in members.told if each[0] != "changed"] == [("removed", 99, 4)]
        shown = less["columns"] if narrowed else list(rows[0])
        assert list(members.table.values()) == [{name: row[name] for name in shown} for row in rows]


async def test_the_list_of_the_server_loses_who_is_gone_and_writes_to_nobody_whose_entry_is_the_same(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of a column that the list does not keep is no concern of it."""
    feed, sent = f"crm.{uuid4().hex}", []

    async def send(message: Any) -> str:
        sent.append((message["Subject"], message["To"]))
        return "sent"

    monkeypatch.setattr("servers.email.send", send)
    rows = [{"id": n, "email": f"{n}@contacts.example", "phone": str(n), "note": uuid4().hex} for n in range(5)]
    async with Plane.connect(settings) as plane:
        await plane.publish(rows, feed=feed, key="id")
        with MailingList.open(tmp_path / "list.sqlite") as members:
            followed = Followed(feed, "", {"email": "address"}, "email")
            members.follow(followed)
            handle = subscriber(ListMembers(members, followed), send_mail)
            async with following(plane, feed, handle):
                await stands_at(members, 1)  # type: ignore[arg-type]
                assert len(sent) == 5
                rows[0] |= {"email": "moved@contacts.example"}
                rows[1] |= {"phone": "another"}
                await plane.publish(rows[:4], feed=feed, key="id")
                await stands_at(members, 2)  # type: ignore[arg-type]
            assert sent[5:] == [("Your entry has changed", "moved@contacts.example"), ("Goodbye", "4@contacts.example")]
            assert members.members().keys() == {0, 1, 2, 3}
