"""The servers crm and email by themselves: where contacts come from, what an edit leaves, and which mails go out."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiosmtplib
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from mcp.server.mcpserver.exceptions import ToolError

from demos.mailbox import mailbox
from servers import crm_data, email
from servers.crm_store import Contacts, EditError
from servers.mailing_list import Followed, MailingList
from servers.post import mail, message_id, send

pytestmark = pytest.mark.anyio
ANN = {"firstname": "Ann", "lastname": "Berg", "email": "ann@contacts.example"}
MEMBER = {"address": "ann@contacts.example", "first_name": "Ann", "last_name": "Berg"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Contacts]:
    crm_data.load(tmp_path / "crm.sqlite", "faker")
    with Contacts.open(tmp_path / "crm.sqlite") as contacts:
        contacts.published(contacts.unpublished())
        yield contacts


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_chinooks_contacts_come_out_of_the_package_and_stay_in_the_users_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        used = crm_data.load(tmp_path / "crm.sqlite", "chinook")
    except crm_data.DataError as error:
        pytest.skip(str(error))
    with Contacts.open(tmp_path / "crm.sqlite") as contacts:
        rows = contacts.rows()
        assert (used, len(rows), len(contacts.invoices())) == ("chinook", 59, 412)
        assert rows[0]["lastname"] == "Gonçalves" and rows[0]["spent"] == 39.62
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["chinook-1.0.0.json"]
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # nothing is downloaded twice
    assert crm_data.load(tmp_path / "crm.sqlite", "chinook") == "chinook"


@pytest.mark.usefixtures("cache")
def test_where_the_package_cannot_be_had_contacts_are_made_up_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    database = str(tmp_path / "crm.sqlite")
    assert crm_data.main(["--source", "chinook", "--database", database]) == 1
    assert crm_data.main(["--database", database]) == 0
    said = capsys.readouterr()
    assert "cannot be had" in said.err and "made up instead" in said.err and "from faker" in said.out
    with Contacts.open(Path(database)) as contacts:
        assert len(contacts.rows()) == crm_data.PEOPLE


def test_made_up_contacts_are_the_same_for_the_same_seed_and_nobody_shares_an_address() -> None:
    contacts, invoices = crm_data.made(50)
    assert (contacts, invoices) == crm_data.made(50)
    assert contacts != crm_data.made(50, seed=1)[0]
    assert len({row["email"] for row in contacts}) == 50
    assert {row["contact"] for row in invoices} == {row["id"] for row in contacts}


def test_an_edit_and_its_place_in_the_outbox_are_one_transaction(store: Contacts) -> None:
    (new,) = store.edit([ANN], [{"id": 1, "phone": "1"}], [2])
    rows, upto = store.snapshot()
    assert upto > 0 and rows[-1]["id"] == new and rows[0]["phone"] == "1" and 2 not in [row["id"] for row in rows]
    store.edit([], [{"id": 1, "phone": "2"}], [])
    store.published(upto)
    assert store.unpublished() > upto  # what was edited meanwhile still waits
    before = store.snapshot()
    with pytest.raises(EditError, match="no contact 2"):
        store.edit([ANN], [], [2])
    assert store.snapshot() == before


def test_an_edit_by_any_other_program_is_in_the_outbox_too(store: Contacts, tmp_path: Path) -> None:
    for sql in ("UPDATE contacts SET city = 'Oslo' WHERE id = 1", "UPDATE invoices SET total = 1 WHERE contact = 1"):
        with closing(sqlite3.connect(tmp_path / "crm.sqlite", isolation_level=None)) as other:
            other.execute(sql)
        upto = store.unpublished()
        assert upto > 0
        store.published(upto)
        assert store.unpublished() == 0


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**ANN, "spent": "1"}, "no 'spent'"),
        ({**ANN, "id": 7}, "no 'id'"),
        ({**ANN, "city": 7}, "text or null"),
        ({**ANN, "lastname": "B\r\nBcc: all@contacts.example"}, "one line"),
        ({"firstname": "Ann"}, "NOT NULL"),
    ],
)
def test_what_is_no_contact_is_refused_and_it_is_said_why(store: Contacts, row: dict[str, object], said: str) -> None:
    with pytest.raises(EditError, match=said):
        store.edit([row], [], [])
    assert store.unpublished() == 0


def test_a_mapping_leads_to_the_lists_names_and_back_and_leaves_out_what_has_no_place() -> None:
    followed = Followed("crm.contacts", "grant", {"email": "address", "firstname": "first_name"}, "email_1")
    member = followed.ours({"id": 1, "email": "a@b.example", "firstname": "Ann", "last_name": "Berg", "fax": "1"})
    assert member == {"address": "a@b.example", "first_name": "Ann", "last_name": "Berg"}
    assert followed.theirs(member) == {"email": "a@b.example", "firstname": "Ann", "last_name": "Berg"}
    assert "grant" not in repr(followed).replace("grants", "")


def test_members_and_version_change_together_or_not_at_all(tmp_path: Path) -> None:
    with MailingList.open(tmp_path / "list.sqlite") as members:
        members.follow(Followed("crm.contacts", "grant", {}, "email_1"))
        members.apply({1: MEMBER, 2: MEMBER}, 1)
        members.apply({1: None}, 2)
        assert (members.members(), members.version) == ({2: MEMBER}, 2)
        with pytest.raises(KeyError):
            members.apply({2: None, 3: {"address": "x"}}, 3)
        assert (members.members(), members.version) == ({2: MEMBER}, 2)
    assert (tmp_path / "list.sqlite").stat().st_mode & 0o077 == 0


async def test_a_list_follows_one_feed_with_one_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_DATABASE", str(tmp_path / "list.sqlite"))
    with pytest.raises(ToolError, match="to one column at most"):
        await email.follow("crm.contacts", "url", {"email": "address", "work": "address"})
    with pytest.raises(ToolError, match="to one column at most"):
        await email.follow("crm.contacts", "url", {"email": "mail"})
    with MailingList.open(tmp_path / "list.sqlite") as members:
        members.follow(Followed("crm.contacts", "grant", {}, "email_1"))
    with pytest.raises(ToolError, match=r"follows crm\.contacts"):
        await email.follow("crm.people", "url")


def test_a_change_has_one_message_id_whoever_sends_it() -> None:
    assert message_id("crm.contacts", 7, 3) == "<crm.contacts.7.3@lists.example>"
    for before, after, subject in ((None, MEMBER, "Welcome"), (MEMBER, None, "Goodbye"), (MEMBER, MEMBER, "changed")):
        message = mail(before, after, message_id("crm.contacts", 7, 3))
        assert message is not None and subject in message["Subject"]
        assert message["Message-ID"] == "<crm.contacts.7.3@lists.example>"
    assert mail(None, {**MEMBER, "address": None}, "<1@lists.example>") is None


@pytest.mark.parametrize("address", ["nobody", "a b@c", "ä", "a@b\r\nBcc: c@d.example"])
def test_what_is_no_address_is_a_value_error(address: str) -> None:
    with pytest.raises(ValueError):
        mail(None, {**MEMBER, "address": address}, "<1@lists.example>")


async def test_a_mail_arrives_once_however_often_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with mailbox() as box:
        monkeypatch.setenv("EMAIL_SMTP", f"127.0.0.1:{box.port}")
        message = mail(None, {**MEMBER, "address": "stanisław@contacts.example"}, "<1@lists.example>")
        assert message is not None
        assert [await send(message), await send(message)] == ["sent", "sent"]
    assert [(one.message_id, one.to) for one in box.mails.values()] == [
        ("<1@lists.example>", "stanisław@contacts.example")
    ]
    assert len(box.repeats) == 1


class Refusing:
    """An SMTP server that answers so to every recipient."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, *rest: object) -> str:
        return self.answer


@pytest.mark.parametrize(("answer", "comes"), [("550 no such user", "refused: 550"), ("451 later", "again")])
async def test_who_is_refused_for_good_holds_up_nobody_and_who_is_not_yet_taken_is_tried_again(
    answer: str, comes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: SMTP(Refusing(answer), hostname="localhost"), "127.0.0.1", 0)
    monkeypatch.setenv("EMAIL_SMTP", f"127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    message = mail(None, MEMBER, "<1@lists.example>")
    assert message is not None
    try:
        if comes == "again":
            with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
                await send(message)
        else:
            assert await send(message) == comes
    finally:
        listening.close()
