"""Sessions over HTTP: one request, one answer."""

from __future__ import annotations

import httpx2
import pytest

from tests.bridge.sessions import Session, Sessions, anyio_backend, sessions

pytestmark = pytest.mark.anyio
__all__ = ["anyio_backend", "sessions"]


@pytest.fixture
async def draft(sessions: Sessions) -> Session:
    return await sessions.create("Hello, 🌴!\n", sync="patch")


async def test_a_session_is_shown_with_its_artifact(draft: Session, client: httpx2.AsyncClient) -> None:
    grant = await draft.grant("reviewer", participant="rita")
    answer = await client.get(f"{draft.url}/v1/sessions/{grant}")
    shown = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert (shown["session"], shown["revision"], shown["value"]) == (draft.id, 1, "Hello, 🌴!\n")
    assert (shown["you"]["name"], shown["you"]["role"]) == ("rita", "reviewer")
    assert (await draft.ask(client, grant, do="show")).json() == shown


async def test_an_edit_is_a_new_revision_and_earlier_ones_can_be_shown(
    draft: Session, client: httpx2.AsyncClient
) -> None:
    grant = await draft.grant()
    answer = await draft.ask(client, grant, do="propose", base=1, region={"start": 7, "end": 8}, edit="🌍")
    revision = answer.json()["revision"]
    url = f"{draft.url}/v1/sessions/{grant}"
    assert (await client.get(url)).json()["value"] == "Hello, 🌍!\n"
    assert (await client.get(f"{url}?revision=1")).json()["value"] == "Hello, 🌴!\n"
    assert (await draft.ask(client, grant, do="diff", **{"from": 1})).json()["to"] == revision


async def test_notes_are_on_the_log(draft: Session, client: httpx2.AsyncClient) -> None:
    grant = await draft.grant("reviewer")
    noted = await draft.ask(client, grant, do="note", type="question", text="Why a palm?", name="Rita")
    assert noted.status_code == 200, noted.text
    entries = (await draft.ask(client, grant, do="log", after=1)).json()["entries"]
    assert ("noted", "Why a palm?") in [(each["kind"], each["content"].get("text")) for each in entries]


async def test_a_stale_base_is_answered_with_what_changed_since(draft: Session, client: httpx2.AsyncClient) -> None:
    grant = await draft.grant()
    await draft.ask(client, grant, do="propose", base=1, edit="Goodbye.\n")
    stale = await draft.ask(client, grant, do="propose", base=1, edit="Hi.\n", stale="report")
    problem = stale.json()
    assert (stale.status_code, problem["code"], problem["retryable"]) == (409, "stale_base", False)
    assert problem["revision"] >= 2 and "Goodbye" in problem["diff"] and "retry-after" not in stale.headers


@pytest.mark.parametrize(
    ("role", "fields", "status", "code"),
    [
        ("reviewer", {"do": "propose", "base": 1, "edit": "x"}, 403, "forbidden"),
        ("observer", {"do": "note", "type": "comment", "text": "x"}, 403, "forbidden"),
        ("editor", {"do": "close"}, 403, "forbidden"),
        ("editor", {"do": "paint"}, 400, "bad_request"),
        ("editor", {"do": "show", "revison": 1}, 400, "bad_request"),
        ("editor", {"do": "propose", "base": 1, "edit": "x", "intent": "conquer"}, 403, "bad_intent"),
        ("editor", {"do": "rollback", "to": 99}, 422, "revision_not_found"),
        ("editor", {"do": "propose", "base": 1, "region": {"start": 3, "end": 900}, "edit": "x"}, 422, "bad_change"),
        ("editor", {"do": "show", "name": "Not a name!"}, 400, "bad_request"),
    ],
)
async def test_what_is_refused_has_the_status_of_its_code(
    draft: Session, client: httpx2.AsyncClient, role: str, fields: dict[str, object], status: int, code: str
) -> None:
    answer = await draft.ask(client, await draft.grant(role), **fields)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_requests_that_are_not_json_objects_are_refused(draft: Session, client: httpx2.AsyncClient) -> None:
    url = f"{draft.url}/v1/sessions/{await draft.grant()}"
    for content in (b"", b"[]", b"{", b'"show"'):
        answer = await client.post(url, content=content)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert (await client.post(url, content=b" " * (2 << 20))).status_code == 413


async def test_a_grant_for_something_else_opens_no_session(
    sessions: Sessions, draft: Session, client: httpx2.AsyncClient
) -> None:
    body = await sessions.plane.publish([{"a": 1}])
    for grant, status in ((body.grant, 403), ("A" * 80, 404)):
        assert (await client.get(f"{draft.url}/v1/sessions/{grant}")).status_code == status
    session_grant = await draft.grant()
    assert (await client.get(f"{draft.url}/s2sp/data/{session_grant}")).status_code == 403


async def test_a_browser_is_sent_to_the_page(draft: Session, client: httpx2.AsyncClient) -> None:
    url = f"{draft.url}/v1/sessions/{await draft.grant()}"
    browser = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    answer = await client.get(url, headers=browser)
    assert answer.status_code == 303
    assert str(answer.url.join(answer.headers["location"])) == f"{url}/page"
    assert (await client.get(f"{url}/page")).status_code == 200
    assert (await client.get(url, headers={"accept": "text/plain"})).json()["session"] == draft.id
