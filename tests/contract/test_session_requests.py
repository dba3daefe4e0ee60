"""Requests to sessions over NATS that are not what they should be: each gets one answer, which says why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from broker_plane import Plane
from broker_plane.broker.connection import Connection
from broker_plane.runtime.session_hosting import session_host
from broker_plane.sessions.policy import Policy
from broker_plane.sessions.roles import Role
from broker_plane.subjects.session_requests import MOST_REQUEST_BYTES
from broker_plane.wire.exact_json import dumps, loads
from broker_plane.wire.names import BodyId, asker_of

pytestmark = pytest.mark.anyio


class Asker:
    """One participant of a session, over a connection that nothing restricts."""

    def __init__(self, connection: Connection, grant: str) -> None:
        self._connection = connection
        self.grant = grant

    async def ask(self, request: bytes | dict[str, Any], access: str = "read", asker: str = "") -> dict[str, Any]:
        payload = request if isinstance(request, bytes) else dumps(request)
        subject = f"{self._connection.names.say_subject(access, self.grant)}.{asker or asker_of(self.grant)}"
        answer: dict[str, Any] = loads((await self._connection.request(subject, payload, seconds=20)).data)
        assert len(answer) == 1
        return answer

    async def refused(self, request: bytes | dict[str, Any], access: str = "read") -> tuple[str, str]:
        error = (await self.ask(request, access))["error"]
        return error["code"], error["message"]


@pytest.fixture
async def session(plane: Plane) -> AsyncIterator[BodyId]:
    host = session_host(plane._user_plane(), plane.settings, plane.bridge_url)
    owner = plane.settings.owner
    yield BodyId(await host.create("a\n", kind="text", sync="patch", policy=Policy(), owner=owner))
    await host.close()


async def asker(plane: Plane, session: BodyId, role: Role = "editor") -> Asker:
    wired = plane._user_plane()
    grant = await wired.grants.minting.mint_session(session, role, int(wired.now()) + 600)
    return Asker(wired.connection, grant)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 5_000, "not JSON"),
        (b"[]", 'JSON object such as {"do": "show"}'),
        (b"{}", "no operation 'None'"),
        (b'{"do": ["show"]}', "it has show, log"),
        (b'{"do": "paint"}', "no operation 'paint'"),
        (b'{"do": "show", "colour": 1}', "colour"),
        (b'{"do": "show", "revision": -1}', "revision"),
    ],
)
async def test_what_is_no_request_is_named(plane: Plane, session: BodyId, request_: bytes, said: str) -> None:
    code, message = await (await asker(plane, session)).refused(request_)
    assert code == "bad_request"
    assert said in message


async def test_a_request_above_the_limit_is_refused_unread(plane: Plane, session: BodyId) -> None:
    editor = await asker(plane, session)
    large = {"do": "propose", "base": 1, "edit": "x" * MOST_REQUEST_BYTES}
    code, message = await editor.refused(large, "edit")
    assert (code, str(MOST_REQUEST_BYTES) in message) == ("too_large", True)
    assert (await editor.ask({"do": "show"}))["ok"]["revision"] == 1


async def test_an_operation_is_refused_on_the_subject_of_another_access(plane: Plane, session: BodyId) -> None:
    editor = await asker(plane, session)
    edit = {"do": "propose", "base": 1, "edit": "b\n"}
    for access in ("read", "note", "own", "any"):
        code, message = await editor.refused(edit, access)
        assert (code, "bp.say.edit" in message) == ("forbidden", True)
    assert (await editor.refused({"do": "show"}, "edit"))[0] == "forbidden"
    assert "ok" in await editor.ask(edit, "edit")


async def test_an_error_has_what_the_participant_needs_to_go_on(plane: Plane, session: BodyId) -> None:
    editor = await asker(plane, session)
    first = (await editor.ask({"do": "propose", "base": 1, "edit": "b\n"}, "edit"))["ok"]
    stale = (await editor.ask({"do": "propose", "base": 1, "edit": "c\n", "stale": "report"}, "edit"))["error"]
    assert (stale["code"], stale["revision"], "+b" in stale["diff"]) == ("stale_base", first["revision"], True)


async def test_every_request_of_a_flood_is_answered(plane: Plane, session: BodyId) -> None:
    reviewer = await asker(plane, session, "reviewer")
    answers = await asyncio.gather(*(reviewer.ask({"do": "show"}) for _ in range(3_000)))
    codes = {answer["error"]["code"] for answer in answers if "error" in answer}
    assert codes <= {"rate_limited"}
    assert any("ok" in answer for answer in answers)
    assert "ok" in await (await asker(plane, session, "observer")).ask({"do": "show"})


async def test_neither_log_nor_metrics_show_a_grant(
    plane: Plane, session: BodyId, caplog: pytest.LogCaptureFixture
) -> None:
    editor = await asker(plane, session)
    with caplog.at_level(logging.INFO):
        await editor.ask({"do": "show"})
        await editor.refused({"do": "close"}, "own")
        await editor.refused({"do": "show"}, editor.grant)
    async with httpx2.AsyncClient(base_url=plane.bridge_url, trust_env=False) as client:
        metrics = (await client.get("/metrics")).text
    assert 'NATS bp.say.read.…" 200' in caplog.text
    assert 'NATS bp.say.own.…" 403' in caplog.text
    for text in (metrics, caplog.text):
        assert "bp.say.read.…" in text
        assert editor.grant not in text
