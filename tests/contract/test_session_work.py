"""What takes long leaves the event loop, so that other sessions and bodies of the process go on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from broker_plane.errors import ChangeError
from broker_plane.plane.sessions import deciding
from broker_plane.plane.sessions.live import LiveSession
from broker_plane.sessions.rules import decide
from tests.contract.sessions import ANNA, BEN, Stage, YjsClient, insert

pytestmark = pytest.mark.anyio

LIMITS = {"operations_per_second": 1_000_000}


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operations that were decided outside of the event loop's thread."""
    loop, found = threading.get_ident(), list[str]()

    def noted(folded: Any, request: Any, *given: Any, **more: Any) -> Any:
        if threading.get_ident() != loop:
            found.append(request.do)
        return decide(folded, request, *given, **more)

    monkeypatch.setattr(deciding, "decide", noted)
    return found


@pytest.mark.parametrize("sync", ["crdt", "ot", "patch"])
async def test_an_undo_of_many_revisions_leaves_the_event_loop(stage: Stage, sync: Any, in_threads: list[str]) -> None:
    live = await stage.live(await stage.create("text", sync=sync, limits=LIMITS))
    for number in range(30):
        await live.ask({"do": "propose", "base": live.revision, "edit": f"text {number}"}, ANNA)
    answer = await live.ask({"do": "undo", "participant": ANNA.id}, BEN)
    assert "undo" in in_threads
    await live.ask({"do": "accept", "proposal": answer["proposal"]}, BEN)
    assert (await live.ask({"do": "show"}, BEN))["value"] == "text"


async def test_an_operation_on_an_old_base_leaves_the_event_loop(stage: Stage, in_threads: list[str]) -> None:
    live = await stage.live(await stage.create("", limits=LIMITS))
    for _ in range(50):
        await insert(live, ANNA, "a")
    assert in_threads == []
    await live.ask({"do": "update", "base": 1, "change": ["b"]}, BEN)
    assert in_threads == ["update"]


@pytest.mark.parametrize("kind", ["json", "table"])
async def test_a_proposal_for_a_large_document_leaves_the_event_loop(
    stage: Stage, kind: Any, in_threads: list[str]
) -> None:
    rows = [{"name": f"row {number}", "count": number} for number in range(10_000)]
    value, place = ({"rows": rows}, "/rows/7/count") if kind == "json" else (rows, "/7/count")
    live = await stage.live(await stage.create(value, kind=kind, sync="crdt", limits=LIMITS))
    edit = {"do": "propose", "base": live.revision, "region": {"path": place}}
    await live.ask({**edit, "edit": {"value": 1_000}}, ANNA)
    with pytest.raises(ChangeError):
        await live.ask({**edit, "base": live.revision, "region": {"path": "/nowhere/at/all"}, "edit": None}, ANNA)
    shown = (await live.ask({"do": "show"}, BEN))["value"]
    assert (shown["rows"] if kind == "json" else shown)[7]["count"] == 1_000
    assert in_threads.count("propose") == 2 and "show" in in_threads


async def test_a_large_update_of_yjs_leaves_the_event_loop_and_a_keystroke_does_not(
    stage: Stage, in_threads: list[str]
) -> None:
    live = await stage.live(await stage.create("", sync="crdt", limits=LIMITS))
    client = YjsClient()
    await live.ask({"do": "update", "change": client.type("x")}, ANNA)
    assert in_threads == []
    await live.ask({"do": "update", "change": client.type("y" * 100_000)}, ANNA)
    assert in_threads == ["update"]
    async with live.settled() as folded:
        assert folded.value == "y" * 100_000 + "x"


async def test_a_cancelled_request_keeps_its_turn_until_its_thread_has_ended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(*given: Any, **more: Any) -> Any:
        began.set()
        assert may_end.wait(30)
        ended.set()
        return decide(*given, **more)

    live = await stage.live(await stage.create("x" * 500_000, sync="crdt", limits=LIMITS))
    monkeypatch.setattr(deciding, "decide", slow)
    asking = asyncio.create_task(live.ask({"do": "show"}, ANNA))
    assert await asyncio.to_thread(began.wait, 30)
    asking.cancel()
    next_turn = asyncio.create_task(at_next_turn(live, ended))
    may_end.set()
    assert await next_turn
    with pytest.raises(asyncio.CancelledError):
        await asking


async def at_next_turn(live: LiveSession, ended: threading.Event) -> bool:
    """Whether `ended` is set once this has its turn."""
    async with live.settled():
        return ended.is_set()
